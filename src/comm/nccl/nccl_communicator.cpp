// Operations become calls of NCCL on one of some lanes, which one thread drives.
#include "nccl_communicator.hpp"

#include <algorithm>
#include <bit>
#include <limits>
#include <numeric>
#include <stdexcept>
#include <string>

#include <fmt/format.h>

#include "concerto/base/check.hpp"

#include "arguments.hpp"
#include "threads.hpp"

namespace concerto {
namespace {

constexpr std::size_t kUncut = std::numeric_limits<std::size_t>::max();
/// How often NCCL is asked how it is: with work under way, and without.
constexpr std::chrono::microseconds kBusyPause{100};
constexpr std::chrono::milliseconds kIdlePause{100};

std::uint64_t sum_of(const std::vector<Transfer>& transfers) {
  return std::accumulate(transfers.begin(), transfers.end(), std::uint64_t{0},
                         [](std::uint64_t sum, const Transfer& one) { return sum + one.bytes; });
}

/// One call where every rank gives as much and in the order of ranks; else a broadcast of each run of bytes.
std::vector<NcclCall> all_gather_calls(Rank rank, Rank size, std::span<std::byte> buffer,
                                       std::span<const GatherBlock> blocks) {
  const auto shares = all_gather_shares(size, blocks, kUncut);
  const std::size_t share = buffer.size() / size;
  bool is_even = share * size == buffer.size() && share > 0;
  for (Rank owner = 0; owner < size && is_even; ++owner) {
    is_even = shares[owner].size() == 1 && shares[owner][0].offset == owner * share && shares[owner][0].bytes == share;
  }
  if (is_even) return {{NcclCall::Kind::kAllGather, 0, buffer.data() + rank * share, buffer.data(), share}};
  std::vector<NcclCall> calls;
  for (Rank owner = 0; owner < size; ++owner) {
    for (const Piece& piece : shares[owner]) {
      std::byte* place = buffer.data() + piece.offset;
      calls.push_back({NcclCall::Kind::kBroadcast, owner, place, place, piece.bytes});
    }
  }
  return calls;
}

}  // namespace

std::size_t nccl_lanes(Rank size) noexcept {
  return 1 + 2 * static_cast<std::size_t>(std::bit_width(size - Rank{1}));
}

std::size_t nccl_transfer_lane(Rank from, Rank to) noexcept {
  return 2 * static_cast<std::size_t>(std::bit_width(from ^ to)) - (from < to ? 1 : 0);
}

NcclCommunicator::NcclCommunicator(NcclLibrary library, std::unique_ptr<NcclDevice> device, Rank rank, Rank size,
                                   std::uint64_t group, const Ids& ids, const NcclOptions& options,
                                   const CommLimits& limits)
    : library_(std::move(library)),
      device_(std::move(device)),
      rank_(rank),
      size_(size),
      group_(group),
      ids_(ids),
      options_(options),
      book_(limits) {
  CONCERTO_CHECK(ids_.size() == nccl_lanes(size), "a name for each lane");
  for (std::size_t lane = 0; lane < ids_.size(); ++lane) {
    lanes_.push_back(std::make_unique<NcclLane>(library_.api(), *device_, book_, rank, size));
  }
  thread_ = start_thread([this] { run(); });
}

NcclCommunicator::~NcclCommunicator() {
  if (book_.has_pending()) abort("the communicator was destroyed with operations pending");
  {
    const std::lock_guard lock(mutex_);
    is_stopping_ = true;
    changed_.notify_all();
  }
  thread_.join();
}

Result<void> NcclCommunicator::await_connected(Deadline deadline) {
  {
    std::unique_lock lock(mutex_);
    changed_.wait_until(lock, deadline, [&] { return is_connected_ || is_ended_; });
    if (is_connected_) return {};
  }
  (void)book_.fail({{FailureKind::kTimeout, "the devices of the ranks were not connected in time"},
                    OperationKind::kBarrier,
                    {},
                    {}});
  abort("not connected");
  return book_.failure()->failure;
}

void NcclCommunicator::run() {
  for (;;) {
    const bool is_stopping = take_arrivals();
    if (book_.failed()) {
      give_up();
      if (is_stopping) return;
    } else {
      advance();
      if (is_stopping && (is_finishing_ || !is_busy())) finish_lanes();
      if (is_finishing_ && std::ranges::all_of(lanes_, [](const auto& lane) { return lane->is_finished(); })) return;
    }
    std::unique_lock lock(mutex_);
    if (!arrivals_.empty() || (is_stopping_ && !is_stopping)) continue;
    if (is_ended_) {
      changed_.wait(lock, [&] { return is_stopping_ || !arrivals_.empty(); });
    } else if (is_busy() || is_stopping) {
      changed_.wait_for(lock, kBusyPause);
    } else {
      changed_.wait_for(lock, kIdlePause);
    }
  }
}

/// True: the communicator is to end.
bool NcclCommunicator::take_arrivals() {
  const std::lock_guard lock(mutex_);
  for (Arrival& arrival : arrivals_) lanes_[arrival.lane]->push(std::move(arrival.work));
  arrivals_.clear();
  return is_stopping_;
}

bool NcclCommunicator::is_busy() const {
  return connected_lanes_ < lanes_.size() || is_finishing_ ||
         !std::ranges::all_of(lanes_, [](const auto& lane) { return lane->is_idle(); });
}

/// One after another: ranks that connect several at a time could wait for each other.
void NcclCommunicator::connect_lanes() {
  if (connected_lanes_ == lanes_.size()) return;
  NcclLane& lane = *lanes_[connected_lanes_];
  if (!is_connecting_) {
    is_connecting_ = true;
    if (auto trouble = lane.connect(ids_[connected_lanes_])) fail(lane, std::move(*trouble));
    return;
  }
  if (!lane.is_idle()) return;
  is_connecting_ = false;
  if (++connected_lanes_ < lanes_.size()) return;
  const std::lock_guard lock(mutex_);
  is_connected_ = true;
  changed_.notify_all();
}

void NcclCommunicator::advance() {
  book_.expire();
  connect_lanes();
  for (const auto& lane : lanes_) {
    if (book_.failed()) return;
    if (auto trouble = lane->poll()) fail(*lane, std::move(*trouble));
  }
}

void NcclCommunicator::finish_lanes() {
  if (is_finishing_) {
    if (std::chrono::steady_clock::now() < finish_deadline_) return;
    (void)book_.fail(
        {{FailureKind::kAborted, "NCCL did not end a communicator in time"}, OperationKind::kBarrier, {}, {}});
    return;
  }
  is_finishing_ = true;
  finish_deadline_ = std::chrono::steady_clock::now() + options_.finish_limit;
  for (const auto& lane : lanes_) {
    if (auto trouble = lane->finish()) return fail(*lane, std::move(*trouble));
  }
}

void NcclCommunicator::fail(const NcclLane& lane, NcclTrouble trouble) {
  if (const OperationRecord* current = lane.current()) {
    (void)book_.fail(*current, trouble.kind, trouble.what, std::move(trouble.suspects));
  } else {
    (void)book_.fail({{trouble.kind, std::move(trouble.what)}, OperationKind::kBarrier, {}, {}});
  }
}

void NcclCommunicator::abort(std::string_view reason) noexcept {
  (void)book_.fail({{FailureKind::kAborted, std::string(reason)}, OperationKind::kBarrier, {}, {}});
  if (std::this_thread::get_id() == thread_.get_id())
    return give_up();  // told of a change, who called asks for the end
  std::unique_lock lock(mutex_);
  changed_.notify_all();
  changed_.wait(lock, [&] { return is_ended_; });
}

/// NCCL first, so that the device stops using buffers; then the operations are told.
void NcclCommunicator::give_up() noexcept {
  bool was_ended = false;
  {
    const std::lock_guard lock(mutex_);
    was_ended = is_ended_;
  }
  if (!was_ended) {
    std::vector<nccl::Comm> comms;
    for (const auto& lane : lanes_) {
      if (const nccl::Comm comm = lane->release(); comm != nullptr) comms.push_back(comm);
    }
    if (!abort_all(std::move(comms))) {
      const std::string what = fmt::format("NCCL did not give up a communicator within {} ms after: {}",
                                           options_.abort_limit.count(), book_.failure()->failure.message);
      CONCERTO_CHECK(options_.on_hung_abort, what.c_str());
      options_.on_hung_abort(what);
    }
    const std::lock_guard lock(mutex_);
    is_ended_ = true;
    changed_.notify_all();
  }
  for (const auto& lane : lanes_) lane->drop_all();
}

/// In a thread of its own, which is left behind where NCCL does not come back. False then.
bool NcclCommunicator::abort_all(std::vector<nccl::Comm> comms) const {
  struct Progress {
    std::mutex mutex;
    std::condition_variable changed;
    bool is_done = false;
  };
  if (comms.empty()) return true;
  const auto progress = std::make_shared<Progress>();
  start_thread([progress, comms = std::move(comms), abort_one = library_.api().comm_abort] {
    for (const nccl::Comm comm : comms) (void)abort_one(comm);
    const std::lock_guard lock(progress->mutex);
    progress->is_done = true;
    progress->changed.notify_all();
  }).detach();
  std::unique_lock lock(progress->mutex);
  return progress->changed.wait_for(lock, options_.abort_limit, [&] { return progress->is_done; });
}

OperationHandle NcclCommunicator::start(std::size_t lane, OperationKind kind, NcclWork work, const Schedule& schedule) {
  work.record = book_.open(kind, work.header.tag);
  OperationHandle handle = work.record;
  if (work.record->state() != OperationState::kPending) return handle;
  work.header.sender = rank_;
  work.header.group = group_;
  work.sent = sum_of(schedule.sends);
  work.received = sum_of(schedule.receives);
  try {
    if (!work.calls.empty()) work.ready = device_->mark(options_.stream);
  } catch (const std::runtime_error& error) {
    (void)book_.fail(*work.record, FailureKind::kLost, error.what(), {});  // the thread drops it
  }
  const std::lock_guard lock(mutex_);
  arrivals_.push_back({lane, std::move(work)});
  changed_.notify_all();
  return handle;
}

OperationHandle NcclCommunicator::all_gather(const OperationTag& tag, std::span<std::byte> buffer,
                                             std::span<const GatherBlock> blocks) {
  check_blocks(buffer.size(), blocks, size_);
  NcclWork work;
  work.header = {OperationKind::kAllGather, 0, 0, tag, buffer.size(), layout_digest(buffer.size(), blocks), 0};
  work.calls = all_gather_calls(rank_, size_, buffer, blocks);
  return start(0, OperationKind::kAllGather, std::move(work), all_gather_schedule(rank_, size_, blocks, kUncut));
}

OperationHandle NcclCommunicator::gather(const OperationTag& tag, Rank root, std::span<const std::byte> mine,
                                         std::span<std::byte> received, std::span<const std::size_t> sizes) {
  const std::size_t total = check_gather(rank_, size_, root, mine, received, sizes);
  NcclWork work;
  work.header = {OperationKind::kGather, root, 0, tag, total, layout_digest(sizes), 0};
  const Schedule schedule = gather_schedule(rank_, size_, root, sizes, kUncut);
  for (const Transfer& send : schedule.sends) {
    work.calls.push_back({NcclCall::Kind::kSend, send.peer, mine.data() + send.offset, nullptr, send.bytes});
  }
  for (const Transfer& receive : schedule.receives) {
    work.calls.push_back(
        {NcclCall::Kind::kReceive, receive.peer, nullptr, received.data() + receive.offset, receive.bytes});
  }
  if (rank_ == root && !mine.empty()) {
    const std::size_t place = std::accumulate(sizes.begin(), sizes.begin() + root, std::size_t{0});
    work.calls.push_back({NcclCall::Kind::kCopy, root, mine.data(), received.data() + place, mine.size()});
  }
  return start(0, OperationKind::kGather, std::move(work), schedule);
}

OperationHandle NcclCommunicator::broadcast(const OperationTag& tag, Rank root, std::span<std::byte> buffer) {
  CONCERTO_CHECK(root < size_, "a broadcast from no rank of the group");
  NcclWork work;
  work.header = {OperationKind::kBroadcast, root, 0, tag, buffer.size(), 0, 0};
  if (!buffer.empty()) {
    work.calls.push_back({NcclCall::Kind::kBroadcast, root, buffer.data(), buffer.data(), buffer.size()});
  }
  return start(0, OperationKind::kBroadcast, std::move(work),
               broadcast_schedule(rank_, size_, root, buffer.size(), kUncut));
}

OperationHandle NcclCommunicator::barrier(const OperationTag& tag) {
  NcclWork work;
  work.header = {OperationKind::kBarrier, 0, 0, tag, 0, 0, 0};
  return start(0, OperationKind::kBarrier, std::move(work), {});
}

OperationHandle NcclCommunicator::send(const OperationTag& tag, Rank to, std::span<const std::byte> buffer) {
  CONCERTO_CHECK(to < size_ && to != rank_, "a send to no other rank of the group");
  NcclWork work;
  work.header = {OperationKind::kSend, rank_, 0, tag, buffer.size(), 0, 0};
  work.partner = to;
  if (!buffer.empty()) work.calls.push_back({NcclCall::Kind::kSend, to, buffer.data(), nullptr, buffer.size()});
  return start(nccl_transfer_lane(rank_, to), OperationKind::kSend, std::move(work),
               send_schedule(to, buffer.size(), kUncut));
}

OperationHandle NcclCommunicator::receive(const OperationTag& tag, Rank from, std::span<std::byte> buffer) {
  CONCERTO_CHECK(from < size_ && from != rank_, "a receive from no other rank of the group");
  NcclWork work;
  work.header = {OperationKind::kSend, from, 0, tag, buffer.size(), 0, 0};
  work.partner = from;
  if (!buffer.empty()) work.calls.push_back({NcclCall::Kind::kReceive, from, nullptr, buffer.data(), buffer.size()});
  return start(nccl_transfer_lane(from, rank_), OperationKind::kReceive, std::move(work),
               receive_schedule(from, buffer.size(), kUncut));
}

}  // namespace concerto
