// Who a process of a job is, as its certificate says: concerto://JOB/launcher/I, concerto://JOB/rank/R/INCARNATION.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "concerto/base/ids.hpp"

namespace concerto {

enum class Role : std::uint8_t { kLauncher, kRank };

struct Identity {
  std::string job;  ///< letters, digits, '-' and '_', 1 to 64 of them
  Role role = Role::kRank;
  std::uint32_t index = 0;      ///< of the launcher, or the rank
  Incarnation incarnation = 0;  ///< ranks only
  friend bool operator==(const Identity&, const Identity&) = default;
};

/// The URI that stands in the certificate as its subject alternative name.
[[nodiscard]] std::string to_uri(const Identity& identity);
/// Nothing for anything but exactly what to_uri writes.
[[nodiscard]] std::optional<Identity> parse_identity(std::string_view uri);
/// "launcher 0", "rank 3": for messages.
[[nodiscard]] std::string to_string(const Identity& identity);

/// May this process write the key? A rank writes only under "ranks/R/" and its own heartbeat and progress;
/// membership, terms and configuration belong to launchers. Everybody of the job may read.
[[nodiscard]] bool may_write(const Identity& who, std::string_view key);

/// What a process shows others: PEM texts. The key never leaves memory or a file that only its user can read.
struct Credentials {
  std::string certificate;
  std::string private_key;
  std::string authority;  ///< the job's certificate authority, the only one trusted
};

}  // namespace concerto
