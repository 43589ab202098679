// Reading ratings from files. The readers parse in parallel and report the first bad line of the file, whatever the
// number of threads.
//
// Formats (format = "auto" recognizes each): text `user item [value [time]]` separated by tab, comma, space or `::`,
// with or without a header; adjacency lines `user item item ...`; MatrixMarket coordinate files; LIBMF text
// (`user item value`, indices from 0); SciPy sparse `.npz` in CSR form; each text form also as .gz or .zst. MovieLens
// files are known by name (u.data, ratings.dat, ratings.csv).
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "concerto/base/ids.hpp"
#include "concerto/base/thread_pool.hpp"
#include "concerto/data/id_map.hpp"
#include "concerto/data/ratings.hpp"

namespace concerto {

enum class FileFormat { kAuto, kText, kAdjacency, kMatrixMarket, kLibmf, kNpz };

struct ReadOptions {
  FileFormat format = FileFormat::kAuto;
  bool keep_times = false;           ///< Keep the fourth column (Error{kBadInput} where the file has none).
  bool need_values = false;          ///< Error{kBadInput} where the file has no value column.
  std::uint64_t declared_users = 0;  ///< 0: not declared. An index id at or above it is an error.
  std::uint64_t declared_items = 0;
  std::size_t chunk_bytes = std::size_t{1} << 18U;  ///< How much text a thread parses at a time; no effect on results.
};

/// One column of ids as read, before rows are assigned: numbers where every id is a 32-bit non-negative integer below
/// kNoRow ("007" is 7), else positions in `labels` (then "007" and "7" are two). LIBMF, MatrixMarket and npz files have
/// indices only, here always counted from 0; anything else in them is an error.
struct IdColumn {
  std::vector<std::uint32_t> values;
  bool is_label = false;
  std::vector<std::string> labels;  ///< distinct, ascending byte order; values index into it
};

/// What a file says, in its own ids and its own order.
struct RawRatings {
  IdColumn users;
  IdColumn items;
  std::vector<float> values;        ///< empty: the file has no values
  std::vector<std::int64_t> times;  ///< empty unless kept
  RowIndex shape_users = 0;         ///< from MatrixMarket and npz headers, else 0
  RowIndex shape_items = 0;
  std::uint64_t lines = 0;
  std::uint64_t bytes = 0;  ///< uncompressed
  FileFormat format = FileFormat::kText;
  [[nodiscard]] EntryIndex size() const noexcept { return users.values.size(); }
};

/// Reads a whole file. Errors name file, line and field: Error{kBadInput} for what the file says (too few columns, not
/// a number, NaN or infinity, an id that overflows, no entries at all), Error{kCorrupt} for a truncated or damaged
/// .gz, .zst or .npz, Error{kIo} for the rest. Memory: 12 bytes an entry (8 without values) plus fixed buffers.
[[nodiscard]] RawRatings read_ratings(const std::filesystem::path& path, const ReadOptions& options, ThreadPool& pool);

/// The text names of formats: "auto", "text", "adjacency", "matrix_market", "libmf", "npz".
[[nodiscard]] const std::vector<std::string>& file_format_names();

}  // namespace concerto
