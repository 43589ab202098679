// Writing and reading the gateway's JSON. A member that is absent has its default, as protocol buffers have it.
#include "gateway.hpp"

#include <charconv>
#include <exception>
#include <utility>

#include <nlohmann/json.hpp>

#include "concerto/base/check.hpp"

#include "base64.hpp"

namespace concerto::etcd {
namespace {

using Json = nlohmann::json;

/// Thrown within this file where an answer is not what it should be.
struct NotAnAnswer : std::exception {};

// ---- Writing --------------------------------------------------------------------------------------------------------

std::string number_text(std::uint64_t number) {
  return std::to_string(number);
}

Json range_json(const Range& range) {
  Json json{{"key", base64_encode(range.key)}};
  if (!range.end.empty()) json["range_end"] = base64_encode(range.end);
  if (range.limit > 0) json["limit"] = std::to_string(range.limit);
  if (range.at > 0) json["revision"] = number_text(range.at);
  if (range.created_before > 0) {
    json["max_create_revision"] = number_text(range.created_before - 1);
    json["sort_order"] = "DESCEND";
    json["sort_target"] = "CREATE";
  }
  return json;
}

Json put_json(std::string_view key, std::string_view value, LeaseId lease) {
  Json json{{"key", base64_encode(key)}, {"value", base64_encode(value)}};
  if (lease != 0) json["lease"] = number_text(lease);
  return json;
}

Json compare_json(std::string_view key, Compared compared, Revision expected) {
  Json json{{"key", base64_encode(key)}, {"result", "EQUAL"}};
  const bool is_modified = compared == Compared::kModified;
  json["target"] = is_modified ? "MOD" : "CREATE";
  json[is_modified ? "mod_revision" : "create_revision"] = number_text(expected);
  return json;
}

// ---- Reading --------------------------------------------------------------------------------------------------------

/// The member, or null where there is none.
const Json& member(const Json& json, const char* name) {
  static const Json kNull;
  if (!json.is_object()) throw NotAnAnswer();
  const auto found = json.find(name);
  return found == json.end() ? kNull : *found;
}

std::int64_t signed_number(const Json& json) {
  if (json.is_null()) return 0;
  if (json.is_number_integer()) return json.get<std::int64_t>();
  if (!json.is_string()) throw NotAnAnswer();
  const auto& text = json.get_ref<const std::string&>();
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) throw NotAnAnswer();
  return number;
}

std::uint64_t number(const Json& json) {
  const std::int64_t read = signed_number(json);
  if (read < 0) throw NotAnAnswer();
  return static_cast<std::uint64_t>(read);
}

bool flag(const Json& json) {
  if (json.is_null()) return false;
  if (!json.is_boolean()) throw NotAnAnswer();
  return json.get<bool>();
}

std::string text(const Json& json) {
  if (json.is_null()) return {};
  if (!json.is_string()) throw NotAnAnswer();
  return json.get<std::string>();
}

std::string bytes(const Json& json) {
  auto decoded = base64_decode(text(json));
  if (!decoded) throw NotAnAnswer();
  return std::move(*decoded);
}

template <class Body>
void each(const Json& json, const Body& body) {
  if (json.is_null()) return;
  if (!json.is_array()) throw NotAnAnswer();
  for (const Json& item : json) body(item);
}

Revision revision_of(const Json& answer) {
  const Json& header = member(answer, "header");
  if (!header.is_object()) throw NotAnAnswer();
  return number(member(header, "revision"));
}

StoreEntry entry_of(const Json& json) {
  return {bytes(member(json, "key")), bytes(member(json, "value")), number(member(json, "create_revision")),
          number(member(json, "mod_revision")), number(member(json, "lease"))};
}

ErrorAnswer error_of(const Json& json) {
  // Of a call: "error" is text beside "code"; within a stream: an object.
  const Json& error = member(json, "error");
  if (error.is_object()) {
    const auto code = member(error, "grpc_code");
    return {static_cast<int>(signed_number(code.is_null() ? member(error, "code") : code)),
            text(member(error, "message"))};
  }
  return {static_cast<int>(signed_number(member(json, "code"))),
          text(error.is_null() ? member(json, "message") : error)};
}

/// What `read` makes of the body's JSON; nothing where it is none, or another one.
template <class Read>
auto parse(std::string_view body, const Read& read) -> std::optional<decltype(read(Json()))> {
  const Json json = Json::parse(body.begin(), body.end(), nullptr, false);
  if (json.is_discarded()) return std::nullopt;
  try {
    return read(json);
  } catch (const NotAnAnswer&) {
    return std::nullopt;
  }
}

}  // namespace

std::string prefix_end(std::string prefix) {
  while (!prefix.empty() && prefix.back() == '\xff') prefix.pop_back();
  CONCERTO_CHECK(!prefix.empty(), "a prefix without an end");
  prefix.back() = static_cast<char>(static_cast<unsigned char>(prefix.back()) + 1);
  return prefix;
}

std::string range_body(const Range& range) {
  return range_json(range).dump();
}

std::string put_body(std::string_view key, std::string_view value, LeaseId lease) {
  return put_json(key, value, lease).dump();
}

std::string erase_body(std::string_view key) {
  return Json{{"key", base64_encode(key)}}.dump();
}

std::string grant_body(std::int64_t seconds) {
  return Json{{"TTL", std::to_string(seconds)}}.dump();
}

std::string lease_body(LeaseId lease) {
  return Json{{"ID", number_text(lease)}}.dump();
}

std::string watch_body(std::string_view key, std::string_view end, Revision start) {
  return Json{
      {"create_request",
       {{"key", base64_encode(key)}, {"range_end", base64_encode(end)}, {"start_revision", number_text(start)}}}}
      .dump();
}

std::string authenticate_body(std::string_view user, std::string_view password) {
  // What is not UTF-8 cannot be said in JSON; replaced, it is a password that is refused.
  return Json{{"name", user}, {"password", password}}.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string put_if_body(std::string_view key, Compared compared, Revision expected, std::string_view value,
                        LeaseId lease) {
  Json json;
  json["compare"] = Json::array({compare_json(key, compared, expected)});
  json["success"] = Json::array({Json{{"request_put", put_json(key, value, lease)}}});
  json["failure"] = Json::array({Json{{"request_range", range_json({std::string(key), {}})}}});
  return json.dump();
}

std::string range_if_body(std::string_view key, Revision created, const Range& range) {
  Json json;
  json["compare"] = Json::array({compare_json(key, Compared::kCreated, created)});
  json["success"] = Json::array({Json{{"request_range", range_json(range)}}});
  return json.dump();
}

std::optional<RangeAnswer> parse_range(std::string_view body) {
  return parse(body, [](const Json& json) {
    RangeAnswer answer;
    answer.revision = revision_of(json);
    answer.has_more = flag(member(json, "more"));
    each(member(json, "kvs"), [&](const Json& kv) { answer.entries.push_back(entry_of(kv)); });
    return answer;
  });
}

std::optional<Revision> parse_revision(std::string_view body) {
  return parse(body, [](const Json& json) { return revision_of(json); });
}

std::optional<std::int64_t> parse_erased(std::string_view body) {
  return parse(body, [](const Json& json) {
    (void)revision_of(json);
    return signed_number(member(json, "deleted"));
  });
}

std::optional<TransactionAnswer> parse_transaction(std::string_view body) {
  return parse(body, [](const Json& json) {
    TransactionAnswer answer;
    answer.revision = revision_of(json);
    answer.succeeded = flag(member(json, "succeeded"));
    each(member(json, "responses"), [&](const Json& response) {
      const Json& range = member(response, "response_range");
      if (range.is_null()) return;
      each(member(range, "kvs"), [&](const Json& kv) { answer.entries.push_back(entry_of(kv)); });
    });
    return answer;
  });
}

namespace {

LeaseAnswer lease_of(const Json& json) {
  (void)revision_of(json);
  return {number(member(json, "ID")), signed_number(member(json, "TTL"))};
}

}  // namespace

std::optional<LeaseAnswer> parse_grant(std::string_view body) {
  return parse(body, lease_of);
}

std::optional<LeaseAnswer> parse_keep_alive(std::string_view body) {
  // It is a stream of which the first line counts.
  return parse(body.substr(0, body.find('\n')), [](const Json& json) { return lease_of(member(json, "result")); });
}

std::optional<std::string> parse_token(std::string_view body) {
  auto token = parse(body, [](const Json& json) { return text(member(json, "token")); });
  return token && !token->empty() ? std::move(token) : std::nullopt;
}

std::optional<ErrorAnswer> parse_error(std::string_view body) {
  return parse(body, [](const Json& json) { return error_of(json); });
}

std::optional<WatchAnswer> parse_watch(std::string_view line) {
  return parse(line, [](const Json& json) {
    WatchAnswer answer;
    const Json& result = member(json, "result");
    if (result.is_null()) {
      answer.error = error_of(json);
      return answer;
    }
    answer.revision = number(member(member(result, "header"), "revision"));
    answer.is_cancelled = flag(member(result, "canceled"));
    answer.reason = text(member(result, "cancel_reason"));
    answer.compacted = number(member(result, "compact_revision"));
    each(member(result, "events"), [&](const Json& event) {
      StoreEvent one{text(member(event, "type")) == "DELETE", entry_of(member(event, "kv"))};
      if (one.is_deletion) one.entry = {std::move(one.entry.key), {}, 0, one.entry.modified, 0};
      answer.events.push_back(std::move(one));
    });
    return answer;
  });
}

}  // namespace concerto::etcd
