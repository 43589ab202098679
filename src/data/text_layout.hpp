// What kind of text a file holds, told from its beginning: format, delimiter, columns, and the lines before the
// entries.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "concerto/data/reader.hpp"

#include "text_fields.hpp"

namespace concerto::data {

/// How much of a file is looked at.
inline constexpr std::size_t kSampleBytes = std::size_t{1} << 18U;

struct TextLayout {
  FileFormat format = FileFormat::kText;
  Delimiter delimiter = Delimiter::kSpace;
  unsigned columns = 0;          ///< fields of every line; 0 in adjacency lines
  bool has_values = false;       ///< in the third column
  unsigned time_column = 0;      ///< counted from 0; 0: there is none
  bool is_index = false;         ///< ids are indices, never labels
  std::uint32_t index_base = 0;  ///< the id of the first row
  std::uint64_t skip_bytes = 0;  ///< before the first line of entries
  std::uint64_t skip_lines = 0;
  RowIndex shape_users = 0;  ///< MatrixMarket
  RowIndex shape_items = 0;
  std::optional<std::uint64_t> declared_entries;
};

/// `sample` is the beginning of the text of `file`, all of it if `is_whole`. Throws Error{kBadInput} for a file without
/// entries, for binary data, and for what can never be a line of ratings; Error{kUnsupported} for MatrixMarket files of
/// another kind than general coordinate ones.
[[nodiscard]] TextLayout detect_layout(std::string_view sample, bool is_whole, const std::filesystem::path& file,
                                       const ReadOptions& options);

/// The MatrixMarket banner, comments and size line.
[[nodiscard]] TextLayout matrix_market_layout(std::string_view sample, const std::string& file);
[[nodiscard]] bool is_matrix_market(std::string_view sample) noexcept;

}  // namespace concerto::data
