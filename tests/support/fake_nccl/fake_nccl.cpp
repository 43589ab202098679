// A libnccl whose devices are host memory and whose streams are FakeStream: the functions that Concerto loads, with
// NCCL's rules. Ranks are threads of one process; where FAKE_NCCL_PROCESSES is set, processes. A sender waits for its
// receiver, so that an order of calls that would hang on devices hangs here.
#include "support/fake_nccl/fake_nccl.hpp"

#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include <unistd.h>

#include "nccl_api.hpp"
#include "support/fake_nccl/fake_stream.hpp"
#include "support/fake_nccl/process_links.hpp"

namespace concerto::nccl {

struct Offer {
  const void* bytes = nullptr;
  std::size_t size = 0;
  bool is_taken = false;
  ProcessLinks::Bytes stored{};         ///< from another process
  std::function<void()> tell_sender{};  ///< there
};

/// The ranks that were made with one unique id.
struct Clique {
  int present = 0;
  std::map<std::pair<int, int>, std::deque<std::shared_ptr<Offer>>> offers;  ///< by (from, to)
};

struct CommunicatorObject {
  std::shared_ptr<Clique> clique;
  int rank = 0;
  int ranks = 0;
  int launches = 0;
  int polls_left = 0;
  bool is_aborted = false;
  bool is_connected = false;
  bool is_finishing = false;
  std::unique_ptr<ProcessLinks> links;  ///< null: the others are threads of this process
};

struct Message {
  Comm comm;
  FakeStream* stream;
  int from;
  int to;
  const void* give;
  void* take;
  std::size_t size;
};

struct World {
  std::mutex mutex;
  std::condition_variable changed;
  FakeNcclOrders orders;
  FakeNcclReport report;
  std::map<std::string, std::shared_ptr<Clique>> cliques;
  int next_id = 0;
};

World& world() {
  static World one;
  return one;
}

struct Group {
  int depth = 0;
  std::vector<Message> messages;
};

Group& group() {
  thread_local Group one;
  return one;
}

bool leaves_process(const Message& one) {
  return one.comm->links && one.from == one.comm->rank && one.to != one.comm->rank;
}

/// All messages of a launch at once: offers first, then what is received, then the wait for what was sent.
void carry_out(const std::vector<Message>& messages) {
  for (const Message& one : messages) {
    if (leaves_process(one)) one.comm->links->send(one.to, one.give, one.size);
  }
  World& all = world();
  std::unique_lock lock(all.mutex);
  std::vector<std::pair<Comm, std::shared_ptr<Offer>>> offered;
  for (const Message& one : messages) {
    if (one.from != one.comm->rank || leaves_process(one)) continue;
    auto offer = std::make_shared<Offer>(Offer{one.give, one.size});
    one.comm->clique->offers[{one.from, one.to}].push_back(offer);
    offered.emplace_back(one.comm, std::move(offer));
  }
  all.changed.notify_all();
  for (const Message& one : messages) {
    if (one.to != one.comm->rank) continue;
    auto& queue = one.comm->clique->offers[{one.from, one.to}];
    all.changed.wait(lock, [&] { return one.comm->is_aborted || !queue.empty(); });
    if (one.comm->is_aborted) return;
    const std::shared_ptr<Offer> offer = queue.front();
    queue.pop_front();
    if (offer->size != one.size) ++all.report.misused;
    if (offer->size == one.size && one.size > 0) std::memmove(one.take, offer->bytes, one.size);
    offer->is_taken = true;
    all.changed.notify_all();
    if (offer->tell_sender) offer->tell_sender();
  }
  for (const auto& [comm, offer] : offered) {
    all.changed.wait(lock, [&, comm = comm, offer = offer] { return comm->is_aborted || offer->is_taken; });
    if (comm->is_aborted) return;
  }
  for (const Message& one : messages) {
    if (!leaves_process(one)) continue;
    lock.unlock();
    const bool is_taken = one.comm->links->await_taken(one.to);
    lock.lock();
    if (!is_taken) all.changed.wait(lock, [&] { return one.comm->is_aborted; });
  }
}

/// What comes from other processes lies among the offers as what threads of this one give.
std::unique_ptr<ProcessLinks> link_processes(const std::string& name, int rank, int ranks,
                                             const std::shared_ptr<Clique>& clique) {
  return std::make_unique<ProcessLinks>(
      name, rank, ranks, [clique, rank](int from, ProcessLinks::Bytes bytes, std::function<void()> taken) {
        auto offer = std::make_shared<Offer>();
        offer->stored = std::move(bytes);
        offer->bytes = offer->stored.data();
        offer->size = offer->stored.size();
        offer->tell_sender = std::move(taken);
        World& all = world();
        const std::lock_guard lock(all.mutex);
        clique->offers[{from, rank}].push_back(std::move(offer));
        all.changed.notify_all();
      });
}

bool reached(const std::map<int, int>& limits, const CommunicatorObject& comm) {
  const auto limit = limits.find(comm.rank);
  return limit != limits.end() && comm.launches > limit->second;
}

Status launch(std::vector<Message> messages) {
  if (messages.empty()) return Status::kSuccess;
  World& all = world();
  const std::lock_guard lock(all.mutex);
  CommunicatorObject& comm = *messages.front().comm;
  if (comm.polls_left > 0 || !comm.is_connected || comm.is_finishing) ++all.report.misused;
  ++comm.launches;
  FakeStream* stream = messages.front().stream;
  if (reached(all.orders.swallow_after, comm) || reached(all.orders.error_after, comm)) {
    stream->put([&all, of = &comm] {
      std::unique_lock waiting(all.mutex);
      all.changed.wait(waiting, [&] { return of->is_aborted; });
    });
  } else {
    stream->put([messages = std::move(messages)] { carry_out(messages); });
  }
  comm.polls_left = all.orders.slow_polls;
  return comm.polls_left > 0 ? Status::kInProgress : Status::kSuccess;
}

Status add(std::vector<Message> messages) {
  Group& open = group();
  if (open.depth == 0) return launch(std::move(messages));
  open.messages.insert(open.messages.end(), messages.begin(), messages.end());
  return Status::kSuccess;
}

extern "C" {

void fake_nccl_access(const std::function<void(FakeNcclOrders&, FakeNcclReport&)>& body) {
  World& all = world();
  const std::lock_guard lock(all.mutex);
  body(all.orders, all.report);
  all.changed.notify_all();
}

Status ncclGetVersion(int* version) {
  const std::lock_guard lock(world().mutex);
  *version = world().orders.version;
  return Status::kSuccess;
}

Status ncclGetUniqueId(UniqueId* id) {
  const std::lock_guard lock(world().mutex);
  std::memset(id, 0, sizeof(*id));
  const std::string name = "fake " + std::to_string(getpid()) + " " + std::to_string(world().next_id++);
  std::memcpy(id->bytes, name.c_str(), name.size());
  return Status::kSuccess;
}

Status ncclCommInitRankConfig(Comm* comm, int ranks, UniqueId id, int rank, Config* config) {
  World& all = world();
  const std::lock_guard lock(all.mutex);
  if (config->magic != 0xcafebeef || config->blocking != 0 || rank == all.orders.refused_rank) {
    return Status::kInvalidArgument;
  }
  std::shared_ptr<Clique>& clique = all.cliques[id.bytes];
  if (!clique) clique = std::make_shared<Clique>();
  ++clique->present;
  *comm = new CommunicatorObject{clique, rank, ranks, 0, all.orders.slow_polls, false, false, false, nullptr};
  if (std::getenv("FAKE_NCCL_PROCESSES") != nullptr) (*comm)->links = link_processes(id.bytes, rank, ranks, clique);
  ++all.report.made;
  return Status::kInProgress;
}

Status ncclCommGetAsyncError(Comm comm, Status* error) {
  World& all = world();
  const std::lock_guard lock(all.mutex);
  *error = Status::kSuccess;
  if (reached(all.orders.error_after, *comm)) {
    *error = Status::kRemoteError;
  } else if (comm->polls_left > 0) {
    --comm->polls_left;
    *error = Status::kInProgress;
  } else if (!comm->is_connected) {
    const bool are_here = comm->links ? comm->links->connect() : comm->clique->present == comm->ranks;
    comm->is_connected = are_here && comm->rank != all.orders.never_connects;
    if (!comm->is_connected) *error = Status::kInProgress;
  } else if (comm->is_finishing && all.orders.hang_finalize) {
    *error = Status::kInProgress;
  }
  return Status::kSuccess;
}

Status ncclCommFinalize(Comm comm) {
  const std::lock_guard lock(world().mutex);
  comm->is_finishing = true;
  comm->polls_left = world().orders.slow_polls;
  return Status::kInProgress;
}

Status ncclCommDestroy(Comm comm) {
  {
    const std::lock_guard lock(world().mutex);
    if (!comm->is_finishing || comm->polls_left > 0) ++world().report.misused;
    ++world().report.destroyed;
  }
  delete comm;
  return Status::kSuccess;
}

/// The object stays: its stream may still look at it.
Status ncclCommAbort(Comm comm) {
  World& all = world();
  std::unique_lock lock(all.mutex);
  all.changed.wait(lock, [&] { return !all.orders.hang_abort; });
  comm->is_aborted = true;
  if (comm->links) comm->links->close();
  ++all.report.aborted;
  all.changed.notify_all();
  static std::vector<std::unique_ptr<CommunicatorObject>> aborted;
  aborted.emplace_back(comm);
  return Status::kSuccess;
}

const char* ncclGetErrorString(Status status) {
  return status == Status::kRemoteError ? "remote process exited or there was a network error" : "fake error";
}

Status ncclGroupStart() {
  ++group().depth;
  return Status::kSuccess;
}

Status ncclGroupEnd() {
  Group& open = group();
  if (--open.depth > 0) return Status::kSuccess;
  return launch(std::exchange(open.messages, {}));
}

Status ncclSend(const void* give, std::size_t count, int, int peer, Comm comm, DeviceStreamHandle stream) {
  return add({{comm, static_cast<FakeStream*>(stream), comm->rank, peer, give, nullptr, count}});
}

Status ncclRecv(void* take, std::size_t count, int, int peer, Comm comm, DeviceStreamHandle stream) {
  return add({{comm, static_cast<FakeStream*>(stream), peer, comm->rank, nullptr, take, count}});
}

Status ncclBroadcast(const void* give, void* take, std::size_t count, int, int root, Comm comm,
                     DeviceStreamHandle stream) {
  std::vector<Message> messages;
  for (int peer = 0; peer < comm->ranks; ++peer) {
    if (peer == root || (comm->rank != root && comm->rank != peer)) continue;
    messages.push_back({comm, static_cast<FakeStream*>(stream), root, peer, give, take, count});
  }
  return add(std::move(messages));
}

Status ncclAllGather(const void* give, void* take, std::size_t count, int, Comm comm, DeviceStreamHandle stream) {
  std::vector<Message> messages;
  for (int peer = 0; peer < comm->ranks; ++peer) {
    char* place = static_cast<char*>(take) + static_cast<std::size_t>(peer) * count;
    messages.push_back({comm, static_cast<FakeStream*>(stream), comm->rank, peer, give, place, count});
    if (peer == comm->rank) continue;  // one message is both
    messages.push_back({comm, static_cast<FakeStream*>(stream), peer, comm->rank, nullptr, place, count});
  }
  return add(std::move(messages));
}

}  // extern "C"

}  // namespace concerto::nccl
