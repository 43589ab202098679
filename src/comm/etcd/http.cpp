// libcurl: an easy handle for each call under way, kept for its connection; a multi handle for each stream.
#include "http.hpp"

#include <algorithm>
#include <array>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

#include <curl/curl.h>

namespace concerto::etcd {
namespace {

struct EasyDeleter {
  void operator()(CURL* handle) const noexcept { curl_easy_cleanup(handle); }
};
using Easy = std::unique_ptr<CURL, EasyDeleter>;
struct MultiDeleter {
  void operator()(CURLM* handle) const noexcept { curl_multi_cleanup(handle); }
};
using Multi = std::unique_ptr<CURLM, MultiDeleter>;
struct HeadersDeleter {
  void operator()(curl_slist* list) const noexcept { curl_slist_free_all(list); }
};
using Headers = std::unique_ptr<curl_slist, HeadersDeleter>;

Easy make_easy() {
  Easy easy(curl_easy_init());
  if (!easy) throw std::bad_alloc();
  return easy;
}

void add_header(Headers& headers, const std::string& line) {
  curl_slist* longer = curl_slist_append(headers.get(), line.c_str());
  if (longer == nullptr) throw std::bad_alloc();
  (void)headers.release();  // the list is the same one, at least from its second line on
  headers.reset(longer);
}

/// A request under way: what libcurl writes to and reads from.
struct Transfer {
  Headers headers;
  std::string received;
  std::array<char, CURL_ERROR_SIZE> error{};
  bool is_sent_once = false;
  int times_sent = 0;
};

std::size_t on_data(char* data, std::size_t /*one*/, std::size_t size, void* user) {
  auto& transfer = *static_cast<Transfer*>(user);
  if (transfer.received.size() + size > HttpClient::kMaxAnswer) return 0;
  transfer.received.append(data, size);
  return size;
}

/// Called each time that the request is about to go over a connection.
int on_sending(void* user, char* /*to*/, char* /*from*/, int /*to_port*/, int /*from_port*/) {
  auto& transfer = *static_cast<Transfer*>(user);
  ++transfer.times_sent;
  return transfer.is_sent_once && transfer.times_sent > 1 ? CURL_PREREQFUNC_ABORT : CURL_PREREQFUNC_OK;
}

template <class Value>
void set(CURL* handle, CURLoption option, Value value) {
  // Options fail for lack of memory, or where this libcurl was built without what they are for: both show when the
  // request is made, as an error of its own.
  (void)curl_easy_setopt(handle, option, value);
}

long milliseconds(std::chrono::milliseconds limit) {
  // 0 is "for ever" to libcurl.
  return static_cast<long>(std::clamp<std::int64_t>(limit.count(), 1, std::int64_t{24} * 3600 * 1000));
}

void set_tls(CURL* handle, const TlsFiles& tls) {
  set(handle, CURLOPT_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_2));
  if (!tls.authority.empty()) {
    set(handle, CURLOPT_CAINFO, tls.authority.c_str());
    set(handle, CURLOPT_CAPATH, static_cast<const char*>(nullptr));  // that authority and no other
  }
  if (!tls.certificate.empty()) {
    set(handle, CURLOPT_SSLCERT, tls.certificate.c_str());
    set(handle, CURLOPT_SSLKEY, tls.private_key.c_str());
  }
}

void set_up(CURL* handle, Transfer& transfer, const HttpRequest& request, const TlsFiles& tls,
            std::chrono::milliseconds connect_limit) {
  curl_easy_reset(handle);
  transfer.is_sent_once = request.is_sent_once;
  add_header(transfer.headers, "Content-Type: application/json");
  add_header(transfer.headers, "Expect:");  // no asking before large bodies
  if (!request.token.empty()) add_header(transfer.headers, "Authorization: " + request.token);
  // A watch on a server that has lost its leader ends instead of being silent.
  add_header(transfer.headers, "Grpc-Metadata-hasleader: true");
  set(handle, CURLOPT_HTTPHEADER, transfer.headers.get());
  set(handle, CURLOPT_URL, request.url.c_str());
  set(handle, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request.body.size()));
  set(handle, CURLOPT_COPYPOSTFIELDS, request.body.data());
  set(handle, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
  set(handle, CURLOPT_PROTOCOLS_STR, "http,https");
  set(handle, CURLOPT_PROXY, "");  // a cluster's own traffic, whatever the environment says
  set(handle, CURLOPT_NOSIGNAL, 1L);
  set(handle, CURLOPT_TCP_KEEPALIVE, 1L);
  set(handle, CURLOPT_TCP_KEEPIDLE, 10L);
  set(handle, CURLOPT_TCP_KEEPINTVL, 5L);
  set(handle, CURLOPT_CONNECTTIMEOUT_MS, milliseconds(connect_limit));
  set(handle, CURLOPT_ERRORBUFFER, transfer.error.data());
  set(handle, CURLOPT_WRITEFUNCTION, &on_data);
  set(handle, CURLOPT_WRITEDATA, &transfer);
  set(handle, CURLOPT_PREREQFUNCTION, &on_sending);
  set(handle, CURLOPT_PREREQDATA, &transfer);
  set_tls(handle, tls);
}

HttpFailure failure_of(CURLcode code, const Transfer& transfer) {
  using Kind = HttpFailure::Kind;
  const std::string message = transfer.error[0] != '\0' ? transfer.error.data() : curl_easy_strerror(code);
  // The other side refuses our certificate by an alert, which in TLS 1.3 comes after the handshake.
  if (message.find("alert") != std::string::npos) return {Kind::kRefused, message};
  switch (code) {
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_ISSUER_ERROR:
      return {Kind::kRefused, message};
    case CURLE_OPERATION_TIMEDOUT:
      return {transfer.times_sent > 0 ? Kind::kTimeout : Kind::kNotSent, message};
    default:
      return {transfer.times_sent > 0 ? Kind::kLost : Kind::kNotSent, message};
  }
}

}  // namespace

struct HttpClient::State {
  TlsFiles tls;
  std::mutex mutex;
  std::vector<Easy> idle;

  Easy take() {
    const std::lock_guard guard(mutex);
    if (idle.empty()) return make_easy();
    Easy easy = std::move(idle.back());
    idle.pop_back();
    return easy;
  }
  void give_back(Easy easy) {
    const std::lock_guard guard(mutex);
    idle.push_back(std::move(easy));
  }
};

HttpClient::HttpClient(TlsFiles tls) : state_(std::make_unique<State>()) {
  state_->tls = std::move(tls);
}
HttpClient::~HttpClient() = default;

std::variant<HttpAnswer, HttpFailure> HttpClient::post(const HttpRequest& request,
                                                       std::chrono::milliseconds connect_limit,
                                                       std::chrono::milliseconds limit) {
  Transfer transfer;
  Easy easy = state_->take();
  set_up(easy.get(), transfer, request, state_->tls, connect_limit);
  set(easy.get(), CURLOPT_TIMEOUT_MS, milliseconds(limit));
  const CURLcode code = curl_easy_perform(easy.get());
  HttpAnswer answer;
  (void)curl_easy_getinfo(easy.get(), CURLINFO_RESPONSE_CODE, &answer.status);
  curl_easy_reset(easy.get());  // before what it points to is gone
  state_->give_back(std::move(easy));
  if (code != CURLE_OK) return failure_of(code, transfer);
  answer.body = std::move(transfer.received);
  return answer;
}

struct HttpStream::State {
  // In the order in which they have to be destroyed, last first.
  Transfer transfer;
  Multi multi{curl_multi_init()};
  Easy easy = make_easy();
  bool has_ended = false;
  HttpFailure failure;
};

HttpStream::HttpStream(HttpClient& client, const HttpRequest& request, std::chrono::milliseconds connect_limit)
    : state_(std::make_unique<State>()) {
  if (!state_->multi) throw std::bad_alloc();
  set_up(state_->easy.get(), state_->transfer, request, client.state_->tls, connect_limit);
  if (curl_multi_add_handle(state_->multi.get(), state_->easy.get()) != CURLM_OK) throw std::bad_alloc();
}

HttpStream::~HttpStream() {
  (void)curl_multi_remove_handle(state_->multi.get(), state_->easy.get());
}

HttpStream::Waited HttpStream::next_line(std::string& line, Clock::time_point deadline) {
  std::string& received = state_->transfer.received;
  while (true) {
    int running = 0;
    if (!state_->has_ended) (void)curl_multi_perform(state_->multi.get(), &running);
    int queued = 0;
    while (const CURLMsg* message = curl_multi_info_read(state_->multi.get(), &queued)) {
      if (message->msg != CURLMSG_DONE) continue;
      state_->has_ended = true;
      const CURLcode code = message->data.result;
      state_->failure = code == CURLE_OK ? HttpFailure{HttpFailure::Kind::kLost, "the stream has ended"}
                                         : failure_of(code, state_->transfer);
    }
    const std::size_t end = received.find('\n');
    if (end != std::string::npos || (state_->has_ended && !received.empty())) {
      line = received.substr(0, end);
      received.erase(0, end == std::string::npos ? end : end + 1);
      return Waited::kLine;
    }
    if (state_->has_ended) return Waited::kEnded;
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
    if (left.count() <= 0) return Waited::kTime;
    (void)curl_multi_poll(state_->multi.get(), nullptr, 0, static_cast<int>(milliseconds(left)), nullptr);
  }
}

const HttpFailure& HttpStream::failure() const noexcept {
  return state_->failure;
}

}  // namespace concerto::etcd
