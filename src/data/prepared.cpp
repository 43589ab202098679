// Data sets to and from prepared directories: writing one, mapping it whole, opening it for shares of it. What is in
// the files is said in prepared_header.hpp.
#include <optional>

#include "concerto/base/checksum.hpp"
#include "concerto/base/error.hpp"
#include "concerto/data/dataset.hpp"
#include "concerto/data/partition.hpp"

#include "prepared_directory.hpp"
#include "prepared_header.hpp"

namespace concerto {

/// What an opened data set reads from: row lengths at once, id maps when they are asked for, entries each time.
class OpenedData {
 public:
  explicit OpenedData(std::shared_ptr<const PreparedDirectory> files)
      : files_(std::move(files)), by_user_(files_->by_user()), by_item_(files_->by_item()) {}

  [[nodiscard]] const PreparedDirectory::Matrix& matrix(Side side) const noexcept {
    return side == Side::kUsers ? by_user_ : by_item_;
  }
  [[nodiscard]] CompressedMatrix rows(Side side, std::span<const RowRange> rows, bool with_values) const {
    return files_->rows(matrix(side), rows, with_values);
  }
  [[nodiscard]] const IdMap& ids(Side side) const {
    std::optional<IdMap>& map = side == Side::kUsers ? users_ : items_;
    if (!map) map = files_->ids(side);
    return *map;
  }

 private:
  std::shared_ptr<const PreparedDirectory> files_;
  PreparedDirectory::Matrix by_user_;
  PreparedDirectory::Matrix by_item_;
  mutable std::optional<IdMap> users_;
  mutable std::optional<IdMap> items_;
};

namespace {

namespace fs = std::filesystem;

using prepared::FileRecord;
using prepared::Header;

static_assert(sizeof(UnknownEntry) == 12 && std::is_trivially_copyable_v<UnknownEntry>, "stored as it is");

void write_file_to(const fs::path& path, std::span<const std::byte> bytes) {
  OutputFile file(path);
  file.write(bytes);
  file.finish();
}

/// Writes files into a directory and remembers what it wrote.
class Writer {
 public:
  explicit Writer(fs::path directory) : directory_(std::move(directory)) {}

  void write(const std::string& name, std::span<const std::byte> bytes) {
    write_file_to(directory_ / name, bytes);
    files_.push_back({name, bytes.size(), {checksum(bytes)}});
  }
  void write_matrix(const std::string& name, const CompressedRows& matrix) {
    write(name + ".offsets", std::as_bytes(matrix.offsets));
    write_entries(name + ".columns", std::as_bytes(matrix.columns), matrix);
    if (!matrix.values.empty()) write_entries(name + ".values", std::as_bytes(matrix.values), matrix);
  }
  [[nodiscard]] std::vector<FileRecord> release() noexcept { return std::move(files_); }

 private:
  /// Four bytes an entry, a piece a chunk of rows.
  void write_entries(const std::string& name, std::span<const std::byte> bytes, const RowLengths& lengths) {
    write_file_to(directory_ / name, bytes);
    FileRecord record{name, bytes.size(), {}};
    for (RowIndex chunk = 0; chunk < chunk_count(lengths.rows); ++chunk) {
      const RowRange rows = chunk_range(lengths.rows, chunk);
      const EntryIndex from = lengths.offsets[rows.begin];
      record.checksums.push_back(checksum(bytes.subspan(from * 4, (lengths.offsets[rows.end] - from) * 4)));
    }
    files_.push_back(std::move(record));
  }

  fs::path directory_;
  std::vector<FileRecord> files_;
};

/// The held-out part of an opened directory.
class PreparedHeldOut : public SharedHeldOut::Source {
 public:
  explicit PreparedHeldOut(std::shared_ptr<const PreparedDirectory> directory)
      : directory_(std::move(directory)), known_(directory_->test()), unknown_(directory_->test_unknown()) {}

  [[nodiscard]] HeldOutFacts facts() const override {
    HeldOut without_known;
    without_known.unknown = unknown_;
    HeldOutFacts facts = without_known.facts();
    facts.users = known_.lengths.rows;
    facts.items = known_.column_count;
    facts.known_entries = known_.lengths.entries();
    facts.unknown_users = directory_->header().test_unknown_users;
    facts.has_known_user = facts.has_known_user || facts.known_entries > 0;
    return facts;
  }
  [[nodiscard]] HeldOut of_users(std::span<const RowRange> users, bool takes_unknown, bool with_values) const override {
    return {directory_->rows(known_, users, with_values), unknown_of_users(unknown_, users, takes_unknown), 0};
  }

 private:
  std::shared_ptr<const PreparedDirectory> directory_;
  PreparedDirectory::Matrix known_;
  std::vector<UnknownEntry> unknown_;
};

}  // namespace

void Dataset::write(const fs::path& directory, const HeldOut* held_out, const MergeFacts& merging) const {
  StagedDirectory staged(directory, prepared::kFileNames);
  Writer writer(staged.path());
  Header header;
  header.users = users().size();
  header.items = items().size();
  header.entries = entries();
  header.has_values = has_values();
  header.merging = merging;
  writer.write("users.ids", users().serialize());
  writer.write("items.ids", items().serialize());
  writer.write_matrix("by_user", by_user());
  writer.write_matrix("by_item", by_item());
  if (held_out != nullptr) {
    header.has_test = true;
    header.test_entries = held_out->known.columns.size();
    header.test_has_values = !held_out->known.values.empty();
    header.test_unknown = held_out->unknown.size();
    header.test_unknown_users = held_out->unknown_users;
    writer.write_matrix("test", held_out->known.view());
    writer.write("test.unknown", std::as_bytes(std::span(held_out->unknown)));
  }
  header.files = writer.release();
  write_file_to(staged.path() / prepared::kHeaderName, prepared::header_image(header));
  staged.commit();
}

void Dataset::check_target(const fs::path& directory) {
  require_replaceable(directory, prepared::kFileNames);
}

bool Dataset::is_prepared(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path / prepared::kHeaderName, ignored);
}

Dataset::Prepared Dataset::map(const fs::path& directory, ThreadPool& pool) {
  const PreparedDirectory files(directory, pool);
  const Header& header = files.header();
  Dataset dataset;
  dataset.users_ = files.ids(Side::kUsers);
  dataset.items_ = files.ids(Side::kItems);
  dataset.by_user_view_ = files.map(files.by_user(), dataset.mappings_);
  dataset.by_item_view_ = files.map(files.by_item(), dataset.mappings_);
  dataset.has_values_ = !dataset.by_user_view_.values.empty();
  std::optional<HeldOut> held_out;
  if (header.has_test) {
    const std::vector<RowRange> all =
        header.users > 0 ? std::vector{RowRange{0, header.users}} : std::vector<RowRange>{};
    held_out = HeldOut{files.rows(files.test(), all, true), files.test_unknown(), header.test_unknown_users};
  }
  return {std::move(dataset), std::move(held_out), header.merging};
}

Dataset::Opened Dataset::open(const fs::path& directory, ThreadPool& pool) {
  const auto files = std::make_shared<const PreparedDirectory>(directory, pool);
  const Header& header = files->header();
  Dataset dataset;
  const auto source = std::make_shared<const OpenedData>(files);
  const auto lengths_alone = [](const PreparedDirectory::Matrix& matrix) {
    return CompressedRows{matrix.lengths.rows, matrix.column_count, matrix.lengths.offsets, {}, {}};
  };
  dataset.by_user_view_ = lengths_alone(source->matrix(Side::kUsers));
  dataset.by_item_view_ = lengths_alone(source->matrix(Side::kItems));
  dataset.has_values_ = header.has_values && header.entries > 0;
  dataset.source_ = source;
  SharedHeldOut held_out;
  if (header.has_test) held_out = SharedHeldOut(std::make_shared<const PreparedHeldOut>(files));
  return {std::move(dataset), std::move(held_out), header.merging, files->digest()};
}

const IdMap& Dataset::ids(Side side) const {
  return source_->ids(side);
}

CompressedMatrix Dataset::rows(Side side, std::span<const RowRange> rows) const {
  if (source_ != nullptr) return source_->rows(side, rows, has_values_);
  return keep_rows(side == Side::kUsers ? by_user_view_ : by_item_view_, rows);
}

}  // namespace concerto
