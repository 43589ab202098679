// Joining a job: how a launcher that has no certificate gets one for itself and one for each of its ranks.
//
// It is given a token: where to go, the fingerprint of the authority that it must find there, and a secret of this job
// alone. It makes its keys itself and sends requests for certificates, so that no private key crosses a network.
// Each launcher is let in once.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "concerto/base/ids.hpp"
#include "concerto/base/result.hpp"
#include "concerto/comm/channel.hpp"
#include "concerto/comm/trust.hpp"

namespace concerto {

/// Where a token may stand. Whoever starts other processes takes it out of their environment.
inline constexpr const char* kJoinTokenVariable = "CONCERTO_JOIN_TOKEN";

struct JoinToken {
  std::string job;
  std::string address;         ///< "HOST:PORT" of the first launcher
  std::string fingerprint;     ///< of the job's authority
  std::string secret;          ///< 64 hexadecimal digits
  std::int64_t expires_s = 0;  ///< since 1970, by the first launcher's clock
  friend bool operator==(const JoinToken&, const JoinToken&) = default;
};

/// 256 bits that nobody can guess, as hexadecimal digits. Error{kIo} where the system gives none.
[[nodiscard]] std::string draw_join_secret();
/// One line: concerto-join://HOST:PORT/JOB?expires=SECONDS&authority=HEX&secret=HEX
[[nodiscard]] std::string format_join_token(const JoinToken& token);
/// Error{kBadInput} naming `where` and the part that is wrong; never tells the secret.
[[nodiscard]] JoinToken parse_join_token(std::string_view text, const std::string& where);

/// What launchers of a job must have been told alike.
struct JoinShape {
  std::uint32_t nodes = 1;
  std::uint32_t ranks_per_node = 1;
};

/// What a launcher asks for: certificates of launcher `node` and of its ranks, in their order.
struct JoinRequest {
  std::string secret;
  std::uint32_t node = 0;
  JoinShape shape;
  std::vector<std::string> requests;  ///< PKCS #10, DER: the launcher's, then one for each rank
};
struct JoinGrant {
  std::string authority;                  ///< PEM
  std::vector<std::string> certificates;  ///< PEM, as the requests
};

/// The first launcher's: decides who is let in, and serves the strangers of a network (networks.hpp), which it
/// outlives.
class JoinDesk {
 public:
  /// `authority` outlives it.
  JoinDesk(const JobAuthority& authority, JoinToken token, const JoinShape& shape);
  /// kRefused: the secret is not this job's, the token has expired, the launcher is none that may join or has joined
  /// already, a request is none. kConflict: another number of launchers or ranks.
  [[nodiscard]] Result<JoinGrant> decide(const JoinRequest& request, WallTime now);
  /// On the network's thread.
  [[nodiscard]] ChannelEvents accept(std::shared_ptr<Channel> channel);
  [[nodiscard]] const JoinToken& token() const noexcept { return token_; }

 private:
  void serve(Channel& channel, const Message& message);

  const JobAuthority& authority_;
  JoinToken token_;
  JoinShape shape_;
  std::set<std::uint32_t> joined_;
  std::deque<std::shared_ptr<Channel>> waiting_;
};

/// What a launcher has once it has joined.
struct JoinedCredentials {
  Credentials launcher;
  std::map<Rank, Credentials> ranks;
};

/// Asks the first launcher; blocks, at most `limit`. kRefused and kConflict as JoinDesk::decide says; kMismatch where
/// another authority answers than the token names; else what the connection met.
[[nodiscard]] Result<JoinedCredentials> join(const JoinToken& token, std::uint32_t node, const JoinShape& shape,
                                             std::chrono::milliseconds limit);

}  // namespace concerto
