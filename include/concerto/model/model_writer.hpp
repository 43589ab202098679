// Writing a model directory, by one process or by several that each write their own rows. save_model (model.hpp) is
// these parts for one process; who of many writes what is decided elsewhere.
//
// The files of rows (factors and biases of users and items) have a checksum for each chunk of rows
// (data/partition.hpp): ranks own whole chunks, so each knows the checksums of what it wrote, and the manifest does not
// show who wrote what.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "concerto/base/file.hpp"
#include "concerto/base/ids.hpp"
#include "concerto/model/factors.hpp"
#include "concerto/model/model.hpp"

namespace concerto {

/// The shapes of both tables of a model.
struct ModelShape {
  TableShape users;
  TableShape items;
  [[nodiscard]] const TableShape& of(Side side) const noexcept { return side == Side::kUsers ? users : items; }
};

/// The checksums of all pieces, in one array that ranks can exchange parts of: users' factors by chunk, then users'
/// biases if there are any, then items' likewise.
class PieceChecksums {
 public:
  explicit PieceChecksums(const ModelShape& shape);

  /// A run of the array: a file's checksums for the chunks of `rows`, which are whole chunks.
  struct Run {
    std::size_t begin = 0;
    std::size_t count = 0;
  };
  [[nodiscard]] Run factors(Side side, RowRange rows) const;
  [[nodiscard]] Run biases(Side side, RowRange rows) const;  ///< of a model with biases
  [[nodiscard]] std::span<std::uint64_t> all() noexcept { return checksums_; }
  [[nodiscard]] std::span<const std::uint64_t> of(Run run) const {
    return std::span(checksums_).subspan(run.begin, run.count);
  }

 private:
  ModelShape shape_;
  std::vector<std::uint64_t> checksums_;
};

/// The files of rows in a folder, written in place from any process that sees it.
class ModelRowFiles {
 public:
  enum class Open : std::uint8_t { kMake, kExisting };
  /// Makes them, of full length, or opens those that another process made. Error{kIo}.
  ModelRowFiles(const std::filesystem::path& folder, const ModelShape& shape, Open open);

  /// Writes rows of one side, whole chunks, and puts their checksums into their places. Error{kBadInput} naming the
  /// file where a factor or bias is not finite; Error{kIo}. A buffer of one chunk.
  void write(Side side, RowRange rows, const FactorTable& table, PieceChecksums& checksums);
  /// fsync and close.
  void finish();

 private:
  struct SideFiles {
    PlacedFile factors;
    std::vector<PlacedFile> biases;  ///< one, or none
  };
  [[nodiscard]] static SideFiles open_side(const std::filesystem::path& folder, const ModelShape& shape, Side side,
                                           Open open);
  ModelShape shape_;
  SideFiles users_;
  SideFiles items_;
};

/// A model directory on its way: a temporary one beside `target` that takes its place whole, or is removed with this.
/// What a killed process left of one is removed when the next begins.
class StagedModel {
 public:
  /// Error{kBadInput} where `target` may not be replaced (check_model_target).
  explicit StagedModel(const std::filesystem::path& target);
  [[nodiscard]] const std::filesystem::path& folder() const noexcept { return directory_.path(); }
  /// All rows are written. Writes id maps and the manifest, and puts the directory in place. Nothing but a model's
  /// files may be in the folder any more.
  void commit(const Model& model, const PieceChecksums& checksums);

 private:
  StagedDirectory directory_;
};

}  // namespace concerto
