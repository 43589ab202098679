// Ranked lists as text, for `recommend` and `similar`.
#pragma once

#include <ostream>
#include <span>
#include <string>
#include <vector>

#include "concerto/data/id_map.hpp"

namespace concerto {

enum class ListFormat { kTsv, kJson };

/// Error{kBadInput} unless "tsv" or "json".
[[nodiscard]] ListFormat parse_list_format(const std::string& name);

/// Writes one list: lines `query<TAB>item<TAB>score`, or one JSON object a line. Ends at kNoRow. `offset` is added to
/// every score.
void write_list(std::ostream& out, ListFormat format, const std::string& query, std::span<const RowIndex> rows,
                std::span<const float> scores, double offset, const IdMap& items);

/// The rows of ids as the user names them: each word is an id, or, where it is none, ids separated by commas.
/// Error{kBadInput} naming the ids that are unknown.
[[nodiscard]] std::vector<RowIndex> rows_of(const std::vector<std::string>& words, const IdMap& map,
                                            const std::string& option);

}  // namespace concerto
