// The first launcher's own store, its authority, and the way to them for the others.
#include <algorithm>
#include <map>

#include <fmt/format.h>

#include "concerto/base/error.hpp"
#include "concerto/comm/join.hpp"
#include "concerto/comm/networks.hpp"
#include "concerto/comm/stores.hpp"
#include "concerto/comm/trust.hpp"

#include "join_file.hpp"
#include "store_services.hpp"

namespace concerto {
namespace {

using Clock = std::chrono::steady_clock;

/// Where the store listens: at every interface, as a machine's own name may lead to a loopback address of it; but where
/// only this machine is meant, nowhere else. Who connects has to show a certificate of the job either way.
std::string listening_address(const std::string& rendezvous) {
  if (rendezvous.empty()) return "127.0.0.1:0";
  const std::size_t colon = rendezvous.rfind(':');
  const std::string host = rendezvous.substr(0, colon);
  if (host == "localhost" || host == "[::1]" || host.starts_with("127.")) return rendezvous;
  return (host.starts_with('[') ? "[::]" : "0.0.0.0") + rendezvous.substr(colon);
}

JoinShape shape_of(const Assignment& assignment) {
  return {assignment.nodes, assignment.ranks_per_node};
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
      : authority_(options.assignment.job),
        desk_(authority_, token_for(options, authority_), shape_of(options.assignment)),
        join_file_(options.assignment.nodes > 1 ? options.join_file : std::filesystem::path()) {
    const Assignment& assignment = options.assignment;
    const Credentials own = authority_.issue({assignment.job, Role::kLauncher, 0, 0});
    StrangerHandler strangers;
    if (assignment.nodes > 1) {
      strangers = [this](std::shared_ptr<Channel> channel) { return desk_.accept(std::move(channel)); };
    }
    serving_ = make_tls_network(own, {}, std::move(strangers));
    server_ = make_embedded_store_server(*serving_, listening_address(assignment.rendezvous), assignment.job);
    connect(own, assignment.rendezvous.empty() ? server_->address() : assignment.rendezvous, assignment.job);
    meet_peers(options);
    if (!join_file_.empty()) write_join_file(join_file_, desk_.token());
  }
  ~FirstServices() override {
    leave();
    remove_join_file();
  }
  FirstServices(const FirstServices&) = delete;
  FirstServices& operator=(const FirstServices&) = delete;

 private:
  /// Nobody who comes later is waited for.
  static JoinToken token_for(const ServiceOptions& options, const JobAuthority& authority) {
    const auto expires = std::chrono::system_clock::now() + options.join_limit;
    return {options.assignment.job, options.assignment.rendezvous, authority.fingerprint(), draw_join_secret(),
            std::chrono::ceil<std::chrono::seconds>(expires.time_since_epoch()).count()};
  }

  Descriptor credentials_of(Rank rank, Incarnation incarnation) override {
    return in_memory(to_text(authority_.issue({job_, Role::kRank, rank, incarnation})));
  }

  void on_all_joined() override { remove_join_file(); }
  void remove_join_file() noexcept {
    if (join_file_.empty()) return;
    std::error_code ignored;
    std::filesystem::remove(join_file_, ignored);
    join_file_.clear();
  }

  JobAuthority authority_;
  JoinDesk desk_;  ///< outlives the network, whose strangers come to it
  std::filesystem::path join_file_;
  std::unique_ptr<Network> serving_;
  std::unique_ptr<StoreServer> server_;
};

class JoinedServices final : public EmbeddedServices {
 public:
  /// Error{kIo} where the store does not answer.
  JoinedServices(const ServiceOptions& options, const JoinToken& token, JoinedCredentials credentials)
      : ranks_(std::move(credentials.ranks)) {
    connect(credentials.launcher, token.address, token.job);
    meet_peers(options);
  }
  ~JoinedServices() override { leave(); }
  JoinedServices(const JoinedServices&) = delete;
  JoinedServices& operator=(const JoinedServices&) = delete;

 private:
  Descriptor credentials_of(Rank rank, Incarnation /*first*/) override { return in_memory(to_text(ranks_.at(rank))); }

  std::map<Rank, Credentials> ranks_;
};

/// What came of a try to join.
struct Attempt {
  std::unique_ptr<JobServices> services;
  std::string reason;
  const char* where = "--join-file";
  enum class Outlook : std::uint8_t {
    kOpen,   ///< another try may do better
    kStale,  ///< not with this token
    kNone,
  } outlook = Outlook::kOpen;
};

void try_token(const ServiceOptions& options, const JoinToken& token, Attempt& attempt) {
  constexpr std::chrono::milliseconds kOneTry{10'000};
  const Assignment& assignment = options.assignment;
  if (!assignment.job.empty() && assignment.job != token.job) {
    attempt.reason = fmt::format("the join token is of job {}, not {}", token.job, assignment.job);
    attempt.outlook = Attempt::Outlook::kStale;
    return;
  }
  Result<JoinedCredentials> joined =
      join(token, assignment.node_rank, shape_of(assignment), std::min(kOneTry, options.join_limit));
  if (joined.ok()) {
    attempt.services = std::make_unique<JoinedServices>(options, token, std::move(joined).value());
    return;
  }
  attempt.reason = joined.failure().message;
  switch (joined.failure().kind) {
    case FailureKind::kConflict:
      attempt.where = "--nnodes";
      attempt.outlook = Attempt::Outlook::kNone;
      break;
    case FailureKind::kRefused:
      attempt.outlook = Attempt::Outlook::kNone;
      break;
    case FailureKind::kMismatch:
      attempt.outlook = Attempt::Outlook::kStale;
      break;
    default:
      break;
  }
}

/// A token of the environment stays what it is.
Attempt try_environment(const ServiceOptions& options) {
  Attempt attempt;
  attempt.where = kJoinTokenVariable;
  try_token(options, parse_join_token(options.join_token, kJoinTokenVariable), attempt);
  if (attempt.outlook == Attempt::Outlook::kStale) attempt.outlook = Attempt::Outlook::kNone;
  return attempt;
}

/// A file may be left over from a job that has died, and this job may listen where that one did: then its own file is
/// still to come, soon.
class FileReader {
 public:
  Attempt attempt(const ServiceOptions& options) {
    constexpr std::chrono::seconds kSoon{10};
    Attempt attempt;
    const Result<JoinToken> token = read_join_file(options.join_file);
    if (!token.ok()) {
      attempt.reason = token.failure().message;
      if (token.failure().kind == FailureKind::kRefused) attempt.outlook = Attempt::Outlook::kNone;
      return attempt;
    }
    if (token.value() != seen_) first_tried_ = Clock::now();
    seen_ = token.value();
    try_token(options, token.value(), attempt);
    if (attempt.outlook == Attempt::Outlook::kStale && Clock::now() - first_tried_ > kSoon) {
      attempt.outlook = Attempt::Outlook::kNone;
    }
    return attempt;
  }

 private:
  std::optional<JoinToken> seen_;
  Clock::time_point first_tried_;
};

std::unique_ptr<JobServices> join_job(const ServiceOptions& options) {
  const Clock::time_point end = Clock::now() + options.join_limit;
  FileReader file;
  for (;;) {
    Attempt attempt = options.join_token.empty() ? file.attempt(options) : try_environment(options);
    if (attempt.services) return std::move(attempt.services);
    if (attempt.outlook == Attempt::Outlook::kNone) throw Error(ErrorCode::kBadInput, attempt.reason, attempt.where);
    if (Clock::now() >= end) {
      throw Error(ErrorCode::kIo,
                  fmt::format("launcher 0 was not found within {} s: {}",
                              std::chrono::duration<double>(options.join_limit).count(), attempt.reason),
                  attempt.where);
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
