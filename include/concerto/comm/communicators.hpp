// Making communicators: threads of one process (inproc), processes over TCP (gloo) or the job's own channels (channel),
// devices (nccl).
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "concerto/base/ids.hpp"
#include "concerto/base/result.hpp"
#include "concerto/comm/channel.hpp"
#include "concerto/comm/communicator.hpp"
#include "concerto/comm/identity.hpp"
#include "concerto/comm/store.hpp"

namespace concerto {

/// What a test does to the ranks of an inproc group. Thread-safe.
class InprocFaults {
 public:
  virtual ~InprocFaults() = default;
  /// The rank's messages, in both directions, stay where they are until resume(), as those of a stopped process do.
  virtual void pause(Rank rank) = 0;
  virtual void resume(Rank rank) = 0;
  /// The rank's connections end, as those of a killed process do.
  virtual void cut(Rank rank) = 0;
};

struct InprocGroup {
  std::vector<std::unique_ptr<Communicator>> ranks;  ///< by rank; each may be used in a thread of its own
  std::shared_ptr<InprocFaults> faults;
};

/// `size` communicators of one process that share memory; messages are copied by the threads that meet. For one process
/// and for tests: same schedules, headers and failures as over a network.
[[nodiscard]] InprocGroup make_inproc_group(Rank size, const CommLimits& limits);

struct GlooOptions {
  std::string network_interface;  ///< "eth0"; empty: by address
  /// What other ranks reach this one at, name or number; where both are empty this machine's name is looked up.
  std::string address;
  /// Below which the group's ranks meet in the store: another one for each membership epoch, used once.
  std::string prefix = "collectives/0";
};

/// The number ("10.0.0.2", "::1") at which a rank with these options is reached. Error{kBadInput} for an interface or
/// address that is not this machine's. Blocks as long as the resolver does.
[[nodiscard]] std::string gloo_address(const GlooOptions& options);

/// Connects rank `rank` of `size` with all others over TCP; blocks until all have come, at most for limits.connect.
/// Nothing is encrypted and nobody is asked who they are: for networks that are trusted. kTimeout naming the ranks that
/// did not come; kUnreachable; kConflict where the rank is taken; what the store answers. Error{kBadInput} for an
/// interface or address that is not this machine's. Two connections a peer; at most six threads, one more for each
/// direction of each peer that is sent to or received from.
[[nodiscard]] Result<std::unique_ptr<Communicator>> make_gloo_communicator(Store& store, Rank rank, Rank size,
                                                                           const GlooOptions& options,
                                                                           const CommLimits& limits);

struct ChannelOptions {
  Identity self;  ///< this rank, as the network shows it
  Rank size = 1;
  std::string listen_address = "127.0.0.1:0";
  std::string reached_at;                ///< as in MeshOptions; empty: where it listens
  std::string prefix = "collectives/0";  ///< as in GlooOptions
};

/// As make_gloo_communicator over the connections of a network, which is what encrypts them and asks who peers are.
/// `network` and `store` outlive it. kTimeout naming the ranks that did not come. Error: make_mesh's. One connection a
/// peer; at most six threads besides the network's, one more for each direction of each peer that is sent to or
/// received from. A sent message is copied once; a receiver that is late holds at most 4 MiB a peer and stream.
[[nodiscard]] Result<std::unique_ptr<Communicator>> make_channel_communicator(Network& network, Store& store,
                                                                              const ChannelOptions& options,
                                                                              const CommLimits& limits);

struct NcclOptions {
  std::string library;                   ///< file of libnccl; empty: it is looked for
  std::string cuda_runtime;              ///< file of libcudart; empty: it is looked for
  int device = 0;                        ///< one rank a device
  void* stream = nullptr;                ///< cudaStream_t of the work that makes the inputs
  std::string prefix = "collectives/0";  ///< as in GlooOptions
  /// How long NCCL may take to give a communicator up before `on_hung_abort` is called, and to end one in order before
  /// it is given up.
  std::chrono::milliseconds abort_limit{1'000};
  std::chrono::milliseconds finish_limit{10'000};
  /// What ends the process when NCCL hangs: a device that may still write to memory is no longer in our hands. Unset:
  /// the process ends with a message.
  std::function<void(const std::string& what)> on_hung_abort;
};

/// Where on its machine's bus the device is that a communicator with these options would use: "0000:17:00.0". Ranks
/// that share one cannot be connected. Error{kUnsupported} where NCCL, CUDA's runtime or the device is not there.
[[nodiscard]] std::string nccl_device_place(const NcclOptions& options);

/// Why make_nccl_communicator cannot be used on this machine; empty: it can, as far as libraries go.
[[nodiscard]] std::string nccl_obstacle(const NcclOptions& options);

/// As make_gloo_communicator, over devices: buffers are device memory. What a rank sends to several others goes, to
/// some of them, in the order in which it is started, each only when the one before is done; so does what it receives
/// from several. Nothing that is sent waits for what is received. Counters of bytes are what a ring would send. NCCL
/// does not say who is to blame: suspects are known of transfers only. Error{kUnsupported} where NCCL, CUDA's runtime
/// or the device is not there. One thread, besides NCCL's.
[[nodiscard]] Result<std::unique_ptr<Communicator>> make_nccl_communicator(Store& store, Rank rank, Rank size,
                                                                           const NcclOptions& options,
                                                                           const CommLimits& limits);

/// As make_nccl_communicator, but buffers are host memory, ready at the call, and `options.stream` is not used: what is
/// given is copied through pinned memory (16 MiB) to memory of the device, and back from there. The latter grows to
/// what operations under way at one time need, each its buffers' bytes rounded up to a power of two, and stays. Two
/// threads more.
[[nodiscard]] Result<std::unique_ptr<Communicator>> make_staged_nccl_communicator(Store& store, Rank rank, Rank size,
                                                                                  const NcclOptions& options,
                                                                                  const CommLimits& limits);

}  // namespace concerto
