// A trained model, and the directory it is kept in.
//
// A model directory holds manifest.json (format version, shapes, objective, training configuration and metrics as JSON
// text, every file's length and checksums), user_factors.bin and item_factors.bin (raw little-endian fp32, rows x rank,
// no padding, memory-mappable), user_biases.bin and item_biases.bin where the model has biases, user_ids.bin and
// item_ids.bin. Files of rows have a checksum for each chunk of rows, so that parts of them can be written and verified
// apart. It is written under a temporary name, fsynced and renamed; loading verifies every length and checksum.
#pragma once

#include <filesystem>
#include <string>

#include "concerto/data/id_map.hpp"
#include "concerto/model/factors.hpp"
#include "concerto/model/objective.hpp"

namespace concerto {

struct Model {
  Objective objective;
  FactorTable users;
  FactorTable items;
  IdMap user_ids;
  IdMap item_ids;
  bool values_ignored = false;  ///< trained with every value taken as 1: histories are read the same way
  float lowest_value = 0.0F;    ///< range of training values, for clipping
  float highest_value = 0.0F;
  std::string config_json;   ///< the configuration in full; "{}" if unknown
  std::string metrics_json;  ///< final metrics; "{}" if none
};

/// Error{kBadInput} unless a model may be written to `path`: nothing is there, an empty directory, or a model directory
/// into which nobody has put anything else.
void check_model_target(const std::filesystem::path& path);

/// Writes the directory atomically, replacing a model that stands there. Error{kIo}, or Error{kBadInput} as above.
void save_model(const Model& model, const std::filesystem::path& path);

/// Loads and verifies. Error{kCorrupt} names the file, what is wrong with it and, of a damaged piece, its rows;
/// Error{kBadInput} if there is no model.
[[nodiscard]] Model load_model(const std::filesystem::path& path);

/// Is there a model directory at `path` (a manifest is there)?
[[nodiscard]] bool is_model(const std::filesystem::path& path);

/// The manifest as text, verified only as JSON of a known version; cheap, for `inspect`.
[[nodiscard]] std::string read_manifest(const std::filesystem::path& path);

enum class ExportFormat { kNpy, kSafetensors, kText };

/// Writes the factors for other programs, rows in ascending order of ids: npy and text into the directory `path`
/// (users.npy, items.npy, user_biases.npy, ..., user_ids.txt, item_ids.txt; text lines are `id v1 v2 ...`), safetensors
/// into the file `path` with ids beside it. Atomic.
void export_model(const Model& model, ExportFormat format, const std::filesystem::path& path);

}  // namespace concerto
