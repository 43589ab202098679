// Steps that all ranks take together (see rank_steps.hpp).
#include "rank_steps.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <exception>
#include <future>
#include <optional>

#include <fmt/format.h>

#include "concerto/base/error.hpp"

namespace concerto {
namespace {

constexpr std::chrono::milliseconds kBetweenRounds{500};

enum class Progress : std::uint8_t { kWorking, kDone, kFailed };

/// How far a rank's work is, as it is exchanged.
struct State {
  Progress progress = Progress::kWorking;
  std::array<char, 1023> message{};
};
static_assert(sizeof(State) == 1024 && std::is_trivially_copyable_v<State>);

}  // namespace

RankSteps::RankSteps(Communicator& communicator, std::uint32_t membership_epoch, std::uint32_t table, std::string phase)
    : communicator_(communicator), membership_epoch_(membership_epoch), table_(table), phase_(std::move(phase)) {}

OperationTag RankSteps::next_tag() {
  return {membership_epoch_, table_, operations_++, 0};
}

void RankSteps::wait(const OperationHandle& operation) {
  const Result<void> done = communicator_.wait(operation);
  if (done) return;
  const std::optional<CommFailure> failure = communicator_.failure();
  std::string who;
  if (failure) {
    for (const Rank suspect : failure->suspects) who += fmt::format("{}rank {}", who.empty() ? "" : " or ", suspect);
  }
  throw Error(ErrorCode::kIo, fmt::format("{} was lost: {}", who.empty() ? "a rank" : who, done.failure().message),
              phase_);
}

void RankSteps::all_gather(std::span<std::byte> buffer, std::span<const GatherBlock> blocks) {
  if (ranks() > 1) wait(communicator_.all_gather(next_tag(), buffer, blocks));
}

void RankSteps::broadcast(Rank root, std::span<std::byte> buffer) {
  if (ranks() > 1) wait(communicator_.broadcast(next_tag(), root, buffer));
}

void RankSteps::work_together(const std::function<void()>& work) {
  std::exception_ptr error;
  // Ends before this returns, also by an exception: whoever unwinds may take away what the work uses.
  std::future<void> running = std::async(std::launch::async, work);
  std::vector<State> states(ranks());
  std::vector<GatherBlock> blocks;
  for (Rank r = 0; r < ranks(); ++r) blocks.push_back({r, r * sizeof(State), sizeof(State)});
  const auto any = [&](Progress progress) {
    return std::ranges::any_of(states, [&](const State& state) { return state.progress == progress; });
  };
  do {
    State& mine = states[rank()];
    if (running.valid() && running.wait_for(kBetweenRounds) == std::future_status::ready) {
      try {
        running.get();
        mine.progress = Progress::kDone;
      } catch (const std::exception& failure) {
        error = std::current_exception();
        mine.progress = Progress::kFailed;
        std::strncpy(mine.message.data(), failure.what(), mine.message.size() - 1);
      }
    }
    all_gather(std::as_writable_bytes(std::span(states)), blocks);
  } while (any(Progress::kWorking));
  if (error) std::rethrow_exception(error);
  for (Rank r = 0; r < ranks(); ++r) {
    if (states[r].progress != Progress::kFailed) continue;
    states[r].message.back() = '\0';
    throw Error(ErrorCode::kIo, fmt::format("rank {} gave up: {}", r, states[r].message.data()), phase_);
  }
}

}  // namespace concerto
