// One call is a series of attempts within its time limit.
#include "cluster.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "concerto/base/error.hpp"

namespace concerto::etcd {
namespace {

/// Between two rounds over all endpoints, growing.
constexpr std::chrono::milliseconds kShortestPause{30};
constexpr std::chrono::milliseconds kLongestPause{500};

[[noreturn]] void refuse(const char* key, const std::string& why) {
  throw Error(ErrorCode::kBadInput, why, key);
}

std::vector<std::string> checked_endpoints(const EtcdConfig& config) {
  constexpr const char* kKey = "endpoints of etcd";
  if (config.endpoints.empty()) refuse(kKey, "there are none");
  std::vector<std::string> endpoints;
  for (std::string endpoint : config.endpoints) {
    // Before it is shown in any message.
    if (endpoint.find('@') != std::string::npos)
      refuse(kKey, "an endpoint holds a user or a password: these belong in a file");
    const bool is_plain = endpoint.starts_with("http://");
    if (!is_plain && !endpoint.starts_with("https://"))
      refuse(kKey, fmt::format("'{}' does not begin with https:// or http://", endpoint));
    const auto host = endpoint.find("//") + 2;
    if (endpoint.size() > host && endpoint.ends_with('/')) endpoint.pop_back();
    if (endpoint.size() <= host || endpoint.find_first_of("/?# \t\r\n", host) != std::string::npos)
      refuse(kKey, fmt::format("'{}' is not https://HOST:PORT", endpoint));
    if (is_plain && !(config.authority.empty() && config.certificate.empty()))
      refuse(kKey, fmt::format("'{}' is not encrypted, but there are certificates for it", endpoint));
    if (is_plain && !config.credentials.empty() && !is_this_machine(endpoint))
      refuse(kKey, fmt::format("a password is not sent to '{}' without encryption", endpoint));
    endpoints.push_back(std::move(endpoint));
  }
  return endpoints;
}

TlsFiles checked_tls(const EtcdConfig& config) {
  if (config.certificate.empty() != config.private_key.empty())
    refuse("certificate of etcd", "a certificate and its key go together");
  for (const auto& path : {config.authority, config.certificate, config.private_key}) {
    std::error_code error;
    if (!path.empty() && !std::filesystem::is_regular_file(path, error))
      throw Error(ErrorCode::kIo, "there is no such file", path.string());
  }
  return {config.authority, config.certificate, config.private_key};
}

/// Of an answer that is no JSON: of something else than etcd's gateway, or before it.
std::string first_words(const std::string& body) {
  constexpr std::size_t kMost = 120;
  std::string words = body.substr(0, std::min(kMost, body.find_first_of("\r\n")));
  std::ranges::replace_if(
      words, [](char letter) { return letter < ' ' || letter > '~'; }, '?');
  return words;
}

/// Was it refused before anything was proposed to the cluster?
bool was_not_executed(const ErrorAnswer& error) {
  constexpr std::array<std::string_view, 4> kWords{"no leader", "connection refused", "TransientFailure",
                                                   "not capable"};
  return std::ranges::any_of(kWords,
                             [&](std::string_view words) { return error.message.find(words) != std::string::npos; });
}

}  // namespace

bool is_this_machine(std::string_view endpoint) {
  endpoint.remove_prefix(endpoint.find("//") + 2);
  if (endpoint.starts_with("[::1]")) return true;
  const std::string_view host = endpoint.substr(0, endpoint.find_first_of(":/"));
  return host == "localhost" ||
         (host.starts_with("127.") && host.find_first_not_of("0123456789.") == std::string_view::npos);
}

Clock::time_point deadline_after(std::chrono::milliseconds limit) {
  return Clock::now() + std::min<std::chrono::milliseconds>(limit, std::chrono::hours{24 * 365});
}

std::chrono::milliseconds left_until(Clock::time_point deadline) {
  return std::max(std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()), std::chrono::milliseconds{0});
}

Cluster::Cluster(const EtcdConfig& config)
    : endpoints_(checked_endpoints(config)),
      login_(config.credentials.empty() ? Login{} : read_login(config.credentials)),
      token_renewal_(config.token_renewal),
      limits_(config.limits),
      http_(checked_tls(config)) {}

std::string Cluster::description() const {
  return fmt::format("etcd at {}", fmt::join(endpoints_, ", "));
}

void Cluster::leave_endpoint() {
  ++endpoint_;
}

bool Cluster::is_refused(HttpFailure::Kind kind, std::size_t& in_a_row) const {
  constexpr std::size_t kRefusal = 3;  // as many cut connections count as one refusal
  if (kind == HttpFailure::Kind::kRefused) {
    in_a_row += kRefusal;
  } else if (kind == HttpFailure::Kind::kCutOff) {
    ++in_a_row;
  } else {
    in_a_row = 0;
  }
  return in_a_row >= kRefusal * endpoints_.size();
}

void Cluster::pause(std::chrono::milliseconds duration, Clock::time_point deadline) {
  std::unique_lock lock(mutex_);
  changed_.wait_until(lock, std::min(deadline, Clock::now() + duration), [&] { return is_closed_.load(); });
}

void Cluster::close() {
  {
    const std::lock_guard guard(mutex_);
    is_closed_ = true;
  }
  changed_.notify_all();
}

/// What the attempts of a call have met, and how it goes on.
struct Cluster::Attempt {
  std::size_t refusals = 0;  ///< as is_refused() counts them
  std::size_t failures = 0;  ///< in this round
  std::chrono::milliseconds next_pause = kShortestPause;
  Failure last{FailureKind::kTimeout, "there was no time"};
};

Result<std::string> Cluster::exchange(std::string_view path, const std::string& body, const std::string& token,
                                      Clock::time_point deadline, Repeat repeat, ErrorAnswer& error) {
  Attempt met;
  while (true) {
    if (is_closed_) return Failure{FailureKind::kAborted, "the client is closed"};
    const auto left = left_until(deadline);
    if (left.count() == 0) {
      // That a connection was lost says nothing when the request was sent again since.
      if (met.last.kind == FailureKind::kLost) met.last.kind = FailureKind::kTimeout;
      return met.last;
    }
    // An endpoint that is silent leaves time for the others; what must not be repeated waits for its answer.
    const auto share = left / static_cast<std::int64_t>(endpoints_.size() - met.failures);
    const std::size_t chosen = endpoint_;
    const std::string& endpoint = endpoints_[chosen % endpoints_.size()];
    const auto result = http_.post({fmt::format("{}{}", endpoint, path), body, token, repeat == Repeat::kNever}, share,
                                   repeat == Repeat::kSafe ? share : left);
    if (const auto* answer = std::get_if<HttpAnswer>(&result)) {
      if (answer->status == 200) return answer->body;
      const auto told = parse_error(answer->body);
      if (!told)
        return Failure{FailureKind::kMismatch, fmt::format("{} answers with status {}: {}", endpoint, answer->status,
                                                           first_words(answer->body))};
      error = *told;
      const bool passes = error.is(Code::kUnavailable) || error.is(Code::kDeadlineExceeded);
      met.last = {passes ? FailureKind::kTimeout : FailureKind::kRefused,
                  fmt::format("{}: {}", endpoint, error.message)};
      if (!passes || (repeat == Repeat::kNever && !was_not_executed(error))) return met.last;
    } else {
      const auto& failure = std::get<HttpFailure>(result);
      using Kind = HttpFailure::Kind;
      met.last.message = fmt::format("{}: {}", endpoint, failure.message);
      met.last.kind = failure.kind == Kind::kRefused   ? FailureKind::kRefused
                      : failure.kind == Kind::kTimeout ? FailureKind::kTimeout
                      : failure.kind == Kind::kLost    ? FailureKind::kLost
                                                       : FailureKind::kUnreachable;
      const bool may_be_done = failure.kind == Kind::kTimeout || failure.kind == Kind::kLost;
      if (may_be_done && repeat == Repeat::kNever) {
        if (chosen == endpoint_) leave_endpoint();
        return met.last;
      }
      if (is_refused(failure.kind, met.refusals)) {
        met.last.kind = FailureKind::kRefused;
        return met.last;
      }
    }
    std::size_t expected = chosen;
    (void)endpoint_.compare_exchange_strong(expected, chosen + 1);  // another call may have left it already
    if (++met.failures < endpoints_.size()) continue;
    met.failures = 0;
    pause(met.next_pause, deadline);
    met.next_pause = std::min(2 * met.next_pause, kLongestPause);
  }
}

Result<std::string> Cluster::call(std::string_view path, const std::string& body, Clock::time_point deadline,
                                  Repeat repeat, std::string_view what) {
  const auto named = [&](const Failure& failure) {
    return Failure{failure.kind, fmt::format("{}: {}", what, failure.message)};
  };
  // Twice: a token may have ended since it was last used.
  for (int round = 0;; ++round) {
    const Result<Token> with = token(deadline);
    if (!with) return named(with.failure());
    ErrorAnswer error;
    auto answer = exchange(path, body, with.value().text, deadline, repeat, error);
    if (answer) return answer;
    if ((error.is(Code::kUnauthenticated) || is_about_a_token(error.message)) && has_login() && round == 0) {
      forget(with.value().number);
      continue;
    }
    if (error.is(Code::kOutOfRange)) return named({FailureKind::kConflict, error.message});
    if (error.is(Code::kNotFound)) return named({FailureKind::kLost, error.message});  // a lease
    return named(answer.failure());
  }
}

// ---- Tokens ---------------------------------------------------------------------------------------------------------

Result<std::string> Cluster::authenticate(Clock::time_point deadline) {
  ErrorAnswer error;
  const auto answer = exchange("/v3/auth/authenticate", authenticate_body(login_.user, login_.password), {}, deadline,
                               Repeat::kSafe, error);
  if (!answer) {
    // Then everybody may do everything: no token is asked for, and none is needed.
    if (error.message.find("authentication is not enabled") != std::string::npos) return std::string{};
    return Failure{answer.failure().kind, "authentication: " + answer.failure().message};
  }
  auto text = parse_token(answer.value());
  if (!text || text->find_first_of("\r\n") != std::string::npos)
    return Failure{FailureKind::kCorrupt, "authentication: the answer holds no token"};
  return std::move(*text);
}

Result<Cluster::Token> Cluster::token(Clock::time_point deadline) {
  if (!has_login()) return Token{};
  std::unique_lock lock(mutex_);
  while (true) {
    if (token_.number != 0 && Clock::now() - token_made_ < token_renewal_) return token_;
    if (!is_authenticating_) break;
    if (changed_.wait_until(lock, deadline) == std::cv_status::timeout)
      return Failure{FailureKind::kTimeout, "authentication: no answer within the time limit"};
  }
  is_authenticating_ = true;
  lock.unlock();
  auto text = authenticate(deadline);
  lock.lock();
  is_authenticating_ = false;
  changed_.notify_all();
  if (!text) return text.failure();
  token_ = {std::move(text).value(), ++tokens_};
  token_made_ = Clock::now();
  return token_;
}

void Cluster::forget(std::uint64_t number) {
  const std::lock_guard guard(mutex_);
  if (token_.number == number) token_ = {};
}

bool Cluster::forget_token() {
  if (!has_login()) return false;
  const std::lock_guard guard(mutex_);
  token_ = {};
  return true;
}

Result<std::unique_ptr<HttpStream>> Cluster::open_stream(std::string_view path, const std::string& body,
                                                         Clock::time_point deadline) {
  const Result<Token> with = token(deadline);
  if (!with) return with.failure();
  const std::string& endpoint = endpoints_[endpoint_ % endpoints_.size()];
  return std::make_unique<HttpStream>(
      http_, HttpRequest{fmt::format("{}{}", endpoint, path), body, with.value().text, false}, limits_.call);
}

}  // namespace concerto::etcd
