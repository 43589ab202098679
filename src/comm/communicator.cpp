// Words of the communicator's value types, as they stand in failures.
#include "concerto/comm/communicator.hpp"

#include <fmt/format.h>

namespace concerto {

std::string to_string(const OperationTag& tag) {
  return fmt::format("epoch {}, step {}, table {}, operation {}", tag.epoch, tag.step, tag.table, tag.index);
}

std::string_view to_string(OperationKind kind) noexcept {
  switch (kind) {
    case OperationKind::kAllGather:
      return "all-gather";
    case OperationKind::kGather:
      return "gather";
    case OperationKind::kBroadcast:
      return "broadcast";
    case OperationKind::kBarrier:
      return "barrier";
    case OperationKind::kSend:
      return "send";
    case OperationKind::kReceive:
      return "receive";
  }
  return "an unknown operation";
}

}  // namespace concerto
