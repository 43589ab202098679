// The manifest of a model directory: what it says, to text and back. It neither opens nor checks the other files.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "concerto/base/ids.hpp"
#include "concerto/model/objective.hpp"

namespace concerto::model {

inline constexpr std::string_view kManifestName = "manifest.json";
inline constexpr std::uint32_t kHighestRank = 65'536;

struct FileRecord {
  std::string name;
  std::uint64_t bytes = 0;
  std::uint64_t piece_bytes = 0;         ///< of all pieces but the last; 0: the file is one piece
  std::vector<std::uint64_t> checksums;  ///< of the pieces, in order
};

struct Manifest {
  RowIndex users = 0;
  RowIndex items = 0;
  std::uint32_t rank = 0;
  Objective objective;
  bool values_ignored = false;
  float lowest_value = 0.0F;
  float highest_value = 0.0F;
  std::string config_json;
  std::string metrics_json;
  std::vector<FileRecord> files;
};

/// The text of a manifest, its own checksum at its end.
[[nodiscard]] std::string manifest_text(const Manifest& manifest);

/// The manifest that a text says. Error naming `where`: kCorrupt for what is not JSON, altered, or out of bounds;
/// kBadInput for the manifest of something else; kUnsupported for a later format version. Version 1 had one
/// piece a file.
[[nodiscard]] Manifest parse_manifest(std::string_view text, std::string_view where);

/// Checks only that the text is the JSON of a model's manifest in a known version; the same errors.
void check_manifest_version(std::string_view text, std::string_view where);

}  // namespace concerto::model
