// The bodies of etcd's JSON gateway (v3): what is asked and what is answered, as text. Pure; no connection.
//
// Keys are etcd's own here (the job's prefix included). Bytes are base64 and 64-bit numbers are strings in JSON. A
// parser gives nothing for what is not such an answer.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "concerto/comm/store.hpp"

namespace concerto::etcd {

/// The end of the range of all keys that begin with `prefix`, which is not empty and not of 0xff only.
[[nodiscard]] std::string prefix_end(std::string prefix);

struct Range {
  std::string key;
  std::string end;              ///< empty: the one key
  std::int64_t limit = 0;       ///< 0: none
  Revision at = 0;              ///< 0: now
  Revision created_before = 0;  ///< 0: any; else only keys created before that revision, the latest first
};
[[nodiscard]] std::string range_body(const Range& range);
[[nodiscard]] std::string put_body(std::string_view key, std::string_view value, LeaseId lease);
[[nodiscard]] std::string erase_body(std::string_view key);
[[nodiscard]] std::string grant_body(std::int64_t seconds);
[[nodiscard]] std::string lease_body(LeaseId lease);
[[nodiscard]] std::string watch_body(std::string_view key, std::string_view end, Revision start);
[[nodiscard]] std::string authenticate_body(std::string_view user, std::string_view password);

enum class Compared : std::uint8_t { kModified, kCreated };
/// If the revision of `key` is `expected` (0: there is no such key), puts; if not, reads it.
[[nodiscard]] std::string put_if_body(std::string_view key, Compared compared, Revision expected,
                                      std::string_view value, LeaseId lease);
/// If `key` was created at `created`, reads `range`; if not, nothing.
[[nodiscard]] std::string range_if_body(std::string_view key, Revision created, const Range& range);

struct RangeAnswer {
  Revision revision = 0;
  std::vector<StoreEntry> entries;
  bool has_more = false;
};
[[nodiscard]] std::optional<RangeAnswer> parse_range(std::string_view body);
/// The revision of the store after a put.
[[nodiscard]] std::optional<Revision> parse_revision(std::string_view body);
/// How many keys were deleted.
[[nodiscard]] std::optional<std::int64_t> parse_erased(std::string_view body);

struct TransactionAnswer {
  Revision revision = 0;
  bool succeeded = false;
  std::vector<StoreEntry> entries;  ///< of its range, if it made one
};
[[nodiscard]] std::optional<TransactionAnswer> parse_transaction(std::string_view body);

struct LeaseAnswer {
  LeaseId lease = 0;
  std::int64_t seconds = 0;  ///< 0: it has ended
};
[[nodiscard]] std::optional<LeaseAnswer> parse_grant(std::string_view body);
[[nodiscard]] std::optional<LeaseAnswer> parse_keep_alive(std::string_view body);
[[nodiscard]] std::optional<std::string> parse_token(std::string_view body);

/// etcd's numbers of errors are gRPC's.
enum class Code : std::uint8_t {
  kCancelled = 1,
  kInvalidArgument = 3,
  kDeadlineExceeded = 4,
  kNotFound = 5,
  kPermissionDenied = 7,
  kResourceExhausted = 8,
  kFailedPrecondition = 9,
  kOutOfRange = 11,
  kUnavailable = 14,
  kUnauthenticated = 16,
};
struct ErrorAnswer {
  int code = 0;
  std::string message;
  [[nodiscard]] bool is(Code wanted) const noexcept { return code == static_cast<int>(wanted); }
};
[[nodiscard]] std::optional<ErrorAnswer> parse_error(std::string_view body);

/// A line of the stream of a watch.
struct WatchAnswer {
  Revision revision = 0;
  bool is_cancelled = false;
  std::string reason;
  Revision compacted = 0;  ///< not 0: cancelled because changes up to there are gone
  std::vector<StoreEvent> events;
  std::optional<ErrorAnswer> error;
};
[[nodiscard]] std::optional<WatchAnswer> parse_watch(std::string_view line);

}  // namespace concerto::etcd
