// The header of a prepared directory: shapes, and every file's length and checksums. To bytes and back; it neither
// opens nor checks the other files.
//
// Files: prepared.bin (the header), users.ids and items.ids (IdMap images), by_user.* and by_item.* (offsets: u64,
// columns: u32, values: f32 where entries have values), and, with a held-out part, test.* (the same arrays) and
// test.unknown (entries of unknown users or items).
//
// Pieces. Columns and values have a checksum for the entries of each chunk of rows (data/partition.hpp), because whole
// chunks are what a rank owns: it reads exactly its own, however its blocks lie, and the list costs 16 bytes where the
// chunk's offsets alone take 512 or 8,192. The other files are read whole and are one piece.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "concerto/base/ids.hpp"
#include "concerto/data/dataset.hpp"

namespace concerto::prepared {

inline constexpr std::string_view kHeaderName = "prepared.bin";
inline constexpr std::array<std::string_view, 13> kFileNames = {
    kHeaderName,      "users.ids",       "items.ids",       "by_user.offsets", "by_user.columns",
    "by_user.values", "by_item.offsets", "by_item.columns", "by_item.values",  "test.offsets",
    "test.columns",   "test.values",     "test.unknown"};

struct FileRecord {
  std::string name;
  std::uint64_t bytes = 0;
  std::vector<std::uint64_t> checksums;  ///< of its pieces, in order
};

struct Header {
  RowIndex users = 0;
  RowIndex items = 0;
  EntryIndex entries = 0;
  bool has_values = false;
  bool has_test = false;
  EntryIndex test_entries = 0;
  bool test_has_values = false;
  std::uint64_t test_unknown = 0;
  std::uint64_t test_unknown_users = 0;
  MergeFacts merging;
  std::vector<FileRecord> files;
};

[[nodiscard]] std::vector<std::byte> header_image(const Header& header);

/// Error naming `where`: kCorrupt for what is no header, truncated or altered; kUnsupported for another version.
[[nodiscard]] Header parse_header(std::span<const std::byte> bytes, const std::string& where);

}  // namespace concerto::prepared
