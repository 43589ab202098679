// Writing model directories (see model_writer.hpp). Factors are written without padding.
#include "concerto/model/model_writer.hpp"

#include <bit>
#include <string>
#include <utility>

#include "concerto/base/check.hpp"
#include "concerto/base/checksum.hpp"
#include "concerto/base/error.hpp"
#include "concerto/data/partition.hpp"

#include "manifest.hpp"
#include "model_files.hpp"

namespace concerto {
namespace {

namespace fs = std::filesystem;

using model::FileRecord;
using model::Manifest;
using model::names_of;

std::uint64_t row_bytes(const TableShape& shape) {
  return std::uint64_t{shape.rank} * sizeof(float);
}

/// The record of a file of rows.
FileRecord row_file(std::string_view name, RowIndex rows, std::uint64_t bytes_of_row,
                    std::span<const std::uint64_t> checksums) {
  return {
      std::string(name), rows * bytes_of_row, chunk_rows(rows) * bytes_of_row, {checksums.begin(), checksums.end()}};
}

FileRecord write_whole(const fs::path& folder, std::string_view name, std::span<const std::byte> bytes) {
  OutputFile file(folder / name);
  file.write(bytes);
  file.finish();
  return {std::string(name), bytes.size(), 0, {checksum(bytes)}};
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

bool model::all_finite(std::span<const float> values) {
  constexpr std::uint32_t kExponent =
      0x7f800000;  // all ones in infinities and NaNs; without a branch this is vector code
  bool any = false;
  for (const float value : values) any |= (std::bit_cast<std::uint32_t>(value) & kExponent) == kExponent;
  return !any;
}

PieceChecksums::PieceChecksums(const ModelShape& shape) : shape_(shape) {
  std::size_t count = 0;
  for (const TableShape* table : {&shape_.users, &shape_.items}) {
    count += std::size_t{chunk_count(table->rows)} * (table->biases ? 2 : 1);
  }
  checksums_.resize(count);
}

PieceChecksums::Run PieceChecksums::factors(Side side, RowRange rows) const {
  const TableShape& table = shape_.of(side);
  const RowIndex size = chunk_rows(table.rows);
  CONCERTO_CHECK(rows.begin % size == 0 && (rows.end % size == 0 || rows.end == table.rows), "rows of whole chunks");
  Run run{rows.begin / size, rows.end / size + (rows.end % size != 0 ? 1U : 0U) - rows.begin / size};
  if (side == Side::kItems) run.begin += std::size_t{chunk_count(shape_.users.rows)} * (shape_.users.biases ? 2 : 1);
  return run;
}

PieceChecksums::Run PieceChecksums::biases(Side side, RowRange rows) const {
  CONCERTO_CHECK(shape_.of(side).biases, "a model without biases");
  Run run = factors(side, rows);
  run.begin += chunk_count(shape_.of(side).rows);
  return run;
}

ModelRowFiles::ModelRowFiles(const fs::path& folder, const ModelShape& shape, Open open)
    : shape_(shape),
      users_(open_side(folder, shape, Side::kUsers, open)),
      items_(open_side(folder, shape, Side::kItems, open)) {}

ModelRowFiles::SideFiles ModelRowFiles::open_side(const fs::path& folder, const ModelShape& shape, Side side,
                                                  Open open) {
  const TableShape& table = shape.of(side);
  const auto opened = [&](std::string_view name, std::uint64_t bytes_of_row) {
    return open == Open::kMake ? PlacedFile(folder / name, table.rows * bytes_of_row) : PlacedFile(folder / name);
  };
  SideFiles files{opened(names_of(side).factors, row_bytes(table)), {}};
  if (table.biases) files.biases.push_back(opened(names_of(side).biases, sizeof(float)));
  return files;
}

void ModelRowFiles::write(Side side, RowRange rows, const FactorTable& table, PieceChecksums& checksums) {
  const TableShape& shape = shape_.of(side);
  const SideFiles& files = side == Side::kUsers ? users_ : items_;
  const auto put = [&](const PlacedFile& file, std::string_view name, std::uint64_t offset,
                       std::span<const float> values, PieceChecksums::Run run) {
    if (!model::all_finite(values)) {
      throw Error(ErrorCode::kBadInput,
                  std::string(name == names_of(side).factors ? "the factors" : "the biases") +
                      " are not finite; the model is not written",
                  std::string(name));
    }
    file.write_at(offset, std::as_bytes(values));
    checksums.all()[run.begin] = checksum(std::as_bytes(values));
  };
  std::vector<float> packed;
  const RowIndex size = chunk_rows(shape.rows);
  for (RowIndex begin = rows.begin; begin < rows.end;) {
    const RowRange chunk = chunk_range(shape.rows, begin / size);
    packed.clear();
    for (RowIndex row = chunk.begin; row < chunk.end; ++row) {
      const std::span<const float> values = table.row(row);
      packed.insert(packed.end(), values.begin(), values.end());
    }
    put(files.factors, names_of(side).factors, chunk.begin * row_bytes(shape), packed, checksums.factors(side, chunk));
    if (shape.biases) {
      put(files.biases.front(), names_of(side).biases, std::uint64_t{chunk.begin} * sizeof(float),
          table.biases().subspan(chunk.begin, chunk.size()), checksums.biases(side, chunk));
    }
    begin = chunk.end;
  }
}

void ModelRowFiles::finish() {
  for (SideFiles* side : {&users_, &items_}) {
    side->factors.finish();
    for (PlacedFile& file : side->biases) file.finish();
  }
}

StagedModel::StagedModel(const fs::path& target) : directory_(target, model::kModelFiles) {}

void StagedModel::commit(const Model& model, const PieceChecksums& checksums) {
  check_shapes(model);
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
  for (const Side side : {Side::kUsers, Side::kItems}) {
    const TableShape& shape = side == Side::kUsers ? model.users.shape() : model.items.shape();
    const RowRange all{0, shape.rows};
    const IdMap& ids = side == Side::kUsers ? model.user_ids : model.item_ids;
    manifest.files.push_back(
        row_file(names_of(side).factors, shape.rows, row_bytes(shape), checksums.of(checksums.factors(side, all))));
    if (shape.biases) {
      manifest.files.push_back(
          row_file(names_of(side).biases, shape.rows, sizeof(float), checksums.of(checksums.biases(side, all))));
    }
    manifest.files.push_back(write_whole(folder(), names_of(side).ids, ids.serialize()));
  }
  OutputFile file(folder() / model::kManifestName);
  file.write(model::manifest_text(manifest));
  file.finish();
  directory_.commit();
}

void save_model(const Model& model, const fs::path& path) {
  check_shapes(model);
  StagedModel staged(path);
  const ModelShape shape{model.users.shape(), model.items.shape()};
  ModelRowFiles files(staged.folder(), shape, ModelRowFiles::Open::kMake);
  PieceChecksums checksums(shape);
  files.write(Side::kUsers, {0, shape.users.rows}, model.users, checksums);
  files.write(Side::kItems, {0, shape.items.rows}, model.items, checksums);
  files.finish();
  staged.commit(model, checksums);
}

void check_model_target(const fs::path& path) {
  require_replaceable(path, model::kModelFiles);
}

}  // namespace concerto
