// All-gather over Gloo on loopback beside a ring of plain sockets that moves the same bytes, in turn. Ranks are
// threads. The argument is (ranks, bytes of the whole buffer). Time is that of the all-gather; the counters:
//   GB_per_s, sockets_GB_per_s   bytes that a rank sends by the time of the slowest rank, medians
//   of_sockets                   the median of the rounds' ratios of the two speeds
#include <algorithm>
#include <barrier>
#include <chrono>
#include <functional>
#include <memory>
#include <stdexcept>
#include <thread>
#include <vector>

#include <benchmark/benchmark.h>

#include "concerto/comm/communicators.hpp"

#include "socket_ring.hpp"
#include "support/folder_store.hpp"

namespace concerto::bench {
namespace {

using Clock = std::chrono::steady_clock;

/// A thread for each rank, which all do what they are told at a time.
class Ranks {
 public:
  explicit Ranks(Rank count) : begin_(count + 1), end_(count + 1) {
    for (Rank rank = 0; rank < count; ++rank) {
      threads_.emplace_back([this, rank] {
        for (begin_.arrive_and_wait(); work_; begin_.arrive_and_wait()) {
          work_(rank);
          end_.arrive_and_wait();
        }
      });
    }
  }
  ~Ranks() {
    work_ = nullptr;
    begin_.arrive_and_wait();
    for (std::thread& thread : threads_) thread.join();
  }
  Ranks(const Ranks&) = delete;
  Ranks& operator=(const Ranks&) = delete;

  /// Seconds until the last is done.
  double run(std::function<void(Rank)> work) {
    work_ = std::move(work);
    begin_.arrive_and_wait();
    const Clock::time_point start = Clock::now();
    end_.arrive_and_wait();
    return std::chrono::duration<double>(Clock::now() - start).count();
  }

 private:
  std::barrier<> begin_;
  std::barrier<> end_;
  std::function<void(Rank)> work_;
  std::vector<std::thread> threads_;
};

double median(std::vector<double> values) {
  std::ranges::nth_element(values, values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2));
  return values[values.size() / 2];
}

std::vector<std::unique_ptr<Communicator>> connect(Ranks& ranks, Rank count) {
  const TemporaryFolder folder;
  std::vector<std::unique_ptr<Communicator>> communicators(count);
  (void)ranks.run([&](Rank rank) {
    FolderStore store(folder.path());
    GlooOptions options;
    options.address = "127.0.0.1";
    auto made = make_gloo_communicator(store, rank, count, options, {});
    if (made) communicators[rank] = std::move(made.value());
  });
  for (const auto& one : communicators) {
    if (!one) throw std::runtime_error("the ranks did not connect");
  }
  return communicators;
}

void all_gather_over_gloo(benchmark::State& state) {
  const auto count = static_cast<Rank>(state.range(0));
  const auto share = static_cast<std::size_t>(state.range(1)) / count;
  Ranks ranks(count);
  auto communicators = connect(ranks, count);
  const SocketRing sockets(count);
  std::vector<GatherBlock> blocks;
  for (Rank rank = 0; rank < count; ++rank) blocks.push_back({rank, rank * share, share});
  std::vector<std::vector<std::byte>> buffers(count, std::vector<std::byte>(count * share));
  const std::size_t moved = (count - 1) * share;

  std::vector<double> ours;
  std::vector<double> theirs;
  std::vector<double> ratios;
  std::uint64_t index = 0;
  for (auto _ : state) {
    ours.push_back(ranks.run([&](Rank rank) {
      Communicator& communicator = *communicators[rank];
      if (!communicator.wait(communicator.all_gather({0, 0, 0, index}, buffers[rank], blocks))) std::abort();
    }));
    ++index;
    theirs.push_back(ranks.run([&](Rank rank) {
      std::vector<std::byte>& buffer = buffers[rank];
      sockets.exchange(rank, std::span(buffer).first(moved), std::span(buffer).last(moved));
    }));
    ratios.push_back(theirs.back() / ours.back());
    state.SetIterationTime(ours.back());
  }
  state.counters["GB_per_s"] = 1e-9 * static_cast<double>(moved) / median(ours);
  state.counters["sockets_GB_per_s"] = 1e-9 * static_cast<double>(moved) / median(theirs);
  state.counters["of_sockets"] = median(ratios);
}

BENCHMARK(all_gather_over_gloo)
    ->ArgNames({"ranks", "bytes"})
    ->ArgsProduct({{2, 4}, {64 << 10, 1 << 20, 16 << 20, 256 << 20}})
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace concerto::bench

BENCHMARK_MAIN();
