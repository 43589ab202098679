// Filling the table of NCCL's functions.
#include "nccl_library.hpp"

#include <fmt/format.h>

#include "concerto/base/error.hpp"

namespace concerto {

NcclLibrary::NcclLibrary(const std::string& path) : library_(path, {"libnccl.so.2"}, "nccl") {
  library_.resolve("ncclGetVersion", api_.get_version);
  library_.resolve("ncclGetUniqueId", api_.get_unique_id);
  library_.resolve("ncclCommInitRankConfig", api_.comm_init);
  library_.resolve("ncclCommFinalize", api_.comm_finalize);
  library_.resolve("ncclCommDestroy", api_.comm_destroy);
  library_.resolve("ncclCommAbort", api_.comm_abort);
  library_.resolve("ncclCommGetAsyncError", api_.get_async_error);
  library_.resolve("ncclGetErrorString", api_.error_string);
  library_.resolve("ncclGroupStart", api_.group_start);
  library_.resolve("ncclGroupEnd", api_.group_end);
  library_.resolve("ncclBroadcast", api_.broadcast);
  library_.resolve("ncclAllGather", api_.all_gather);
  library_.resolve("ncclSend", api_.send);
  library_.resolve("ncclRecv", api_.receive);
  if (api_.get_version(&version_) != nccl::Status::kSuccess || version_ < nccl::kOldestVersion) {
    throw Error(ErrorCode::kUnsupported,
                fmt::format("NCCL is of version {}: {} or later is needed", version_, nccl::kOldestVersion));
  }
}

}  // namespace concerto
