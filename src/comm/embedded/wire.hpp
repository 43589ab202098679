// Requests to the embedded store and its answers, as bytes of a message.
//
// Pure: encoding and parsing, no connection. The parser takes exactly what the encoder writes and refuses everything
// else, whatever the bytes: it reads what a peer sends before anything is known of the peer's intentions.
//
// Numbers are little-endian; bytes are preceded by their number (32 bits). A payload is an id (64 bits), chosen by the
// client and repeated in the answer, then the fields in the order of the structs. The message's type is the index of
// the variant, counted from kFirstRequest or kFirstAnswer.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "concerto/base/result.hpp"
#include "concerto/comm/channel.hpp"
#include "concerto/comm/store.hpp"

namespace concerto::embedded {

/// Both sides speak the same version or part.
inline constexpr std::uint32_t kProtocolVersion = 1;
/// Names of stores and tokens of locks.
inline constexpr std::size_t kMaxToken = 64;
inline constexpr std::size_t kMaxFailureMessage = 4096;
inline constexpr std::uint16_t kFirstRequest = 0x5300;
inline constexpr std::uint16_t kFirstAnswer = 0x5380;

// ---- Requests -------------------------------------------------------------------------------------------------------

/// The first of a connection; answered by Welcome or a Failure of kind kMismatch.
struct Hello {
  std::uint32_t version = kProtocolVersion;
  friend bool operator==(const Hello&, const Hello&) = default;
};
/// Is anybody there? Answered by Done.
struct Ping {
  friend bool operator==(const Ping&, const Ping&) = default;
};
/// Answered by Written.
struct Put {
  std::string key;
  std::string value;
  LeaseId lease = 0;
  friend bool operator==(const Put&, const Put&) = default;
};
/// Answered by Found.
struct Get {
  std::string key;
  friend bool operator==(const Get&, const Get&) = default;
};
/// Answered by Listed.
struct List {
  std::string prefix;
  friend bool operator==(const List&, const List&) = default;
};
/// Answered by Swapped.
struct Swap {
  std::string key;
  Revision expected = 0;
  std::string value;
  LeaseId lease = 0;
  friend bool operator==(const Swap&, const Swap&) = default;
};
/// Answered by Erased.
struct Erase {
  std::string key;
  friend bool operator==(const Erase&, const Erase&) = default;
};
/// Answered by Granted.
struct Grant {
  std::uint64_t time_to_live_ms = 0;
  friend bool operator==(const Grant&, const Grant&) = default;
};
/// Answered by Kept.
struct KeepAlive {
  LeaseId lease = 0;
  friend bool operator==(const KeepAlive&, const KeepAlive&) = default;
};
/// Answered by Done.
struct Revoke {
  LeaseId lease = 0;
  friend bool operator==(const Revoke&, const Revoke&) = default;
};
/// Answered by Changed once there is a change after that revision: possibly much later, possibly without events, so
/// that the client goes on from a newer revision. Asking again after each answer makes a watch whose place only the
/// client knows: nothing piles up for a slow one, and a new connection changes nothing.
struct Poll {
  std::string prefix;
  Revision after = 0;
  friend bool operator==(const Poll&, const Poll&) = default;
};
/// Answered by Locked once the lock is held: possibly much later. The token (of the client's choice, never used again)
/// makes it safe to ask again.
struct Lock {
  std::string name;
  std::string token;
  LeaseId lease = 0;
  friend bool operator==(const Lock&, const Lock&) = default;
};
/// Gives up a lock, held or asked for; a Lock still waiting is answered by kLost. Answered by Done.
struct Unlock {
  std::string name;
  std::string token;
  friend bool operator==(const Unlock&, const Unlock&) = default;
};
/// The Poll of that id needs no answer any more. Answered by Done.
struct Cancel {
  std::uint64_t request = 0;
  friend bool operator==(const Cancel&, const Cancel&) = default;
};

using RequestBody =
    std::variant<Hello, Ping, Put, Get, List, Swap, Erase, Grant, KeepAlive, Revoke, Poll, Lock, Unlock, Cancel>;
struct Request {
  std::uint64_t id = 0;
  RequestBody body;
  friend bool operator==(const Request&, const Request&) = default;
};

// ---- Answers --------------------------------------------------------------------------------------------------------

struct Failed {
  FailureKind kind = FailureKind::kRefused;
  std::string message;
  friend bool operator==(const Failed&, const Failed&) = default;
};
struct Done {
  friend bool operator==(const Done&, const Done&) = default;
};
struct Welcome {
  std::uint32_t version = kProtocolVersion;
  std::string store;  ///< names these contents: another name is another store
  friend bool operator==(const Welcome&, const Welcome&) = default;
};
struct Written {
  Revision revision = 0;
  friend bool operator==(const Written&, const Written&) = default;
};
struct Found {
  std::optional<StoreEntry> entry;
  friend bool operator==(const Found&, const Found&) = default;
};
struct Listed {
  Revision revision = 0;
  std::vector<StoreEntry> entries;
  friend bool operator==(const Listed&, const Listed&) = default;
};
struct Swapped {
  bool swapped = false;
  Revision revision = 0;
  std::optional<StoreEntry> present;
  friend bool operator==(const Swapped&, const Swapped&) = default;
};
struct Erased {
  bool erased = false;
  friend bool operator==(const Erased&, const Erased&) = default;
};
struct Granted {
  LeaseId lease = 0;
  friend bool operator==(const Granted&, const Granted&) = default;
};
struct Kept {
  std::uint64_t remaining_ms = 0;
  friend bool operator==(const Kept&, const Kept&) = default;
};
struct Changed {
  bool is_reset = false;
  Revision through = 0;
  std::vector<StoreEvent> events;
  friend bool operator==(const Changed&, const Changed&) = default;
};
struct Locked {
  Revision fencing = 0;
  friend bool operator==(const Locked&, const Locked&) = default;
};

using AnswerBody =
    std::variant<Failed, Done, Welcome, Written, Found, Listed, Swapped, Erased, Granted, Kept, Changed, Locked>;
struct Answer {
  std::uint64_t id = 0;
  AnswerBody body;
  friend bool operator==(const Answer&, const Answer&) = default;
};

/// Sizes are within the limits of store.hpp and above.
[[nodiscard]] Message encode(const Request& request);
[[nodiscard]] Message encode(const Answer& answer);
/// Nothing for any message that encode() does not make. Costs no more memory than a small multiple of the message.
[[nodiscard]] std::optional<Request> parse_request(const Message& message);
[[nodiscard]] std::optional<Answer> parse_answer(const Message& message);

}  // namespace concerto::embedded
