// Calls to an etcd cluster: several endpoints tried in turn, tokens that are renewed, and what failures mean.
//
// It knows paths, bodies and errors of the gateway, not what they are used for (etcd_store.cpp).
#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "concerto/comm/stores.hpp"

#include "credentials.hpp"
#include "gateway.hpp"
#include "http.hpp"

namespace concerto::etcd {

/// Whether a request that may have been executed without its answer coming is sent again.
enum class Repeat : std::uint8_t { kNever, kSafe };

/// Of "http://127.0.0.1:2379": whether what is sent there stays in this machine.
[[nodiscard]] bool is_this_machine(std::string_view endpoint);

[[nodiscard]] Clock::time_point deadline_after(std::chrono::milliseconds limit);
[[nodiscard]] std::chrono::milliseconds left_until(Clock::time_point deadline);

class Cluster {
 public:
  /// Error{kBadInput} for a configuration that cannot work or is not safe, Error{kIo} for files.
  explicit Cluster(const EtcdConfig& config);

  /// The body of the answer. kConflict: the revision asked for is compacted. `what` is for messages ("put 'a'").
  [[nodiscard]] Result<std::string> call(std::string_view path, const std::string& body, Clock::time_point deadline,
                                         Repeat repeat, std::string_view what);

  /// A stream to the endpoint that answers, as far as is known.
  [[nodiscard]] Result<std::unique_ptr<HttpStream>> open_stream(std::string_view path, const std::string& body,
                                                                Clock::time_point deadline);
  /// Says that the stream opened last was of no use, so that the next one goes elsewhere.
  void leave_endpoint();
  /// Says that a stream was refused for its token. True if another one can be asked for.
  [[nodiscard]] bool forget_token();
  [[nodiscard]] bool has_login() const noexcept { return !login_.user.empty(); }

  /// Counts failures in a row that mean, or may mean, that a certificate is refused: true once every endpoint has
  /// refused it, or has cut connections off again and again where one that is trusted would be answered.
  [[nodiscard]] bool is_refused(HttpFailure::Kind kind, std::size_t& in_a_row) const;

  /// Waits, at most until `deadline`; sooner when closed.
  void pause(std::chrono::milliseconds duration, Clock::time_point deadline);
  /// Watches and waiting calls end.
  void close();
  [[nodiscard]] bool is_closed() const noexcept { return is_closed_; }

  [[nodiscard]] std::string description() const;
  [[nodiscard]] const StoreLimits& limits() const noexcept { return limits_; }

 private:
  struct Attempt;
  struct Token {
    std::string text;
    std::uint64_t number = 0;  ///< which one; 0: there is none
  };

  [[nodiscard]] Result<std::string> exchange(std::string_view path, const std::string& body, const std::string& token,
                                             Clock::time_point deadline, Repeat repeat, ErrorAnswer& error);
  [[nodiscard]] Result<Token> token(Clock::time_point deadline);
  [[nodiscard]] Result<std::string> authenticate(Clock::time_point deadline);
  void forget(std::uint64_t number);

  std::vector<std::string> endpoints_;
  Login login_;
  std::chrono::milliseconds token_renewal_;
  StoreLimits limits_;
  HttpClient http_;
  std::atomic<std::size_t> endpoint_ = 0;
  std::atomic<bool> is_closed_ = false;

  std::mutex mutex_;
  std::condition_variable changed_;
  Token token_;
  Clock::time_point token_made_{};
  std::uint64_t tokens_ = 0;
  bool is_authenticating_ = false;
};

}  // namespace concerto::etcd
