// Faults that a build for tests can plant in the replicator, to see that the simulation finds them. Each is a mistake
// that is easily made. In the engine planted() is a constant false, and nothing of them is left.
#pragma once

#include <cstdint>

namespace concerto {

enum class Bug : std::uint8_t {
  kNone,
  kMergeTwice,             ///< a delta that is in the frontier is merged again
  kAckBeforeStable,        ///< a merged delta counts as stable before the successor has it
  kAckOfAnyHolder,         ///< any holder's copy makes a delta stable
  kDropSealedUnseen,       ///< a stable delta is dropped before the state held here has it
  kLagOffByOne,            ///< bounded lets a step read max_lag + 1
  kIgnorePutTerm,          ///< a put of an older term is taken
  kIgnoreFence,            ///< a fence does not raise the term
  kReuseSequence,          ///< a number is used for two deltas
  kGrowSealed,             ///< writing adds to a sealed delta
  kForgetFrontier,         ///< a state that is handed over comes without its frontier
  kAppendToQueue,          ///< a newer put goes to the end of the queue
  kCompareSerials,         ///< versions are compared by serial alone
  kRepairFromAnyone,       ///< a holder answers a fetch or repairs without owning
  kDropSealedEarly,        ///< a sealed delta is dropped when it is merged, not when it is stable
  kHideSealedEarly,        ///< steps no longer see a delta once it is sent
  kShowSealedLate,         ///< steps see a delta on top of a state that contains it
  kAcceptWhileTakingOver,  ///< a new owner merges before it has the highest version
  kTakeOverFirstAnswer,    ///< a new owner takes the first answer rather than the highest
  kTakeOverOwnCopy,        ///< a new owner takes its own copy without asking
  kKeepOldSerial,          ///< a new owner publishes under the old term
  kIgnoreIncarnation,      ///< an older life's deltas are merged
  kForgetLostMessages,     ///< what a lost connection may have lost is not said again on the next
  kWindowNeverFreed,       ///< an answer does not free the window
  kStaleAcknowledgement,   ///< what a peer's earlier life held counts for the new one
  kClockOfFastest,         ///< a block's clock is that of its fastest writer
  kForgetRedirect,         ///< a delta is not offered to the new owner
  kForgetOpen,             ///< the open delta is lost when the sealed one is stable
  kEqualIsDifferent,       ///< an equal version is installed again
  kCount
};

}  // namespace concerto
