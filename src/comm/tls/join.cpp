// One request and one answer, over a channel whose server is known by its authority's fingerprint.
#include "concerto/comm/join.hpp"

#include <condition_variable>
#include <mutex>
#include <utility>

#include <fmt/format.h>
#include <openssl/crypto.h>

#include "connection.hpp"
#include "join_messages.hpp"
#include "joining_network.hpp"
#include "keys.hpp"
#include "tls_wire.hpp"

namespace concerto {
namespace {

using Clock = std::chrono::steady_clock;

constexpr Incarnation kFirstLife = 1;
/// Strangers that have not asked yet; of more, the oldest goes.
constexpr std::size_t kMostWaiting = 64;

Failure refused(std::string why) {
  return {FailureKind::kRefused, std::move(why)};
}

/// Takes the same time whatever differs.
bool is_same(const std::string& a, const std::string& b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

/// Whose certificates the requests of a launcher are for, in their order.
std::vector<Identity> identities(const std::string& job, std::uint32_t node, const JoinShape& shape) {
  std::vector<Identity> all{{job, Role::kLauncher, node, 0}};
  for (Rank i = 0; i < shape.ranks_per_node; ++i) {
    all.push_back({job, Role::kRank, node * shape.ranks_per_node + i, kFirstLife});
  }
  return all;
}

}  // namespace

// ---- The desk -------------------------------------------------------------------------------------------------------

JoinDesk::JoinDesk(const JobAuthority& authority, JoinToken token, const JoinShape& shape)
    : authority_(authority), token_(std::move(token)), shape_(shape) {}

Result<JoinGrant> JoinDesk::decide(const JoinRequest& request, WallTime now) {
  if (!is_same(request.secret, token_.secret)) return refused("the secret of the join token is not this job's");
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(now.time_since_epoch()).count();
  if (seconds >= token_.expires_s) {
    return refused(fmt::format("the join token has expired, {} s ago", seconds - token_.expires_s));
  }
  if (request.shape.nodes != shape_.nodes || request.shape.ranks_per_node != shape_.ranks_per_node) {
    const auto ranks = [](const JoinShape& shape) { return std::uint64_t{shape.nodes} * shape.ranks_per_node; };
    return Failure{FailureKind::kConflict,
                   fmt::format("launcher 0 was told of {} launchers and {} ranks, launcher {} of {} and {}",
                               shape_.nodes, ranks(shape_), request.node, request.shape.nodes, ranks(request.shape))};
  }
  if (request.node == 0 || request.node >= shape_.nodes) {
    return refused(fmt::format("there is no launcher {} to join", request.node));
  }
  if (joined_.contains(request.node)) return refused(fmt::format("launcher {} has joined already", request.node));
  const std::vector<Identity> wanted = identities(token_.job, request.node, shape_);
  if (request.requests.size() != wanted.size()) return refused("what was sent is no request to join");
  JoinGrant grant{authority_.certificate(), {}};
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    Result<std::string> certificate = authority_.sign(request.requests[i], wanted[i]);
    if (!certificate) return refused(certificate.failure().message);
    grant.certificates.push_back(std::move(certificate).value());
  }
  joined_.insert(request.node);
  return grant;
}

ChannelEvents JoinDesk::accept(std::shared_ptr<Channel> channel) {
  waiting_.push_back(std::move(channel));
  if (waiting_.size() > kMostWaiting) waiting_.pop_front();
  return {[this](Channel& from, const Message& message) { serve(from, message); },
          [this](Channel& ended, const Failure&) {
            std::erase_if(waiting_, [&](const auto& kept) { return kept.get() == &ended; });
          }};
}

void JoinDesk::serve(Channel& channel, const Message& message) {
  const auto request = tls::parse_join_request(message);
  const Result<JoinGrant> grant =
      request ? decide(*request, std::chrono::system_clock::now()) : refused("what was sent is no request to join");
  (void)channel.send(grant ? tls::encode(grant.value()) : tls::encode(grant.failure()));  // who is gone asks no more
  channel.close();
}

// ---- The launcher that joins ----------------------------------------------------------------------------------------

namespace {

/// The first that the other side has answered, for the thread that waits. Outlives the network.
class Reply {
 public:
  ChannelEvents events() {
    return {[this](Channel&, Message message) { set(std::move(message)); },
            [this](Channel&, const Failure& failure) { set(failure); }};
  }
  [[nodiscard]] Result<Message> wait(Clock::time_point deadline, const std::string& address) {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_until(lock, deadline, [&] { return content_.has_value(); })) {
      return Failure{FailureKind::kTimeout, address + ": no answer to a request to join in time"};
    }
    return std::move(*content_);
  }

 private:
  void set(Result<Message> content) {
    const std::lock_guard guard(mutex_);
    if (!content_) content_.emplace(std::move(content));
    changed_.notify_all();
  }
  std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<Result<Message>> content_;
};

/// Certificates have to be for the keys and names that they were asked for, and of the authority that was pinned.
Result<JoinedCredentials> take(const JoinGrant& grant, const std::vector<KeyOwner>& keys,
                               const std::vector<Identity>& wanted, const JoinToken& token) {
  const Failure wrong{FailureKind::kMismatch, token.address + ": the certificates are not those asked for"};
  const CertificateOwner authority = tls::certificate_of(grant.authority);
  if (!authority || tls::fingerprint_of(*authority) != token.fingerprint || grant.certificates.size() != keys.size()) {
    return wrong;
  }
  JoinedCredentials joined;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const CertificateOwner certificate = tls::certificate_of(grant.certificates[i]);
    const bool is_right = certificate && X509_verify(certificate.get(), X509_get0_pubkey(authority.get())) == 1 &&
                          X509_check_private_key(certificate.get(), keys[i].get()) == 1 &&
                          tls::identity_of(certificate.get()) == wanted[i];
    ERR_clear_error();
    if (!is_right) return wrong;
    Credentials credentials{grant.certificates[i], tls::pem_of(*keys[i]), grant.authority};
    if (i == 0) {
      joined.launcher = std::move(credentials);
    } else {
      joined.ranks[wanted[i].index] = std::move(credentials);
    }
  }
  return joined;
}

}  // namespace

Result<JoinedCredentials> join(const JoinToken& token, std::uint32_t node, const JoinShape& shape,
                               std::chrono::milliseconds limit) {
  const Clock::time_point deadline = Clock::now() + limit;
  const std::vector<Identity> wanted = identities(token.job, node, shape);
  std::vector<KeyOwner> keys;
  JoinRequest request{token.secret, node, shape, {}};
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    keys.push_back(tls::make_key());
    request.requests.push_back(tls::make_request(*keys.back()));
  }
  Reply reply;
  const std::unique_ptr<Network> network = tls::make_joining_network(token.job, token.fingerprint, {});
  const auto channel =
      network->connect(token.address, Identity{token.job, Role::kLauncher, 0, 0}, reply.events(), limit);
  if (!channel) return channel.failure();
  const Result<void> sent = channel.value()->send(tls::encode(request));
  if (!sent) return sent.failure();
  const Result<Message> answered = reply.wait(deadline, token.address);
  if (!answered) return answered.failure();
  const Result<JoinGrant> grant = tls::parse_join_answer(answered.value());
  if (!grant) return Failure{grant.failure().kind, fmt::format("{}: {}", token.address, grant.failure().message)};
  return take(grant.value(), keys, wanted, token);
}

}  // namespace concerto
