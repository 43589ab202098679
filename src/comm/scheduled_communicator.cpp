// Operations become schedules on lanes; the first failure, a deadline or abort() ends them all.
#include "scheduled_communicator.hpp"

#include <algorithm>
#include <numeric>
#include <vector>

#include "concerto/base/check.hpp"

#include "arguments.hpp"
#include "threads.hpp"

namespace concerto {

ScheduledCommunicator::ScheduledCommunicator(std::string_view name, Rank rank, Rank size, std::uint64_t group,
                                             std::unique_ptr<Transport> transport, const CommLimits& limits)
    : name_(name), rank_(rank), size_(size), group_(group), book_(limits), transport_(std::move(transport)) {
  CONCERTO_CHECK(rank < size, "a rank outside its group");
  watcher_ = start_thread([this] { watch(); });
}

ScheduledCommunicator::~ScheduledCommunicator() {
  if (book_.has_pending()) abort("the communicator was destroyed with operations pending");
  book_.close();
  watcher_.join();
  lanes_.clear();
  if (!book_.failed()) end_connections();
}

void ScheduledCommunicator::watch() {
  if (!book_.watch_deadlines()) return;
  interrupt_lanes();
  end_connections();
}

void ScheduledCommunicator::abort(std::string_view reason) noexcept {
  (void)book_.fail({{FailureKind::kAborted, std::string(reason)}, OperationKind::kBarrier, {}, {}});
  interrupt_lanes();
  end_connections();
}

void ScheduledCommunicator::fail(const OperationRecord& record, FailureKind kind, const std::string& what,
                                 Rank suspect) {
  std::vector<Rank> suspects{suspect};
  if (kind == FailureKind::kLost) {
    // Who falls first takes others along; the one to blame is likely among those that are gone by now.
    for (const Rank lost : transport_->lost_peers()) {
      if (lost != suspect) suspects.push_back(lost);
    }
  }
  // The watcher ends the rest.
  (void)book_.fail(record, kind, what, std::move(suspects));
}

void ScheduledCommunicator::interrupt_lanes() noexcept {
  const std::lock_guard lock(lanes_mutex_);
  for (const auto& [key, lane] : lanes_) lane->interrupt();
}

void ScheduledCommunicator::end_connections() noexcept {
  std::vector<Lane*> lanes;
  {
    const std::lock_guard lock(lanes_mutex_);
    for (const auto& [key, lane] : lanes_) lanes.push_back(lane.get());
  }
  if (book_.failed()) {
    for (Lane* lane : lanes) lane->await_quiet();
  }
  std::call_once(connections_ended_, [&] { transport_->close(); });
}

OperationHeader ScheduledCommunicator::header(OperationKind kind, const OperationTag& tag, Rank root, std::size_t bytes,
                                              std::uint64_t layout) const {
  return {kind, root, rank_, tag, bytes, layout, group_};
}

ScheduledCommunicator::LaneKey ScheduledCommunicator::next_group_lane() noexcept {
  return {kNoRank, false, static_cast<std::uint8_t>(group_operations_++ % kGroupLanes)};
}

OperationHandle ScheduledCommunicator::start(LaneKey key, OperationKind kind, const OperationTag& tag, Work work) {
  work.record = book_.open(kind, tag);
  OperationHandle handle = work.record;
  if (work.record->state() != OperationState::kPending) return handle;
  const std::lock_guard lock(lanes_mutex_);
  std::unique_ptr<Lane>& lane = lanes_[key];
  if (!lane) {
    LaneStreams streams{group_header(key.group_lane), group_header(key.group_lane), group_data(key.group_lane)};
    if (key.peer != kNoRank) {
      streams = {Stream::kSenderHeader, Stream::kReceiverHeader, Stream::kTransferData};
      if (!key.is_sender) std::swap(streams.header_out, streams.header_in);
    }
    lane = std::make_unique<Lane>(*transport_, book_, streams,
                                  [this](const OperationRecord& record, FailureKind failure, const std::string& what,
                                         Rank suspect) { fail(record, failure, what, suspect); });
    if (book_.failed()) lane->interrupt();  // who interrupts lanes may have been here before it was made
  }
  lane->push(std::move(work));
  return handle;
}

OperationHandle ScheduledCommunicator::all_gather(const OperationTag& tag, std::span<std::byte> buffer,
                                                  std::span<const GatherBlock> blocks) {
  check_blocks(buffer.size(), blocks, size_);
  Work work;
  work.header = header(OperationKind::kAllGather, tag, 0, buffer.size(), layout_digest(buffer.size(), blocks));
  const Packing packing = pack_small_blocks(size_, blocks);
  work.schedule = all_gather_schedule(rank_, size_, packing.blocks);
  work.give = work.fill = buffer.data();
  if (!packing.moves.empty()) {
    work.staging.resize(packing.bytes);
    work.give = work.fill = work.staging.data();
  }
  for (const Packing::Move& move : packing.moves) {
    std::byte* const outside = buffer.data() + move.offset;
    std::byte* const inside = work.staging.data() + move.packed;
    if (move.owner == rank_) {
      work.before.push_back({outside, inside, move.bytes});
    } else {
      work.after.push_back({inside, outside, move.bytes});
    }
  }
  return start(next_group_lane(), OperationKind::kAllGather, tag, std::move(work));
}

OperationHandle ScheduledCommunicator::gather(const OperationTag& tag, Rank root, std::span<const std::byte> mine,
                                              std::span<std::byte> received, std::span<const std::size_t> sizes) {
  const std::size_t total = check_gather(rank_, size_, root, mine, received, sizes);
  Work work;
  work.header = header(OperationKind::kGather, tag, root, total, layout_digest(sizes));
  work.schedule = gather_schedule(rank_, size_, root, sizes);
  work.give = mine.data();
  if (rank_ == root) {
    work.fill = received.data();
    const std::size_t offset = std::accumulate(sizes.begin(), sizes.begin() + root, std::size_t{0});
    if (!mine.empty()) work.before.push_back({mine.data(), received.data() + offset, mine.size()});
  }
  return start(next_group_lane(), OperationKind::kGather, tag, std::move(work));
}

OperationHandle ScheduledCommunicator::broadcast(const OperationTag& tag, Rank root, std::span<std::byte> buffer) {
  CONCERTO_CHECK(root < size_, "a broadcast from no rank of the group");
  Work work;
  work.header = header(OperationKind::kBroadcast, tag, root, buffer.size(), 0);
  work.schedule = broadcast_schedule(rank_, size_, root, buffer.size());
  work.give = work.fill = buffer.data();
  return start(next_group_lane(), OperationKind::kBroadcast, tag, std::move(work));
}

OperationHandle ScheduledCommunicator::barrier(const OperationTag& tag) {
  Work work;
  work.header = header(OperationKind::kBarrier, tag, 0, 0, 0);
  work.schedule = barrier_schedule(rank_, size_);
  return start(next_group_lane(), OperationKind::kBarrier, tag, std::move(work));
}

OperationHandle ScheduledCommunicator::send(const OperationTag& tag, Rank to, std::span<const std::byte> buffer) {
  CONCERTO_CHECK(to < size_ && to != rank_, "a send to no other rank of the group");
  Work work;
  work.header = header(OperationKind::kSend, tag, rank_, buffer.size(), 0);
  work.schedule = send_schedule(to, buffer.size());
  work.give = buffer.data();
  return start({to, true, 0}, OperationKind::kSend, tag, std::move(work));
}

OperationHandle ScheduledCommunicator::receive(const OperationTag& tag, Rank from, std::span<std::byte> buffer) {
  CONCERTO_CHECK(from < size_ && from != rank_, "a receive from no other rank of the group");
  Work work;
  work.header = header(OperationKind::kSend, tag, from, buffer.size(), 0);
  work.schedule = receive_schedule(from, buffer.size());
  work.fill = buffer.data();
  return start({from, false, 0}, OperationKind::kReceive, tag, std::move(work));
}

}  // namespace concerto
