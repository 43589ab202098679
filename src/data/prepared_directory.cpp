// Reading and verifying a prepared directory (see prepared_directory.hpp).
#include "prepared_directory.hpp"

#include <algorithm>
#include <cmath>
#include <system_error>

#include <fmt/format.h>

#include "concerto/base/check.hpp"
#include "concerto/base/checksum.hpp"
#include "concerto/base/error.hpp"
#include "concerto/data/partition.hpp"

namespace concerto {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void corrupt(const std::string& path, std::string message) {
  throw Error(ErrorCode::kCorrupt, std::move(message), path);
}

/// The length is looked at before anything is read, so that no damage of a length reads as another error.
void require_length(const fs::path& path, std::uint64_t bytes) {
  std::error_code error;
  if (!fs::is_regular_file(path, error)) corrupt(path.string(), "is missing");
  const std::uint64_t found = fs::file_size(path, error);
  if (error) throw Error(ErrorCode::kIo, "cannot be looked at: " + error.message(), path.string());
  if (found != bytes) {
    corrupt(path.string(), fmt::format("is truncated or altered: {} bytes where {} were written", found, bytes));
  }
}

std::vector<RowIndex> chunks_of(RowIndex rows, std::span<const RowRange> ranges) {
  std::vector<RowIndex> chunks;
  for (const RowRange range : ranges) {
    for (RowIndex begin = range.begin; begin < range.end;) {
      const RowIndex chunk = begin / chunk_rows(rows);
      const RowRange whole = chunk_range(rows, chunk);
      CONCERTO_CHECK(whole.begin == begin && whole.end <= range.end, "prepared entries are read in whole chunks");
      chunks.push_back(chunk);
      begin = whole.end;
    }
  }
  return chunks;
}

}  // namespace

PreparedDirectory::PreparedDirectory(fs::path folder, ThreadPool& pool) : folder_(std::move(folder)), pool_(pool) {
  const std::string where = path(std::string(prepared::kHeaderName));
  const MappedFile file(where);
  header_ = prepared::parse_header(file.bytes(), where);
  digest_ = checksum(file.bytes());
  for (const prepared::FileRecord& one : header_.files) require_length(folder_ / one.name, one.bytes);
}

const prepared::FileRecord& PreparedDirectory::record(const std::string& name) const {
  const auto found = std::ranges::find(header_.files, name, &prepared::FileRecord::name);
  if (found == header_.files.end()) corrupt(path(std::string(prepared::kHeaderName)), "does not list " + name);
  return *found;
}

/// A file that is one piece.
MappedFile PreparedDirectory::map_piece(const std::string& name) const {
  const prepared::FileRecord& listed = record(name);
  MappedFile file(path(name));
  if (file.bytes().size() != listed.bytes) corrupt(path(name), "is truncated or altered: its length has changed");
  if (listed.checksums.size() != 1 || checksum(file.bytes()) != listed.checksums.front()) {
    corrupt(path(name), "is altered: its checksum differs");
  }
  return file;
}

PreparedDirectory::Matrix PreparedDirectory::by_user() const {
  return open_matrix("by_user", Side::kUsers, header_.entries, header_.has_values);
}
PreparedDirectory::Matrix PreparedDirectory::by_item() const {
  return open_matrix("by_item", Side::kItems, header_.entries, header_.has_values);
}
PreparedDirectory::Matrix PreparedDirectory::test() const {
  return open_matrix("test", Side::kUsers, header_.test_entries, header_.test_has_values);
}

PreparedDirectory::Matrix PreparedDirectory::open_matrix(const std::string& name, Side side, EntryIndex entries,
                                                         bool has_values) const {
  const std::string offsets = name + ".offsets";
  const RowIndex rows = side == Side::kUsers ? header_.users : header_.items;
  Matrix matrix;
  matrix.name = name;
  matrix.column_count = side == Side::kUsers ? header_.items : header_.users;
  matrix.has_values = has_values;
  matrix.offsets = map_piece(offsets);
  const std::span<const std::byte> raw = matrix.offsets.bytes();
  if (raw.size() != (std::uint64_t{rows} + 1) * sizeof(EntryIndex)) {
    corrupt(path(offsets), fmt::format("has {} bytes, not {} offsets", raw.size(), std::uint64_t{rows} + 1));
  }
  matrix.lengths = {rows, {reinterpret_cast<const EntryIndex*>(raw.data()), std::size_t{rows} + 1}};
  if (matrix.lengths.offsets.front() != 0 || matrix.lengths.offsets.back() != entries ||
      !std::ranges::is_sorted(matrix.lengths.offsets)) {
    corrupt(path(offsets), "has offsets that do not ascend from 0 to the number of entries");
  }
  require_pieces(matrix, name + ".columns");
  if (has_values) require_pieces(matrix, name + ".values");
  return matrix;
}

/// Four bytes an entry, and a checksum a chunk.
void PreparedDirectory::require_pieces(const Matrix& matrix, const std::string& name) const {
  const prepared::FileRecord& listed = record(name);
  const EntryIndex entries = matrix.lengths.entries();
  if (listed.bytes / 4 != entries || listed.bytes % 4 != 0) {
    corrupt(path(name), fmt::format("has {} bytes, not {} values of 4", listed.bytes, entries));
  }
  if (listed.checksums.size() != chunk_count(matrix.lengths.rows)) {
    corrupt(path(std::string(prepared::kHeaderName)),
            fmt::format("lists {} pieces of {}, which has {}", listed.checksums.size(), name,
                        chunk_count(matrix.lengths.rows)));
  }
}

/// Compares checksums and checks what a row promises. `columns` and `values` are the chunk's.
void PreparedDirectory::verify_chunk(const Matrix& matrix, RowIndex chunk, std::span<const RowIndex> columns,
                                     std::span<const float> values) const {
  const RowRange rows = chunk_range(matrix.lengths.rows, chunk);
  const auto compare = [&](const std::string& name, std::span<const std::byte> bytes) {
    if (checksum(bytes) == record(name).checksums[chunk]) return;
    corrupt(path(name), fmt::format("is altered: the checksum of rows {} to {} differs", rows.begin, rows.end));
  };
  compare(matrix.name + ".columns", std::as_bytes(columns));
  if (!values.empty()) compare(matrix.name + ".values", std::as_bytes(values));
  const EntryIndex first = matrix.lengths.offsets[rows.begin];
  for (RowIndex row = rows.begin; row < rows.end; ++row) {
    const std::span<const RowIndex> own =
        columns.subspan(matrix.lengths.offsets[row] - first, matrix.lengths.count(row));
    if (!own.empty() && (!std::ranges::is_sorted(own) || own.back() >= matrix.column_count)) {
      corrupt(path(matrix.name + ".columns"), fmt::format("has columns out of order or range in row {}", row));
    }
  }
  const auto bad = std::ranges::find_if(values, [](float v) { return !std::isfinite(v); });
  if (bad != values.end()) {
    corrupt(path(matrix.name + ".values"),
            fmt::format("has a value that is not finite in rows {} to {}", rows.begin, rows.end));
  }
}

CompressedMatrix PreparedDirectory::rows(const Matrix& matrix, std::span<const RowRange> rows, bool with_values) const {
  const bool reads_values = with_values && matrix.has_values;
  CompressedMatrix kept{matrix.lengths.rows, matrix.column_count, kept_offsets(matrix.lengths, rows), {}, {}};
  kept.columns.resize(kept.offsets.back());
  if (reads_values) kept.values.resize(kept.offsets.back());
  const InputFile columns(path(matrix.name + ".columns"));
  std::optional<InputFile> values;
  if (reads_values) values.emplace(path(matrix.name + ".values"));
  const std::vector<RowIndex> chunks = chunks_of(matrix.lengths.rows, rows);
  pool_.parallel_for(chunks.size(), 1, [&](std::size_t k, std::size_t, unsigned) {
    const RowRange chunk = chunk_range(matrix.lengths.rows, chunks[k]);
    const EntryIndex from = matrix.lengths.offsets[chunk.begin];
    const EntryIndex to = kept.offsets[chunk.begin];
    const EntryIndex count = matrix.lengths.offsets[chunk.end] - from;
    const std::span<RowIndex> own_columns = std::span(kept.columns).subspan(to, count);
    columns.read_at(from * sizeof(RowIndex), std::as_writable_bytes(own_columns));
    std::span<float> own_values;
    if (values) {
      own_values = std::span(kept.values).subspan(to, count);
      values->read_at(from * sizeof(float), std::as_writable_bytes(own_values));
    }
    verify_chunk(matrix, chunks[k], own_columns, own_values);
  });
  return kept;
}

CompressedRows PreparedDirectory::map(Matrix matrix, std::vector<MappedFile>& mappings) const {
  const EntryIndex entries = matrix.lengths.entries();
  const auto mapped = [&](const std::string& name) {
    MappedFile file(path(name));
    if (file.bytes().size() != entries * 4) corrupt(path(name), "is truncated or altered: its length has changed");
    return file;
  };
  CompressedRows all;
  all.rows = matrix.lengths.rows;
  all.column_count = matrix.column_count;
  all.offsets = matrix.lengths.offsets;
  MappedFile columns = mapped(matrix.name + ".columns");
  all.columns = {reinterpret_cast<const RowIndex*>(columns.bytes().data()), entries};
  mappings.push_back(std::move(columns));
  if (matrix.has_values) {
    MappedFile values = mapped(matrix.name + ".values");
    all.values = {reinterpret_cast<const float*>(values.bytes().data()), entries};
    mappings.push_back(std::move(values));
  }
  pool_.parallel_for(chunk_count(all.rows), 1, [&](std::size_t k, std::size_t, unsigned) {
    const RowRange chunk = chunk_range(all.rows, static_cast<RowIndex>(k));
    const EntryIndex from = all.offsets[chunk.begin];
    const EntryIndex count = all.offsets[chunk.end] - from;
    verify_chunk(matrix, static_cast<RowIndex>(k), all.columns.subspan(from, count),
                 all.values.empty() ? all.values : all.values.subspan(from, count));
  });
  mappings.push_back(std::move(matrix.offsets));
  return all;
}

std::vector<UnknownEntry> PreparedDirectory::test_unknown() const {
  const std::string name = "test.unknown";
  const MappedFile file = map_piece(name);
  if (file.bytes().size() / sizeof(UnknownEntry) != header_.test_unknown ||
      file.bytes().size() % sizeof(UnknownEntry) != 0) {
    corrupt(path(name), fmt::format("has {} bytes, not {} entries", file.bytes().size(), header_.test_unknown));
  }
  std::vector<UnknownEntry> entries(header_.test_unknown);
  std::ranges::copy(file.bytes(), std::as_writable_bytes(std::span(entries)).begin());
  for (const UnknownEntry& entry : entries) {
    const bool is_sound = (entry.user == kNoRow || entry.user < header_.users) &&
                          (entry.item == kNoRow || entry.item < header_.items) &&
                          (entry.user == kNoRow || entry.item == kNoRow) && std::isfinite(entry.value);
    if (!is_sound) corrupt(path(name), "has an entry that is out of range");
  }
  return entries;
}

IdMap PreparedDirectory::ids(Side side) const {
  const std::string name = side == Side::kUsers ? "users.ids" : "items.ids";
  const RowIndex rows = side == Side::kUsers ? header_.users : header_.items;
  const MappedFile file = map_piece(name);
  IdMap map = IdMap::deserialize(file.bytes(), path(name));
  if (map.size() != rows) corrupt(path(name), fmt::format("has {} ids, not {}", map.size(), rows));
  return map;
}

}  // namespace concerto
