// Model directories. Factors are written without padding, in one pass that also computes their checksum; loading checks
// the manifest first, then every length before memory is taken for it, then every byte.
#include "concerto/model/model.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <functional>
#include <new>
#include <utility>

#include <fmt/format.h>

#include "concerto/base/check.hpp"
#include "concerto/base/checksum.hpp"
#include "concerto/base/error.hpp"
#include "concerto/base/file.hpp"

#include "manifest.hpp"

namespace concerto {
namespace {

namespace fs = std::filesystem;

using model::FileRecord;
using model::Manifest;

constexpr std::size_t kBufferBytes = std::size_t{1} << 20;
constexpr std::uintmax_t kMostManifestBytes = std::uintmax_t{1} << 26;

/// One side of a model: its tables, and the names of its files.
struct SideFiles {
  std::string_view factors;
  std::string_view biases;
  std::string_view ids;
};
constexpr SideFiles kUserFiles{"user_factors.bin", "user_biases.bin", "user_ids.bin"};
constexpr SideFiles kItemFiles{"item_factors.bin", "item_biases.bin", "item_ids.bin"};
constexpr std::array<std::string_view, 7> kModelFiles = {kUserFiles.factors,  kUserFiles.biases, kUserFiles.ids,
                                                         kItemFiles.factors,  kItemFiles.biases, kItemFiles.ids,
                                                         model::kManifestName};

/// A file of the directory being written, with its length and checksum.
class RecordedFile {
 public:
  RecordedFile(const fs::path& folder, std::string_view name)
      : file_(folder / name), record_{.name = std::string(name), .bytes = 0, .checksum = {}} {}

  void write(std::span<const std::byte> bytes) {
    file_.write(bytes);
    checksum_.update(bytes);
    record_.bytes += bytes.size();
  }

  [[nodiscard]] FileRecord finish() {
    file_.finish();
    record_.checksum = checksum_text(checksum_.digest());
    return record_;
  }

 private:
  OutputFile file_;
  ChecksumStream checksum_;
  FileRecord record_;
};

[[nodiscard]] bool all_finite(std::span<const float> values) {
  constexpr std::uint32_t kExponent =
      0x7f800000;  // all ones in infinities and NaNs; without a branch this is vector code
  bool any = false;
  for (const float value : values) any |= (std::bit_cast<std::uint32_t>(value) & kExponent) == kExponent;
  return !any;
}

FileRecord write_rows(const fs::path& folder, std::string_view name, const FactorTable& table) {
  RecordedFile file(folder, name);
  std::vector<float> buffer;
  const std::size_t rows_at_once = std::max<std::size_t>(1, kBufferBytes / sizeof(float) / table.rank());
  for (std::size_t begin = 0; begin < table.rows(); begin += rows_at_once) {
    const std::size_t end = std::min<std::size_t>(table.rows(), begin + rows_at_once);
    buffer.clear();
    for (std::size_t row = begin; row < end; ++row) {
      const std::span<const float> values = table.row(static_cast<RowIndex>(row));
      buffer.insert(buffer.end(), values.begin(), values.end());
    }
    if (!all_finite(buffer)) {
      throw Error(ErrorCode::kBadInput, "the factors are not finite; the model is not written", std::string(name));
    }
    file.write(std::as_bytes(std::span(std::as_const(buffer))));
  }
  return file.finish();
}

FileRecord write_whole(const fs::path& folder, std::string_view name, std::span<const std::byte> bytes) {
  RecordedFile file(folder, name);
  file.write(bytes);
  return file.finish();
}

void write_side(const fs::path& folder, const SideFiles& names, const FactorTable& table, const IdMap& ids,
                std::vector<FileRecord>& records) {
  records.push_back(write_rows(folder, names.factors, table));
  if (table.shape().biases) {
    if (!all_finite(table.biases())) {
      throw Error(ErrorCode::kBadInput, "the biases are not finite; the model is not written",
                  std::string(names.biases));
    }
    records.push_back(write_whole(folder, names.biases, std::as_bytes(table.biases())));
  }
  records.push_back(write_whole(folder, names.ids, ids.serialize()));
}

/// The mapped files of a model that is being loaded.
class Loader {
 public:
  Loader(fs::path folder, Manifest manifest) : folder_(std::move(folder)), manifest_(std::move(manifest)) {}

  void check_file_list() const {
    std::vector<std::string_view> expected;
    for (const SideFiles* side : {&kUserFiles, &kItemFiles}) {
      expected.push_back(side->factors);
      expected.push_back(side->ids);
      if (manifest_.objective.biases) expected.push_back(side->biases);
    }
    for (const FileRecord& file : manifest_.files) {
      if (std::erase(expected, file.name) == 0) {
        corrupt(model::kManifestName, fmt::format("lists {}, which is no file of such a model", file.name));
      }
    }
    if (!expected.empty()) corrupt(model::kManifestName, fmt::format("does not list {}", expected.front()));
  }

  [[nodiscard]] FactorTable table(const SideFiles& names, RowIndex rows) const {
    const TableShape shape{.rows = rows, .rank = manifest_.rank, .biases = manifest_.objective.biases};
    const std::uint64_t row_bytes = std::uint64_t{shape.rank} * sizeof(float);
    const MappedFile factors = open(names.factors, rows * row_bytes);
    const MappedFile biases = shape.biases ? open(names.biases, rows * sizeof(float)) : MappedFile();
    FactorTable result = allocated(shape);
    verify(
        names.factors, factors,
        [&](std::span<const std::byte> piece, std::uint64_t offset) {
          // Pieces are whole rows but for the last, whose length the file's length has already fixed.
          for (std::uint64_t at = 0; at < piece.size(); at += row_bytes) {
            const std::span<float> row = result.row(static_cast<RowIndex>((offset + at) / row_bytes));
            std::memcpy(row.data(), piece.data() + at, row_bytes);
          }
        },
        row_bytes);
    if (shape.biases) {
      verify(
          names.biases, biases,
          [&](std::span<const std::byte> piece, std::uint64_t offset) {
            std::memcpy(reinterpret_cast<std::byte*>(result.biases().data()) + offset, piece.data(), piece.size());
          },
          sizeof(float));
    }
    check_finite(names, result);
    return result;
  }

  [[nodiscard]] IdMap ids(const SideFiles& names, RowIndex rows) const {
    const MappedFile file = open(names.ids, record(names.ids).bytes);
    verify(
        names.ids, file, [](std::span<const std::byte>, std::uint64_t) {}, 1);
    IdMap map = IdMap::deserialize(file.bytes(), (folder_ / names.ids).string());
    if (map.size() != rows) {
      corrupt(names.ids, fmt::format("has {} ids where the model has {} rows", map.size(), rows));
    }
    return map;
  }

 private:
  using Piece = std::function<void(std::span<const std::byte> piece, std::uint64_t offset)>;

  [[nodiscard]] FactorTable allocated(const TableShape& shape) const {
    try {
      return FactorTable(shape);
    } catch (const std::bad_alloc&) {
      throw Error(ErrorCode::kOutOfMemory, fmt::format("a table needs {} bytes of memory", FactorTable::bytes(shape)),
                  folder_.string());
    }
  }

  [[noreturn]] void corrupt(std::string_view name, const std::string& problem) const {
    throw Error(ErrorCode::kCorrupt, problem, (folder_ / name).string());
  }

  [[nodiscard]] const FileRecord& record(std::string_view name) const {
    const auto found = std::find_if(manifest_.files.begin(), manifest_.files.end(),
                                    [&](const FileRecord& f) { return f.name == name; });
    CONCERTO_CHECK(found != manifest_.files.end(), "check_file_list comes first");
    return *found;
  }

  /// A file whose length is what the shape and the manifest say.
  [[nodiscard]] MappedFile open(std::string_view name, std::uint64_t expected_bytes) const {
    const fs::path path = folder_ / name;
    if (!fs::exists(path)) corrupt(name, "is missing");
    if (!fs::is_regular_file(path)) corrupt(name, "is not a file");
    MappedFile file(path);
    const std::uint64_t listed = record(name).bytes;
    if (listed != expected_bytes) {
      corrupt(model::kManifestName,
              fmt::format("{} bytes of {} do not fit the model's shape, which takes {}", listed, name, expected_bytes));
    }
    if (file.bytes().size() != listed) {
      corrupt(name, fmt::format("has {} bytes where the manifest says {}", file.bytes().size(), listed));
    }
    return file;
  }

  /// Hands every byte to `piece` in runs of whole units and compares the checksum.
  void verify(std::string_view name, const MappedFile& file, const Piece& piece, std::uint64_t unit) const {
    const std::uint64_t step = std::max<std::uint64_t>(1, kBufferBytes / unit) * unit;
    ChecksumStream stream;
    for (std::uint64_t offset = 0; offset < file.bytes().size(); offset += step) {
      const auto bytes = file.bytes().subspan(offset, std::min<std::uint64_t>(step, file.bytes().size() - offset));
      stream.update(bytes);
      piece(bytes, offset);
    }
    if (checksum_text(stream.digest()) != record(name).checksum) {
      corrupt(name, "was altered: its checksum does not match the manifest");
    }
  }

  void check_finite(const SideFiles& names, const FactorTable& table) const {
    for (RowIndex row = 0; row < table.rows(); ++row) {
      if (!all_finite(table.row(row))) corrupt(names.factors, fmt::format("row {} is not finite", row));
    }
    if (!all_finite(table.biases())) corrupt(names.biases, "a bias is not finite");
  }

  fs::path folder_;
  Manifest manifest_;
};

std::string manifest_of(const fs::path& path) {
  const fs::path file = path / model::kManifestName;
  std::error_code error;
  if (!fs::is_directory(path, error)) {
    throw Error(ErrorCode::kBadInput, fs::exists(path, error) ? "is not a model directory" : "there is no such model",
                path.string());
  }
  if (!fs::is_regular_file(file, error)) {
    throw Error(ErrorCode::kBadInput, "is not a model directory: it has no manifest.json", path.string());
  }
  if (fs::file_size(file, error) > kMostManifestBytes || error) {
    throw Error(ErrorCode::kCorrupt, "is too long for a manifest", file.string());
  }
  return read_file(file);
}

void check_shapes(const Model& model) {
  const TableShape& users = model.users.shape();
  const TableShape& items = model.items.shape();
  CONCERTO_CHECK(users.rank == items.rank && users.rank > 0, "both tables of a model have the same rank");
  CONCERTO_CHECK(users.biases == model.objective.biases && items.biases == model.objective.biases,
                 "tables have biases where the objective has them");
  CONCERTO_CHECK(model.user_ids.size() == users.rows && model.item_ids.size() == items.rows,
                 "every row of a model has an id");
}

}  // namespace

void save_model(const Model& model, const fs::path& path) {
  check_shapes(model);
  check_model_target(path);
  StagedDirectory directory(path, kModelFiles);
  Manifest manifest{.users = model.users.rows(),
                    .items = model.items.rows(),
                    .rank = model.users.rank(),
                    .objective = model.objective,
                    .values_ignored = model.values_ignored,
                    .lowest_value = model.lowest_value,
                    .highest_value = model.highest_value,
                    .config_json = model.config_json,
                    .metrics_json = model.metrics_json,
                    .files = {}};
  write_side(directory.path(), kUserFiles, model.users, model.user_ids, manifest.files);
  write_side(directory.path(), kItemFiles, model.items, model.item_ids, manifest.files);
  OutputFile file(directory.path() / model::kManifestName);
  file.write(model::manifest_text(manifest));
  file.finish();
  directory.commit();
}

void check_model_target(const fs::path& path) {
  require_replaceable(path, kModelFiles);
}

Model load_model(const fs::path& path) {
  const std::string text = manifest_of(path);
  const Manifest manifest = model::parse_manifest(text, (path / model::kManifestName).string());
  const Loader loader(path, manifest);
  loader.check_file_list();
  Model result;
  result.objective = manifest.objective;
  result.values_ignored = manifest.values_ignored;
  result.lowest_value = manifest.lowest_value;
  result.highest_value = manifest.highest_value;
  result.config_json = manifest.config_json;
  result.metrics_json = manifest.metrics_json;
  result.users = loader.table(kUserFiles, manifest.users);
  result.items = loader.table(kItemFiles, manifest.items);
  result.user_ids = loader.ids(kUserFiles, manifest.users);
  result.item_ids = loader.ids(kItemFiles, manifest.items);
  return result;
}

bool is_model(const fs::path& path) {
  try {
    (void)read_manifest(path);
  } catch (const Error& error) {
    // A model that is damaged or too new is still a model: loading it says what is wrong.
    return error.code() == ErrorCode::kCorrupt || error.code() == ErrorCode::kUnsupported;
  }
  return true;
}

std::string read_manifest(const fs::path& path) {
  std::string text = manifest_of(path);
  model::check_manifest_version(text, (path / model::kManifestName).string());
  return text;
}

}  // namespace concerto
