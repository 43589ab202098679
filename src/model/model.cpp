// Reading model directories: the manifest first, then every length before memory is taken for it, then every byte.
// Writing them is in model_writer.cpp.
#include "concerto/model/model.hpp"

#include <algorithm>
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
#include "model_files.hpp"

namespace concerto {
namespace {

namespace fs = std::filesystem;

using model::FileRecord;
using model::kItemFiles;
using model::kUserFiles;
using model::Manifest;
using model::SideNames;

/// Checksums of the chunks of two tables of as many rows as there can be take half of it.
constexpr std::uintmax_t kMostManifestBytes = std::uintmax_t{1} << 29;

/// The mapped files of a model that is being loaded.
class Loader {
 public:
  Loader(fs::path folder, Manifest manifest) : folder_(std::move(folder)), manifest_(std::move(manifest)) {}

  void check_file_list() const {
    std::vector<std::string_view> expected;
    for (const SideNames* side : {&kUserFiles, &kItemFiles}) {
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

  [[nodiscard]] FactorTable table(const SideNames& names, RowIndex rows) const {
    const TableShape shape{.rows = rows, .rank = manifest_.rank, .biases = manifest_.objective.biases};
    const std::uint64_t row_bytes = std::uint64_t{shape.rank} * sizeof(float);
    const MappedFile factors = open(names.factors, rows * row_bytes);
    const MappedFile biases = shape.biases ? open(names.biases, rows * sizeof(float)) : MappedFile();
    FactorTable result = allocated(shape);
    verify(
        names.factors, factors,
        [&](std::span<const std::byte> piece, std::uint64_t offset) {
          // Pieces are whole rows: their length was checked, and that of the file.
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

  [[nodiscard]] IdMap ids(const SideNames& names, RowIndex rows) const {
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

  /// Compares the checksum of each piece and hands its bytes on. `unit`: bytes of a row, 1 for other files.
  void verify(std::string_view name, const MappedFile& file, const Piece& piece, std::uint64_t unit) const {
    const FileRecord& listed = record(name);
    const std::uint64_t step = listed.piece_bytes == 0 ? std::max<std::uint64_t>(listed.bytes, 1) : listed.piece_bytes;
    const std::uint64_t pieces = listed.piece_bytes == 0 ? 1 : (listed.bytes + step - 1) / step;
    if (listed.checksums.size() != pieces || (listed.piece_bytes != 0 && step % unit != 0)) {
      corrupt(model::kManifestName, fmt::format("lists {} pieces of {} bytes of {}, which do not fit its {} bytes",
                                                listed.checksums.size(), listed.piece_bytes, name, listed.bytes));
    }
    for (std::uint64_t k = 0; k < pieces; ++k) {
      const std::uint64_t offset = k * step;
      const auto bytes = file.bytes().subspan(offset, std::min<std::uint64_t>(step, listed.bytes - offset));
      if (checksum(bytes) != listed.checksums[k]) {
        corrupt(name, pieces == 1
                          ? "was altered: its checksum does not match the manifest"
                          : fmt::format("was altered: the checksum of rows {} to {} does not match the manifest",
                                        offset / unit, (offset + bytes.size()) / unit));
      }
      piece(bytes, offset);
    }
  }

  void check_finite(const SideNames& names, const FactorTable& table) const {
    for (RowIndex row = 0; row < table.rows(); ++row) {
      if (!model::all_finite(table.row(row))) corrupt(names.factors, fmt::format("row {} is not finite", row));
    }
    if (!model::all_finite(table.biases())) corrupt(names.biases, "a bias is not finite");
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

}  // namespace

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
