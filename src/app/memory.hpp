// Whether the work fits in memory, said before the work starts.
//
// Two looks: at the files, before anything is read, and at the shapes, before training. Both err on the low side, so
// that what would fit is not refused.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "concerto/compute/backend.hpp"

namespace concerto {

struct MemoryBudget {
  std::uint64_t configured_bytes = 0;  ///< compute.memory_limit_bytes; 0: what the machine has
};

/// The least memory that reading this file and building its data set takes, from its size and its first lines.
[[nodiscard]] std::uint64_t predict_loading_bytes(const std::filesystem::path& file, bool use_values,
                                                  std::uint64_t declared_rows);

/// The bytes of a model directory: what a loaded model takes.
[[nodiscard]] std::uint64_t predict_model_bytes(const std::filesystem::path& directory);

/// Bytes of factor tables, their kept copies and working memory. `copies`: host copies of the tables.
[[nodiscard]] std::uint64_t predict_training_bytes(const MemoryShape& shape, unsigned copies);

/// Error{kOutOfMemory} saying need, have and remedy when `more_bytes` beyond what the process holds now do not fit.
void require_memory(std::uint64_t more_bytes, const MemoryBudget& budget, const std::string& what,
                    const std::string& remedy);

/// "1.5 GiB", "12 MiB".
[[nodiscard]] std::string bytes_text(std::uint64_t bytes);

}  // namespace concerto
