// What the planted bugs are called.
#include "planted_names.hpp"

namespace concerto::sim {

const char* name_of(Bug bug) {
  switch (bug) {
    case Bug::kMergeTwice:
      return "merge-twice";
    case Bug::kAckBeforeStable:
      return "ack-before-stable";
    case Bug::kAckOfAnyHolder:
      return "ack-of-any-holder";
    case Bug::kLagOffByOne:
      return "lag-off-by-one";
    case Bug::kIgnorePutTerm:
      return "ignore-put-term";
    case Bug::kIgnoreFence:
      return "ignore-fence";
    case Bug::kReuseSequence:
      return "reuse-sequence";
    case Bug::kGrowSealed:
      return "grow-sealed";
    case Bug::kForgetFrontier:
      return "forget-frontier";
    case Bug::kAppendToQueue:
      return "append-to-queue";
    case Bug::kCompareSerials:
      return "compare-serials";
    case Bug::kRepairFromAnyone:
      return "repair-from-anyone";
    case Bug::kDropSealedEarly:
      return "drop-sealed-early";
    case Bug::kHideSealedEarly:
      return "hide-sealed-early";
    case Bug::kShowSealedLate:
      return "show-sealed-late";
    case Bug::kAcceptWhileTakingOver:
      return "accept-while-taking-over";
    case Bug::kTakeOverFirstAnswer:
      return "take-over-first-answer";
    case Bug::kTakeOverOwnCopy:
      return "take-over-own-copy";
    case Bug::kKeepOldSerial:
      return "keep-old-serial";
    case Bug::kIgnoreIncarnation:
      return "ignore-incarnation";
    case Bug::kForgetLostMessages:
      return "forget-lost-messages";
    case Bug::kWindowNeverFreed:
      return "window-never-freed";
    case Bug::kStaleAcknowledgement:
      return "stale-acknowledgement";
    case Bug::kClockOfFastest:
      return "clock-of-fastest";
    case Bug::kDropSealedUnseen:
      return "drop-sealed-unseen";
    case Bug::kForgetRedirect:
      return "forget-redirect";
    case Bug::kForgetOpen:
      return "forget-open";
    case Bug::kEqualIsDifferent:
      return "equal-is-different";
    case Bug::kNone:
    case Bug::kCount:
      return "none";
  }
  return "none";
}

}  // namespace concerto::sim
