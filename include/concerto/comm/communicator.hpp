// Collective operations among the ranks of a run: the moves of the strong level.
//
// An operation is started by every rank that takes part, in the same order on all of them, with the same tag; it runs
// while the caller computes, and its handle says whether it is pending, done or failed. Nothing blocks but wait(). The
// first failure fails the communicator for good: every pending and later operation fails, and a new communicator, under
// a new epoch, has to be made. A caller's buffers belong to the operation until its handle says done, or until abort()
// has returned.
//
// A communicator moves bytes. It never adds numbers: sums are made by the caller in the order of a fixed tree
// (base/tree_sum.hpp), so that they depend on no library and on no number of ranks. It reports whom it suspects,
// possibly nobody: who is really to blame is decided by the node, which knows every rank's progress.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "concerto/base/ids.hpp"
#include "concerto/base/result.hpp"

namespace concerto {

/// Which operation of the run this is. Every rank derives it from (configuration, membership epoch, step), never from
/// what has arrived; ranks that meet with different tags fail with kMismatch rather than hang or mix bytes.
struct OperationTag {
  std::uint32_t epoch = 0;  ///< of the membership
  std::uint32_t table = 0;  ///< which factor table or kind of sum
  std::uint64_t step = 0;
  std::uint64_t index = 0;  ///< of the operation within its step
  friend bool operator==(const OperationTag&, const OperationTag&) = default;
};
/// "epoch 1, step 12, table 0, operation 3"
[[nodiscard]] std::string to_string(const OperationTag& tag);

enum class OperationKind : std::uint8_t { kAllGather, kGather, kBroadcast, kBarrier, kSend, kReceive };
[[nodiscard]] std::string_view to_string(OperationKind kind) noexcept;

enum class OperationState : std::uint8_t { kPending, kDone, kFailed };

/// A started operation. Thread-safe.
class Operation {
 public:
  virtual ~Operation() = default;
  [[nodiscard]] virtual OperationState state() const noexcept = 0;
  /// Bytes sent and received so far; never falls. Progress for those who watch whether a rank is stalled.
  [[nodiscard]] virtual std::uint64_t bytes_moved() const noexcept = 0;
};
using OperationHandle = std::shared_ptr<const Operation>;

/// Why a communicator failed.
struct CommFailure {
  Failure failure;  ///< its message names operation, tag and what was met
  OperationKind kind = OperationKind::kBarrier;
  OperationTag tag;
  std::vector<Rank> suspects;  ///< possibly empty
};

struct CommCounters {
  std::uint64_t bytes_sent = 0;  ///< payload, to other ranks
  std::uint64_t bytes_received = 0;
  std::uint64_t header_bytes_sent = 0;  ///< besides: what ranks tell each other of the operation that they are in
  std::uint64_t operations = 0;
};

/// Where an all-gather's block lies in the buffer, and who gives it.
struct GatherBlock {
  Rank owner = 0;
  std::size_t offset = 0;
  std::size_t bytes = 0;
  friend bool operator==(const GatherBlock&, const GatherBlock&) = default;
};

class Communicator {
 public:
  virtual ~Communicator() = default;
  /// "inproc", "gloo", "channel", "nccl".
  [[nodiscard]] virtual std::string_view name() const noexcept = 0;
  [[nodiscard]] virtual Rank rank() const noexcept = 0;
  [[nodiscard]] virtual Rank size() const noexcept = 0;

  // Starting operations. From one thread at a time. Those among all ranks end in the order in which they were started;
  // the next ones begin while the first is under way. Buffers are host memory (nccl, unless staged: device memory,
  // whose contents are ready when the stream that it was made with reaches the call). The time limit of an operation
  // counts from the call: from the moment that this rank's inputs are ready.

  /// Every rank has the same layout of `buffer` and list of blocks; it fills those it owns, and afterwards all are
  /// filled. Blocks may differ in size, be empty, and lie in any order; they do not overlap. Sends (size - 1) / size of
  /// the bytes, as a ring does: the least possible for equal shares.
  [[nodiscard]] virtual OperationHandle all_gather(const OperationTag& tag, std::span<std::byte> buffer,
                                                   std::span<const GatherBlock> blocks) = 0;
  /// `root` receives the bytes of all ranks, one after another in the order of ranks, of the sizes given (the same list
  /// on all ranks). `received` is used on the root only.
  [[nodiscard]] virtual OperationHandle gather(const OperationTag& tag, Rank root, std::span<const std::byte> mine,
                                               std::span<std::byte> received, std::span<const std::size_t> sizes) = 0;
  /// `buffer` of `root` reaches all ranks; its size is the same on all.
  [[nodiscard]] virtual OperationHandle broadcast(const OperationTag& tag, Rank root, std::span<std::byte> buffer) = 0;
  [[nodiscard]] virtual OperationHandle barrier(const OperationTag& tag) = 0;
  /// The sends of a rank to another meet that one's receives from it in the order in which both start them; tags and
  /// sizes are compared. Sends and receives may cross each other and operations of all ranks. Other ranks take no part.
  [[nodiscard]] virtual OperationHandle send(const OperationTag& tag, Rank to, std::span<const std::byte> buffer) = 0;
  [[nodiscard]] virtual OperationHandle receive(const OperationTag& tag, Rank from, std::span<std::byte> buffer) = 0;

  /// Blocks until the operation is done or failed.
  [[nodiscard]] virtual Result<void> wait(const OperationHandle& operation) = 0;
  /// Called, from any thread, after an operation has become done or failed. Set before the first operation.
  virtual void on_change(std::function<void()> notify) = 0;

  /// Fails all operations at once, here and, as their connections end, on other ranks. From any thread; when it returns
  /// no buffer is touched any more. Never blocks for longer than a second (nccl: ends the process if the library
  /// hangs).
  virtual void abort(std::string_view reason) noexcept = 0;
  /// Set once any operation has failed.
  [[nodiscard]] virtual std::optional<CommFailure> failure() const = 0;
  [[nodiscard]] virtual CommCounters counters() const noexcept = 0;
};

/// How long a rank waits for the others in an operation before it fails with kTimeout. Slow ranks are not failures:
/// the node tells slow from stalled, and this is the limit behind which nobody waits any more.
struct CommLimits {
  std::chrono::milliseconds operation{120'000};
  std::chrono::milliseconds connect{30'000};
};

}  // namespace concerto
