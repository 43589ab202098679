// The first launcher's own store, its authority, and the way to them for the others.
#include <algorithm>
#include <map>

#include <fmt/format.h>

#include "concerto/base/error.hpp"
#include "concerto/comm/networks.hpp"
#include "concerto/comm/stores.hpp"
#include "concerto/comm/trust.hpp"

#include "join_file.hpp"
#include "store_services.hpp"

namespace concerto {
namespace {

using Clock = std::chrono::steady_clock;

constexpr Incarnation kFirstLife = 1;

/// Where the store listens: at every interface, as a machine's own name may lead to a loopback address of it; but where
/// only this machine is meant, nowhere else. Who connects has to show a certificate of the job either way.
std::string listening_address(const std::string& rendezvous) {
  if (rendezvous.empty()) return "127.0.0.1:0";
  const std::size_t colon = rendezvous.rfind(':');
  const std::string host = rendezvous.substr(0, colon);
  if (host == "localhost" || host == "[::1]" || host.starts_with("127.")) return rendezvous;
  return (host.starts_with('[') ? "[::]" : "0.0.0.0") + rendezvous.substr(colon);
}

class EmbeddedServices : public StoreServices {
 public:
  [[nodiscard]] std::string store() const final { return "embedded://" + address_; }

 protected:
  void connect(const Credentials& credentials, const std::string& address, const std::string& job) {
    job_ = job;
    address_ = address;
    network_ = make_tls_network(credentials);
    client_ = make_embedded_store(*network_, address, Identity{job, Role::kLauncher, 0, 0});
  }
  void meet_peers(const ServiceOptions& options) { StoreServices::meet_peers(options, "in launcher 0"); }

  std::string address_;
  std::unique_ptr<Network> network_;
};

class FirstServices final : public EmbeddedServices {
 public:
  explicit FirstServices(const ServiceOptions& options)
      : options_(options), authority_(options.assignment.job), join_file_(options.join_file) {
    const Assignment& assignment = options_.assignment;
    const Credentials own = authority_.issue({assignment.job, Role::kLauncher, 0, 0});
    serving_ = make_tls_network(own);
    server_ = make_embedded_store_server(*serving_, listening_address(assignment.rendezvous), assignment.job);
    connect(own, assignment.rendezvous.empty() ? server_->address() : assignment.rendezvous, assignment.job);
    meet_peers(options_);
    if (assignment.nodes > 1) write_join_file(join_file_, make_join_file());
  }
  ~FirstServices() override {
    leave();
    remove_join_file();
  }
  FirstServices(const FirstServices&) = delete;
  FirstServices& operator=(const FirstServices&) = delete;

 private:
  Descriptor credentials_of(Rank rank, Incarnation incarnation) override {
    return in_memory(to_text(authority_.issue({options_.assignment.job, Role::kRank, rank, incarnation})));
  }

  void on_all_joined() override { remove_join_file(); }
  void remove_join_file() noexcept {
    if (join_file_.empty()) return;
    std::error_code ignored;
    std::filesystem::remove(join_file_, ignored);
    join_file_.clear();
  }

  JoinFile make_join_file() {
    const Assignment& assignment = options_.assignment;
    JoinFile file{assignment.job, assignment.world_size(), assignment.rendezvous, {}};
    file.launchers.resize(assignment.nodes);
    for (std::uint32_t node = 1; node < assignment.nodes; ++node) {
      JoinFile::Part& part = file.launchers[node];
      part.credentials = to_text(authority_.issue({assignment.job, Role::kLauncher, node, 0}));
      for (Rank i = 0; i < assignment.ranks_per_node; ++i) {
        const Rank rank = node * assignment.ranks_per_node + i;
        part.ranks[rank] = to_text(authority_.issue({assignment.job, Role::kRank, rank, kFirstLife}));
      }
    }
    return file;
  }

  ServiceOptions options_;
  JobAuthority authority_;
  std::filesystem::path join_file_;
  std::unique_ptr<Network> serving_;
  std::unique_ptr<StoreServer> server_;
};

class JoinedServices final : public EmbeddedServices {
 public:
  /// Error{kIo} where the store does not answer, Error{kBadInput} where it is another kind of job.
  JoinedServices(const ServiceOptions& options, const JoinFile& file)
      : ranks_(file.launchers[options.assignment.node_rank].ranks) {
    const Assignment& assignment = options.assignment;
    const std::string& text = file.launchers[assignment.node_rank].credentials;
    connect(parse_credentials(text, options.join_file.string()), file.store, file.job);
    const auto answer = client_->list("launchers/");  // it lives: what it says is not left over
    if (!answer.ok()) throw Error(ErrorCode::kIo, answer.failure().message, "the store of launcher 0");
    if (file.launchers.size() != assignment.nodes || file.world_size != assignment.world_size()) {
      throw Error(ErrorCode::kBadInput,
                  fmt::format("launcher 0 was told of {} launchers and {} ranks, launcher {} of {} and {}",
                              file.launchers.size(), file.world_size, assignment.node_rank, assignment.nodes,
                              assignment.world_size()),
                  "--nnodes");
    }
    meet_peers(options);
  }
  ~JoinedServices() override { leave(); }
  JoinedServices(const JoinedServices&) = delete;
  JoinedServices& operator=(const JoinedServices&) = delete;

 private:
  Descriptor credentials_of(Rank rank, Incarnation /*first*/) override { return in_memory(ranks_.at(rank)); }

  std::map<Rank, std::string> ranks_;
};

/// A file may be left over from a job that has died: then its store does not answer, and the file of this job comes.
std::unique_ptr<JobServices> join_job(const ServiceOptions& options) {
  const Clock::time_point end = Clock::now() + options.join_limit;
  for (;;) {
    std::string reason;
    const Result<JoinFile> file = read_join_file(options.join_file);
    if (!file.ok()) {
      reason = file.failure().message;
      if (file.failure().kind == FailureKind::kRefused) throw Error(ErrorCode::kBadInput, reason, "--join-file");
    } else if (const std::string& job = options.assignment.job; !job.empty() && job != file.value().job) {
      reason = fmt::format("{} is of job {}, not {}", options.join_file.string(), file.value().job, job);
    } else if (options.assignment.node_rank >= file.value().launchers.size()) {
      reason = fmt::format("{} has {} launchers", options.join_file.string(), file.value().launchers.size());
    } else {
      try {
        return std::make_unique<JoinedServices>(options, file.value());
      } catch (const Error& error) {
        if (error.code() != ErrorCode::kIo) throw;
        reason = error.what();
      }
    }
    if (Clock::now() >= end) {
      throw Error(ErrorCode::kIo,
                  fmt::format("launcher 0 was not found within {} s: {}",
                              std::chrono::duration<double>(options.join_limit).count(), reason),
                  "--join-file");
    }
    options.pause();
  }
}

}  // namespace

std::unique_ptr<JobServices> make_embedded_services(const ServiceOptions& options) {
  if (options.assignment.node_rank == 0) return std::make_unique<FirstServices>(options);
  return join_job(options);
}

}  // namespace concerto
