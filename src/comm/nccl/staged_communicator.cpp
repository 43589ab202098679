// Operations on their way up, below, and down again.
#include "staged_communicator.hpp"

#include <algorithm>
#include <chrono>
#include <exception>
#include <iterator>
#include <limits>
#include <string>
#include <utility>

#include "concerto/base/check.hpp"

#include "arguments.hpp"
#include "schedule.hpp"
#include "threads.hpp"

namespace concerto {
namespace {

/// How often time limits, and failures below that concern no operation, are looked at.
constexpr std::chrono::milliseconds kPause{20};
/// Where a buffer begins behind another one: what device copies like.
constexpr std::size_t kAlignment = 256;

}  // namespace

StagedCommunicator::StagedCommunicator(std::unique_ptr<Staging> staging, std::unique_ptr<Communicator> below,
                                       const CommLimits& limits)
    : staging_(std::move(staging)), book_(limits), below_(std::move(below)) {
  below_->on_change([this] {
    const std::lock_guard lock(mutex_);
    is_rung_ = true;
    changed_.notify_all();
  });
  up_ = start_thread([this] { carry_up(); });
  down_ = start_thread([this] { carry_down(); });
}

StagedCommunicator::~StagedCommunicator() {
  if (book_.has_pending()) abort("the communicator was destroyed with operations pending");
  {
    const std::lock_guard lock(mutex_);
    is_stopping_ = true;
    changed_.notify_all();
  }
  up_.join();
  down_.join();
}

OperationHandle StagedCommunicator::open(OperationKind kind, const OperationTag& tag, Work work) {
  work.record = book_.open(kind, tag);
  OperationHandle handle = work.record;
  if (handle->state() != OperationState::kPending) return handle;
  const std::lock_guard lock(mutex_);
  asked_.push_back(std::move(work));
  changed_.notify_all();
  return handle;
}

OperationHandle StagedCommunicator::all_gather(const OperationTag& tag, std::span<std::byte> buffer,
                                               std::span<const GatherBlock> blocks) {
  check_blocks(buffer.size(), blocks, size());
  Work work;
  work.bytes = buffer.size();
  const auto shares = all_gather_shares(size(), blocks, std::numeric_limits<std::size_t>::max());
  for (Rank owner = 0; owner < size(); ++owner) {
    for (const Piece& piece : shares[owner]) {
      const std::span<std::byte> part = buffer.subspan(piece.offset, piece.bytes);
      if (owner == rank()) {
        work.ups.push_back({part, piece.offset});
      } else {
        work.downs.push_back({part, piece.offset});
      }
    }
  }
  work.start = [tag, bytes = buffer.size(), kept = std::vector<GatherBlock>(blocks.begin(), blocks.end())](
                   Communicator& below, std::byte* device) {
    return below.all_gather(tag, std::span(device, bytes), kept);
  };
  return open(OperationKind::kAllGather, tag, std::move(work));
}

OperationHandle StagedCommunicator::gather(const OperationTag& tag, Rank root, std::span<const std::byte> mine,
                                           std::span<std::byte> received, std::span<const std::size_t> sizes) {
  check_gather(rank(), size(), root, mine, received, sizes);
  const bool is_root = rank() == root;
  const std::size_t place = (mine.size() + kAlignment - 1) / kAlignment * kAlignment;
  const std::size_t taken = is_root ? received.size() : 0;
  Work work;
  work.bytes = is_root ? place + taken : mine.size();
  work.ups = {{mine, 0}};
  if (is_root) work.downs = {{received, place}};
  work.start = [=, given = mine.size(), kept = std::vector<std::size_t>(sizes.begin(), sizes.end())](
                   Communicator& below, std::byte* device) {
    const std::span<std::byte> filled = taken > 0 ? std::span(device + place, taken) : std::span<std::byte>();
    return below.gather(tag, root, {device, given}, filled, kept);
  };
  return open(OperationKind::kGather, tag, std::move(work));
}

OperationHandle StagedCommunicator::broadcast(const OperationTag& tag, Rank root, std::span<std::byte> buffer) {
  CONCERTO_CHECK(root < size(), "a broadcast from no rank of the group");
  Work work;
  work.bytes = buffer.size();
  if (rank() == root) {
    work.ups = {{buffer, 0}};
  } else {
    work.downs = {{buffer, 0}};
  }
  work.start = [tag, root, bytes = buffer.size()](Communicator& below, std::byte* device) {
    return below.broadcast(tag, root, {device, bytes});
  };
  return open(OperationKind::kBroadcast, tag, std::move(work));
}

OperationHandle StagedCommunicator::barrier(const OperationTag& tag) {
  Work work;
  work.start = [tag](Communicator& below, std::byte*) { return below.barrier(tag); };
  return open(OperationKind::kBarrier, tag, std::move(work));
}

OperationHandle StagedCommunicator::send(const OperationTag& tag, Rank to, std::span<const std::byte> buffer) {
  CONCERTO_CHECK(to < size() && to != rank(), "a send to no other rank of the group");
  Work work;
  work.partner = to;
  work.bytes = buffer.size();
  work.ups = {{buffer, 0}};
  work.start = [tag, to, bytes = buffer.size()](Communicator& below, std::byte* device) {
    return below.send(tag, to, {device, bytes});
  };
  return open(OperationKind::kSend, tag, std::move(work));
}

OperationHandle StagedCommunicator::receive(const OperationTag& tag, Rank from, std::span<std::byte> buffer) {
  CONCERTO_CHECK(from < size() && from != rank(), "a receive from no other rank of the group");
  Work work;
  work.partner = from;
  work.bytes = buffer.size();
  work.downs = {{buffer, 0}};
  work.start = [tag, from, bytes = buffer.size()](Communicator& below, std::byte* device) {
    return below.receive(tag, from, {device, bytes});
  };
  return open(OperationKind::kReceive, tag, std::move(work));
}

CommCounters StagedCommunicator::counters() const noexcept {
  CommCounters counters = below_->counters();
  counters.operations = book_.counters().operations;
  return counters;
}

void StagedCommunicator::abort(std::string_view reason) noexcept {
  (void)book_.fail({{FailureKind::kAborted, std::string(reason)}, OperationKind::kBarrier, {}, {}});
  if (std::this_thread::get_id() == down_.get_id()) return give_up();  // told of a change, who called asks for the end
  std::unique_lock lock(mutex_);
  is_rung_ = true;
  changed_.notify_all();
  changed_.wait(lock, [&] { return is_ended_; });
}

void StagedCommunicator::fail(const Work& work, const std::exception& error) {
  (void)book_.fail(*work.record, FailureKind::kLost, error.what(), {});
}

// Up.

void StagedCommunicator::carry_up() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [&] { return is_stopping_ || !asked_.empty(); });
    if (asked_.empty()) break;
    Work work = std::move(asked_.front());
    asked_.pop_front();
    is_carrying_up_ = true;  // before failed() is asked: who gives up waits for the end of this
    lock.unlock();
    if (!book_.failed()) begin(work);
    lock.lock();
    is_carrying_up_ = false;
    is_rung_ = true;
    begun_.push_back(std::move(work));
    changed_.notify_all();
  }
  has_stopped_up_ = true;
  changed_.notify_all();
}

void StagedCommunicator::begin(Work& work) {
  try {
    work.memory = staging_->buffers.take(work.bytes);
    for (const Up& up : work.ups) {
      if (!staging_->uploads.upload(work.memory.data() + up.place, up.from, given_up_)) return;
    }
  } catch (const std::exception& error) {
    return fail(work, error);
  }
  work.record->set_awaited(work.partner);
  work.below = work.start(*below_, work.memory.data());
}

// Down.

void StagedCommunicator::carry_down() {
  for (;;) {
    const bool is_last = take_begun();
    book_.expire();
    if (const auto failure = below_->failure()) (void)book_.fail(*failure);
    if (book_.failed()) give_up();
    end_operations();
    if (is_last && under_way_.empty()) return;
  }
}

/// Waits until there may be something to do. True: nothing more will be begun.
bool StagedCommunicator::take_begun() {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, kPause, [&] { return is_rung_ || has_stopped_up_; });
  is_rung_ = false;
  std::ranges::move(begun_, std::back_inserter(under_way_));
  begun_.clear();
  return has_stopped_up_;
}

void StagedCommunicator::end_operations() {
  std::erase_if(under_way_, [&](Work& work) { return end(work); });
}

/// False: it is still under way.
bool StagedCommunicator::end(Work& work) {
  if (!book_.failed()) {
    if (!work.below || work.below->state() != OperationState::kDone) return false;
    try {
      for (const Down& down : work.downs) {
        if (!staging_->downloads.download(down.to, work.memory.data() + down.place, given_up_)) return false;
      }
    } catch (const std::exception& error) {
      fail(work, error);
      return false;  // dropped when all has been given up
    }
    staging_->buffers.give_back(work.memory);
    work.record->add_moved(work.below->bytes_moved());
    book_.complete(work.record);
    return true;
  }
  give_up();
  book_.drop(work.record);
  return true;
}

/// The device first, so that it stops using memory; then the operations are told. Of the thread that carries down.
void StagedCommunicator::give_up() noexcept {
  {
    const std::lock_guard lock(mutex_);
    if (is_ended_) return;
  }
  below_->abort(book_.failure()->failure.message);
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return !is_carrying_up_; });
  is_ended_ = true;
  changed_.notify_all();
}

}  // namespace concerto
