// The files of a prepared directory, read a piece at a time: nothing leaves here that was not verified.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "concerto/base/file.hpp"
#include "concerto/base/thread_pool.hpp"
#include "concerto/data/dataset.hpp"

#include "prepared_header.hpp"

namespace concerto {

class PreparedDirectory {
 public:
  /// Reads the header and looks at the lengths of all files it lists: Error{kCorrupt} naming the one that is missing or
  /// has another. `pool` outlives this.
  PreparedDirectory(std::filesystem::path folder, ThreadPool& pool);

  [[nodiscard]] const prepared::Header& header() const noexcept { return header_; }
  /// The checksum of the header's bytes.
  [[nodiscard]] std::uint64_t digest() const noexcept { return digest_; }

  /// One orientation of training ("by_user", "by_item") or the known entries of the held-out part ("test").
  struct Matrix {
    std::string name;
    RowIndex column_count = 0;
    bool has_values = false;
    MappedFile offsets;
    RowLengths lengths;
  };
  /// Its row lengths, verified: they ascend from 0 to the number of entries.
  [[nodiscard]] Matrix by_user() const;
  [[nodiscard]] Matrix by_item() const;
  [[nodiscard]] Matrix test() const;

  /// Entries of these rows, ascending ranges of whole chunks; the other rows are empty, and nothing is read of them.
  [[nodiscard]] CompressedMatrix rows(const Matrix& matrix, std::span<const RowRange> rows, bool with_values) const;
  /// All entries, mapped; what keeps them mapped goes to the end of `mappings`.
  [[nodiscard]] CompressedRows map(Matrix matrix, std::vector<MappedFile>& mappings) const;
  [[nodiscard]] std::vector<UnknownEntry> test_unknown() const;
  [[nodiscard]] IdMap ids(Side side) const;

 private:
  [[nodiscard]] const prepared::FileRecord& record(const std::string& name) const;
  [[nodiscard]] std::string path(const std::string& name) const { return (folder_ / name).string(); }
  [[nodiscard]] MappedFile map_piece(const std::string& name) const;
  [[nodiscard]] Matrix open_matrix(const std::string& name, Side rows, EntryIndex entries, bool has_values) const;
  void require_pieces(const Matrix& matrix, const std::string& name) const;
  void verify_chunk(const Matrix& matrix, RowIndex chunk, std::span<const RowIndex> columns,
                    std::span<const float> values) const;

  std::filesystem::path folder_;
  ThreadPool& pool_;
  prepared::Header header_;
  std::uint64_t digest_ = 0;
};

}  // namespace concerto
