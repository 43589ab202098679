// What is used of NCCL, declared from its public interface: types, and a table of functions that is filled when the
// library is loaded. No header of NCCL or CUDA is needed to build this.
#pragma once

#include <climits>
#include <cstddef>

namespace concerto::nccl {

/// ncclResult_t.
enum class Status : int {
  kSuccess = 0,
  kUnhandledCudaError = 1,
  kSystemError = 2,
  kInternalError = 3,
  kInvalidArgument = 4,
  kInvalidUsage = 5,
  kRemoteError = 6,
  kInProgress = 7,
};

/// ncclUniqueId.
struct UniqueId {
  char bytes[128];
};

/// ncclConfig_t as of version 2.18. NCCL reads as much as `size` says and takes what `version` did not know as unset.
struct Config {
  std::size_t size = sizeof(Config);
  unsigned magic = 0xcafebeef;
  unsigned version = 21'800;
  int blocking = 0;
  int cluster_size = INT_MIN;  ///< unset, as are all below
  int least_blocks = INT_MIN;
  int most_blocks = INT_MIN;
  const char* network = nullptr;
  int split_share = INT_MIN;
};
/// The oldest NCCL that this fits.
inline constexpr int kOldestVersion = 21'800;

/// ncclUint8.
inline constexpr int kBytes = 1;

struct CommunicatorObject;
using Comm = CommunicatorObject*;  ///< ncclComm_t
using DeviceStreamHandle = void*;  ///< cudaStream_t

/// With non-blocking communicators each may answer kInProgress: nothing more may be called on the communicator until
/// get_async_error says otherwise.
struct Api {
  Status (*get_version)(int* version) = nullptr;
  Status (*get_unique_id)(UniqueId* id) = nullptr;
  Status (*comm_init)(Comm* comm, int ranks, UniqueId id, int rank, Config* config) = nullptr;
  Status (*comm_finalize)(Comm comm) = nullptr;
  Status (*comm_destroy)(Comm comm) = nullptr;
  Status (*comm_abort)(Comm comm) = nullptr;
  Status (*get_async_error)(Comm comm, Status* error) = nullptr;
  const char* (*error_string)(Status status) = nullptr;
  Status (*group_start)() = nullptr;
  Status (*group_end)() = nullptr;
  Status (*broadcast)(const void* give, void* take, std::size_t count, int type, int root, Comm comm,
                      DeviceStreamHandle stream) = nullptr;
  Status (*all_gather)(const void* give, void* take, std::size_t count, int type, Comm comm,
                       DeviceStreamHandle stream) = nullptr;
  Status (*send)(const void* give, std::size_t count, int type, int peer, Comm comm,
                 DeviceStreamHandle stream) = nullptr;
  Status (*receive)(void* take, std::size_t count, int type, int peer, Comm comm, DeviceStreamHandle stream) = nullptr;
};

}  // namespace concerto::nccl
