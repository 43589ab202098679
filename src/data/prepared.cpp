// The prepared form of a data set: a directory of raw little-endian arrays that can be mapped, and a header that knows
// every file's length and checksum.
//
// Files: prepared.bin (the header), users.ids and items.ids (IdMap images), by_user.* and by_item.* (offsets: u64,
// columns: u32, values: f32 where entries have values), and, with a held-out part, test.* (the same arrays) and
// test.unknown (entries of unknown users or items).
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include <fmt/format.h>

#include "concerto/base/checksum.hpp"
#include "concerto/base/error.hpp"
#include "concerto/data/dataset.hpp"

#include "byte_image.hpp"

namespace concerto {
namespace {

namespace fs = std::filesystem;

constexpr const char* kHeaderName = "prepared.bin";
constexpr std::array<std::string_view, 13> kFileNames = {
    kHeaderName,      "users.ids",       "items.ids",       "by_user.offsets", "by_user.columns",
    "by_user.values", "by_item.offsets", "by_item.columns", "by_item.values",  "test.offsets",
    "test.columns",   "test.values",     "test.unknown"};
constexpr std::uint64_t kMagic = 0x3150455250434e43;  // "CNCPREP1"
constexpr std::uint32_t kVersion = 2;                 // 2: how duplicates were merged
constexpr std::size_t kNameBytes = 24;

static_assert(sizeof(UnknownEntry) == 12 && std::is_trivially_copyable_v<UnknownEntry>, "stored as it is");

struct FileEntry {
  std::array<char, kNameBytes> name{};
  std::uint64_t length = 0;
  std::uint64_t checksum = 0;
  [[nodiscard]] std::string text() const { return {name.data(), ::strnlen(name.data(), name.size())}; }
};
static_assert(std::is_trivially_copyable_v<FileEntry>);

struct Header {
  RowIndex users = 0;
  RowIndex items = 0;
  EntryIndex entries = 0;
  std::uint32_t has_values = 0;
  std::uint32_t has_test = 0;
  EntryIndex test_entries = 0;
  std::uint32_t test_has_values = 0;
  std::uint64_t test_unknown = 0;
  std::uint64_t test_unknown_users = 0;
  std::uint32_t duplicates = 0;
  EntryIndex merged = 0;
  std::vector<FileEntry> files;
};

[[nodiscard]] std::vector<std::byte> header_image(const Header& header) {
  ImageWriter image;
  image.value(kMagic);
  image.value(kVersion);
  image.value(header.users);
  image.value(header.items);
  image.value(header.entries);
  image.value(header.has_values);
  image.value(header.has_test);
  image.value(header.test_entries);
  image.value(header.test_has_values);
  image.value(header.test_unknown);
  image.value(header.test_unknown_users);
  image.value(header.duplicates);
  image.value(header.merged);
  image.value(static_cast<std::uint32_t>(header.files.size()));
  image.array<FileEntry>(header.files);
  image.value(checksum(image.bytes()));
  return image.take();
}

[[nodiscard]] Header parse_header(std::span<const std::byte> bytes, const std::string& where) {
  ImageReader whole(bytes, where);
  if (whole.value<std::uint64_t>() != kMagic) whole.fail("is not the header of a prepared data set");
  if (bytes.size() < 2 * sizeof(std::uint64_t)) whole.fail("is truncated");
  const std::span<const std::byte> content = bytes.first(bytes.size() - sizeof(std::uint64_t));
  std::uint64_t stored = 0;
  std::memcpy(&stored, content.data() + content.size(), sizeof(stored));
  if (checksum(content) != stored) whole.fail("is truncated or altered: its checksum differs");

  ImageReader image(content.subspan(sizeof(kMagic)), where);
  const auto version = image.value<std::uint32_t>();
  if (version != kVersion) {
    throw Error(ErrorCode::kUnsupported,
                fmt::format("has format version {}, this program reads {}; prepare the data again", version, kVersion),
                where);
  }
  Header header;
  header.users = image.value<RowIndex>();
  header.items = image.value<RowIndex>();
  header.entries = image.value<EntryIndex>();
  header.has_values = image.value<std::uint32_t>();
  header.has_test = image.value<std::uint32_t>();
  header.test_entries = image.value<EntryIndex>();
  header.test_has_values = image.value<std::uint32_t>();
  header.test_unknown = image.value<std::uint64_t>();
  header.test_unknown_users = image.value<std::uint64_t>();
  header.duplicates = image.value<std::uint32_t>();
  if (header.duplicates > static_cast<std::uint32_t>(Duplicates::kError))
    image.fail("has an unknown rule of duplicates");
  header.merged = image.value<EntryIndex>();
  header.files = image.array<FileEntry>(image.value<std::uint32_t>());
  image.expect_end();
  return header;
}

/// Writes files into a directory and remembers what it wrote.
class Writer {
 public:
  explicit Writer(fs::path directory) : directory_(std::move(directory)) {}

  void write(const std::string& name, std::span<const std::byte> bytes) {
    FileEntry entry;
    name.copy(entry.name.data(), entry.name.size() - 1);
    entry.length = bytes.size();
    entry.checksum = checksum(bytes);
    write_unlisted(name, bytes);
    files_.push_back(entry);
  }
  void write_matrix(const std::string& name, const CompressedRows& matrix) {
    write(name + ".offsets", std::as_bytes(matrix.offsets));
    write(name + ".columns", std::as_bytes(matrix.columns));
    if (!matrix.values.empty()) write(name + ".values", std::as_bytes(matrix.values));
  }
  void write_unlisted(const std::string& name, std::span<const std::byte> bytes) const {
    OutputFile file(directory_ / name);
    file.write(bytes);
    file.finish();
  }
  [[nodiscard]] const std::vector<FileEntry>& files() const noexcept { return files_; }

 private:
  fs::path directory_;
  std::vector<FileEntry> files_;
};

[[noreturn]] void corrupt(const fs::path& path, std::string message) {
  throw Error(ErrorCode::kCorrupt, std::move(message), path.string());
}

/// The files of a prepared directory, mapped, with lengths and checksums verified.
class Files {
 public:
  Files(fs::path directory, const Header& header, ThreadPool& pool) : directory_(std::move(directory)) {
    mappings_.resize(header.files.size());
    pool.parallel_for(header.files.size(), 1, [&](std::size_t k, std::size_t, unsigned) {
      const FileEntry& entry = header.files[k];
      const fs::path path = directory_ / entry.text();
      if (!fs::exists(path)) corrupt(path, "is missing");
      MappedFile mapping(path);
      if (mapping.bytes().size() != entry.length) {
        corrupt(path, fmt::format("is truncated or altered: {} bytes where {} were written", mapping.bytes().size(),
                                  entry.length));
      }
      if (checksum(mapping.bytes()) != entry.checksum) corrupt(path, "is altered: its checksum differs");
      mappings_[k] = std::move(mapping);
    });
    for (const FileEntry& entry : header.files) names_.push_back(entry.text());
  }

  [[nodiscard]] fs::path path(const std::string& name) const { return directory_ / name; }
  [[nodiscard]] std::span<const std::byte> bytes(const std::string& name) const {
    const auto place = std::ranges::find(names_, name);
    if (place == names_.end()) corrupt(directory_ / kHeaderName, "does not list " + name);
    return mappings_[static_cast<std::size_t>(place - names_.begin())].bytes();
  }
  template <class T>
  [[nodiscard]] std::span<const T> array(const std::string& name, std::uint64_t count) const {
    const std::span<const std::byte> raw = bytes(name);
    if (raw.size() / sizeof(T) != count || raw.size() % sizeof(T) != 0) {
      corrupt(path(name), fmt::format("has {} bytes, not {} values of {}", raw.size(), count, sizeof(T)));
    }
    return {reinterpret_cast<const T*>(raw.data()), count};
  }
  [[nodiscard]] std::vector<MappedFile> release() noexcept { return std::move(mappings_); }

 private:
  fs::path directory_;
  std::vector<MappedFile> mappings_;
  std::vector<std::string> names_;
};

/// Checks that the offsets ascend from 0 to the number of entries, before anything is read through them.
void verify_offsets(const CompressedRows& matrix, const fs::path& path) {
  if (matrix.offsets.front() != 0 || matrix.offsets.back() != matrix.entries() ||
      !std::ranges::is_sorted(matrix.offsets)) {
    corrupt(path, "has offsets that do not ascend from 0 to the number of entries");
  }
}

void verify_rows(const CompressedRows& matrix, const fs::path& columns, const fs::path& values, ThreadPool& pool) {
  pool.parallel_for(matrix.rows, 1024, [&](std::size_t begin, std::size_t end, unsigned) {
    for (std::size_t row = begin; row < end; ++row) {
      const std::span<const RowIndex> own = matrix.row_columns(static_cast<RowIndex>(row));
      if (!own.empty() && (!std::ranges::is_sorted(own) || own.back() >= matrix.column_count)) {
        corrupt(columns, fmt::format("has columns out of order or range in row {}", row));
      }
      if (!std::ranges::all_of(matrix.row_values(static_cast<RowIndex>(row)),
                               [](float v) { return std::isfinite(v); })) {
        corrupt(values, fmt::format("has a value that is not finite in row {}", row));
      }
    }
  });
}

[[nodiscard]] CompressedRows view_matrix(const Files& files, const std::string& name, RowIndex rows,
                                         RowIndex column_count, EntryIndex entries, bool has_values, ThreadPool& pool) {
  CompressedRows matrix;
  matrix.rows = rows;
  matrix.column_count = column_count;
  matrix.offsets = files.array<EntryIndex>(name + ".offsets", std::uint64_t{rows} + 1);
  matrix.columns = files.array<RowIndex>(name + ".columns", entries);
  if (has_values) matrix.values = files.array<float>(name + ".values", entries);
  verify_offsets(matrix, files.path(name + ".offsets"));
  verify_rows(matrix, files.path(name + ".columns"), files.path(name + ".values"), pool);
  return matrix;
}

[[nodiscard]] IdMap read_ids(const Files& files, const std::string& name, RowIndex rows) {
  IdMap map = IdMap::deserialize(files.bytes(name), files.path(name).string());
  if (map.size() != rows) corrupt(files.path(name), fmt::format("has {} ids, not {}", map.size(), rows));
  return map;
}

template <class T>
[[nodiscard]] std::vector<T> copy(std::span<const T> values) {
  return {values.begin(), values.end()};
}

[[nodiscard]] HeldOut read_test(const Files& files, const Header& header, ThreadPool& pool) {
  const CompressedRows known =
      view_matrix(files, "test", header.users, header.items, header.test_entries, header.test_has_values != 0, pool);
  HeldOut test;
  test.known = {known.rows, known.column_count, copy(known.offsets), copy(known.columns), copy(known.values)};
  test.unknown = copy(files.array<UnknownEntry>("test.unknown", header.test_unknown));
  test.unknown_users = header.test_unknown_users;
  for (const UnknownEntry& entry : test.unknown) {
    const bool is_sound = (entry.user == kNoRow || entry.user < header.users) &&
                          (entry.item == kNoRow || entry.item < header.items) &&
                          (entry.user == kNoRow || entry.item == kNoRow) && std::isfinite(entry.value);
    if (!is_sound) corrupt(files.path("test.unknown"), "has an entry that is out of range");
  }
  return test;
}

}  // namespace

void Dataset::write(const fs::path& directory, const HeldOut* held_out, const MergeFacts& merging) const {
  StagedDirectory staged(directory, kFileNames);
  Writer writer(staged.path());
  Header header;
  header.users = users_.size();
  header.items = items_.size();
  header.entries = entries();
  header.has_values = by_user_view_.values.empty() ? 0 : 1;
  header.duplicates = static_cast<std::uint32_t>(merging.duplicates);
  header.merged = merging.merged;
  writer.write("users.ids", users_.serialize());
  writer.write("items.ids", items_.serialize());
  writer.write_matrix("by_user", by_user_view_);
  writer.write_matrix("by_item", by_item_view_);
  if (held_out != nullptr) {
    header.has_test = 1;
    header.test_entries = held_out->known.columns.size();
    header.test_has_values = held_out->known.values.empty() ? 0 : 1;
    header.test_unknown = held_out->unknown.size();
    header.test_unknown_users = held_out->unknown_users;
    writer.write_matrix("test", held_out->known.view());
    writer.write("test.unknown", std::as_bytes(std::span(held_out->unknown)));
  }
  header.files = writer.files();
  writer.write_unlisted(kHeaderName, header_image(header));
  staged.commit();
}

void Dataset::check_target(const fs::path& directory) {
  require_replaceable(directory, kFileNames);
}

bool Dataset::is_prepared(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path / kHeaderName, ignored);
}

Dataset::Prepared Dataset::map(const fs::path& directory, ThreadPool& pool) {
  const fs::path header_path = directory / kHeaderName;
  const MappedFile header_file(header_path);
  const Header header = parse_header(header_file.bytes(), header_path.string());
  Files files(directory, header, pool);

  Dataset dataset;
  dataset.users_ = read_ids(files, "users.ids", header.users);
  dataset.items_ = read_ids(files, "items.ids", header.items);
  const bool has_values = header.has_values != 0;
  dataset.by_user_view_ = view_matrix(files, "by_user", header.users, header.items, header.entries, has_values, pool);
  dataset.by_item_view_ = view_matrix(files, "by_item", header.items, header.users, header.entries, has_values, pool);
  std::optional<HeldOut> held_out;
  if (header.has_test != 0) held_out = read_test(files, header, pool);
  dataset.mappings_ = files.release();
  return {std::move(dataset), std::move(held_out), {static_cast<Duplicates>(header.duplicates), header.merged}};
}

}  // namespace concerto
