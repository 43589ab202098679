// HTTP to one server at a time, by libcurl: posts whose answer is awaited, and streams of lines.
//
// What failed is told apart by what it means for the request: not sent, so that it had no effect; or sent, so that it
// may have had.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <variant>

namespace concerto::etcd {

using Clock = std::chrono::steady_clock;

/// PEM files; empty paths are left to the system's defaults, or out.
struct TlsFiles {
  std::filesystem::path authority;
  std::filesystem::path certificate;
  std::filesystem::path private_key;
};

struct HttpAnswer {
  long status = 0;  ///< as in RFC 9110
  std::string body;
};
struct HttpFailure {
  enum class Kind : std::uint8_t {
    kNotSent,  ///< no connection
    kRefused,  ///< a certificate, on either side
    kTimeout,  ///< sent, perhaps
    kLost,     ///< sent, perhaps
  };
  Kind kind = Kind::kNotSent;
  std::string message;  ///< without the token
};

struct HttpRequest {
  std::string url;
  std::string body;
  std::string token;  ///< of the Authorization header; empty: none
  /// Not to be sent again on another connection if the one it was sent over ends: libcurl would do so by itself where
  /// the connection had been used before.
  bool is_sent_once = false;
};

/// Thread-safe; keeps connections open between calls.
class HttpClient {
 public:
  explicit HttpClient(TlsFiles tls);
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  /// Answers of more than kMaxAnswer bytes are kLost. Both limits count from now.
  [[nodiscard]] std::variant<HttpAnswer, HttpFailure> post(const HttpRequest& request,
                                                           std::chrono::milliseconds connect_limit,
                                                           std::chrono::milliseconds limit);
  static constexpr std::size_t kMaxAnswer = std::size_t{64} << 20;

 private:
  friend class HttpStream;
  struct State;
  std::unique_ptr<State> state_;
};

/// The answer to one post, line by line, as it comes; driven by whoever waits for a line, from one thread at a time.
class HttpStream {
 public:
  /// Begins to connect; nothing blocks.
  HttpStream(HttpClient& client, const HttpRequest& request, std::chrono::milliseconds connect_limit);
  ~HttpStream();
  HttpStream(const HttpStream&) = delete;
  HttpStream& operator=(const HttpStream&) = delete;

  enum class Waited : std::uint8_t { kLine, kTime, kEnded };
  /// Waits for a line (without its end) until `deadline`, at most.
  [[nodiscard]] Waited next_line(std::string& line, Clock::time_point deadline);
  /// Why it has ended.
  [[nodiscard]] const HttpFailure& failure() const noexcept;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace concerto::etcd
