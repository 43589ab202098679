// Which keys, prefixes and values every store takes (store.hpp), so that all refuse the same ones in the same words.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "concerto/base/result.hpp"
#include "concerto/comm/store.hpp"

namespace concerto {

/// Why the key is refused; nothing: it is not.
[[nodiscard]] inline std::optional<Failure> refused_key(std::string_view key) {
  if (!key.empty() && key.size() <= kMaxStoreKey) return std::nullopt;
  return Failure{FailureKind::kRefused, "a key of " + std::to_string(key.size()) + " bytes; a store takes 1 to " +
                                            std::to_string(kMaxStoreKey)};
}

/// A prefix may be empty.
[[nodiscard]] inline std::optional<Failure> refused_prefix(std::string_view prefix) {
  return prefix.empty() ? std::nullopt : refused_key(prefix);
}

[[nodiscard]] inline std::optional<Failure> refused_entry(std::string_view key, std::string_view value) {
  if (value.size() <= kMaxStoreValue) return refused_key(key);
  return Failure{FailureKind::kRefused, "'" + std::string(key) + "': a value of " + std::to_string(value.size()) +
                                            " bytes; a store takes up to " + std::to_string(kMaxStoreValue)};
}

}  // namespace concerto
