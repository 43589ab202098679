// One NCCL communicator and its stream: operations that go one after another, as a state machine that never blocks.
//
// NCCL knows no tags and trusts its callers: ranks that do not agree on sizes hang, or write where they must not. So
// each operation begins with its header (operation_header.hpp) going over the same communicator, and payload follows
// only when the host has seen that all agree. A barrier is that exchange alone.
#pragma once

#include <chrono>
#include <deque>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "concerto/comm/communicator.hpp"

#include "nccl_api.hpp"
#include "nccl_device.hpp"
#include "operation_book.hpp"
#include "operation_header.hpp"

namespace concerto {

/// One message of an operation's payload, as NCCL is asked for it.
struct NcclCall {
  enum class Kind : std::uint8_t { kSend, kReceive, kBroadcast, kAllGather, kCopy };
  Kind kind = Kind::kSend;
  Rank peer = 0;  ///< or the root; of an all-gather nothing
  const std::byte* give = nullptr;
  std::byte* take = nullptr;
  std::size_t bytes = 0;  ///< of an all-gather each rank's
};

struct NcclWork {
  Record record;
  OperationHeader header;
  Rank partner = kNoRank;            ///< of a transfer: the other rank; kNoRank: all ranks take part
  NcclDevice::Mark ready = nullptr;  ///< of the stream that makes the inputs; released by the lane
  std::vector<NcclCall> calls;
  std::uint64_t sent = 0;  ///< payload, as a ring would
  std::uint64_t received = 0;
};

/// What a lane found.
struct NcclTrouble {
  FailureKind kind = FailureKind::kLost;
  std::string what;
  std::vector<Rank> suspects;
};

/// For one thread, in which all calls are made. The destructor frees memory and stream: the communicator must have been
/// finished or aborted, or its device memory may still be in use.
class NcclLane {
 public:
  NcclLane(const nccl::Api& api, NcclDevice& device, OperationBook& book, Rank rank, Rank size);
  ~NcclLane();
  NcclLane(const NcclLane&) = delete;
  NcclLane& operator=(const NcclLane&) = delete;

  /// Begins to connect; poll until is_idle().
  [[nodiscard]] std::optional<NcclTrouble> connect(const nccl::UniqueId& id);
  void push(NcclWork work) { queue_.push_back(std::move(work)); }
  /// Does what can be done now.
  [[nodiscard]] std::optional<NcclTrouble> poll();
  /// Connected, and nothing to do.
  [[nodiscard]] bool is_idle() const noexcept { return phase_ == Phase::kIdle && queue_.empty(); }
  /// The operation in progress; null: none.
  [[nodiscard]] const OperationRecord* current() const noexcept {
    return queue_.empty() ? nullptr : queue_.front().record.get();
  }

  /// Of an idle lane: begins the orderly end; poll until is_finished().
  [[nodiscard]] std::optional<NcclTrouble> finish();
  [[nodiscard]] bool is_finished() const noexcept { return phase_ == Phase::kFinished; }
  /// The communicator, for somebody else to abort; the lane has none afterwards.
  [[nodiscard]] nccl::Comm release() noexcept;
  /// Gives up what is queued: released marks, dropped records. After the communicator has been aborted.
  void drop_all();

 private:
  enum class Phase : std::uint8_t { kNew, kConnecting, kIdle, kHeaders, kPayload, kFinishing, kFinished };

  [[nodiscard]] std::optional<NcclTrouble> step();
  void exchange_headers(const NcclWork& work);
  [[nodiscard]] std::optional<NcclTrouble> compare_headers(const NcclWork& work) const;
  void move_payload(const NcclWork& work);
  void complete();
  void put(const NcclCall& call);
  void call(nccl::Status status, const char* action);
  void release_marks(NcclWork& work) noexcept;

  const nccl::Api& api_;
  NcclDevice& device_;
  OperationBook& book_;
  const Rank rank_;
  const Rank size_;
  NcclDevice::Stream stream_ = nullptr;
  std::byte* device_headers_ = nullptr;  ///< mine, then one from each rank
  std::byte* host_headers_ = nullptr;    ///< the same
  nccl::Comm comm_ = nullptr;
  Phase phase_ = Phase::kNew;
  bool is_begun_ = false;  ///< the phase's work is in the stream
  NcclDevice::Mark passed_ = nullptr;
  std::deque<NcclWork> queue_;
};

}  // namespace concerto
