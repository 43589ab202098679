// The known name nearest to a misspelt one, by edit distance.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace concerto::config {

/// Insertions, deletions, replacements and swaps of neighbours that turn `a` into `b` (each counted once, no part
/// edited twice). O(|a| |b|); names longer than 64 bytes are compared by their first 64.
[[nodiscard]] std::size_t edit_distance(std::string_view a, std::string_view b);

/// The word of `known` nearest to `word`; the earliest of equals. `known` is not empty.
[[nodiscard]] std::string_view nearest_word(std::string_view word, std::span<const std::string_view> known);

/// The same for dotted keys: the last part weighs most, so that a key in the wrong table is found in the right one.
[[nodiscard]] std::string_view nearest_key(std::string_view name, std::span<const std::string_view> known);

}  // namespace concerto::config
