// Steps that all ranks of a run take together outside of training, where each waits for all: exchanges, and work of
// which all must know whether it is done.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "concerto/comm/communicator.hpp"

namespace concerto {

/// The operations of one phase of a run ("writing the model"). From one thread. Every rank calls the same members in
/// the same order.
class RankSteps {
 public:
  /// `table`: of the tags of the phase's operations; no other phase has it.
  RankSteps(Communicator& communicator, std::uint32_t membership_epoch, std::uint32_t table, std::string phase);

  [[nodiscard]] Rank rank() const noexcept { return communicator_.rank(); }
  [[nodiscard]] Rank ranks() const noexcept { return communicator_.size(); }

  /// Each waits until it is done. Error{kIo} naming the phase and the ranks that are suspected: the
  /// one that was lost, and possibly those that gave up before for the same reason.
  void all_gather(std::span<std::byte> buffer, std::span<const GatherBlock> blocks);
  void broadcast(Rank root, std::span<std::byte> buffer);

  /// Does `work` on a thread of its own; returns when every rank's is done. An Error of this rank's work is thrown once
  /// all have stopped; where another's failed, Error{kIo} naming that rank with its message. A rank that dies meanwhile
  /// is an error as above; how long a living one takes is nobody's limit.
  void work_together(const std::function<void()>& work);

 private:
  [[nodiscard]] OperationTag next_tag();
  void wait(const OperationHandle& operation);

  Communicator& communicator_;
  std::uint32_t membership_epoch_;
  std::uint32_t table_;
  std::string phase_;
  std::uint64_t operations_ = 0;
};

}  // namespace concerto
