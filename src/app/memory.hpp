// Whether the work fits in memory, said before the work starts.
//
// Two looks: at the files, before anything is read, and at the shapes, before training. Both err on the low side, so
// that what would fit is not refused.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

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

/// Bytes of host memory that training takes: factor tables, `copies` kept copies of them, and what the backend of this
/// name works in. A backend on a GPU keeps its tables there: on the host are the copies alone.
[[nodiscard]] std::uint64_t predict_training_bytes(const MemoryShape& shape, unsigned copies, std::string_view backend);

/// Bytes of host memory that a rank of several takes beyond that: its share of the entries of both orientations, if
/// shares are equal, with offsets of all rows, and the rows of both tables on their way; for sgd the entries once more,
/// by parts of the items (train/sharded.hpp).
[[nodiscard]] std::uint64_t predict_share_bytes(const MemoryShape& shape, std::uint32_t ranks);

/// And what a level but strong takes beyond that: the states of both tables twice on the host and once in the backend,
/// for sgd deltas to the items, and the rank's share of the entries once more.
[[nodiscard]] std::uint64_t predict_asynchronous_bytes(const MemoryShape& shape, std::uint32_t ranks);

/// A rank's samples for the consistency index, as many as it may come to hold.
[[nodiscard]] std::uint64_t predict_sampling_bytes(const MemoryShape& shape);

/// Error{kOutOfMemory} saying need, have and remedy when `more_bytes` beyond what the process holds now do not fit.
void require_memory(std::uint64_t more_bytes, const MemoryBudget& budget, const std::string& what,
                    const std::string& remedy);

/// "" where `need_bytes` fit in what a GPU has free; else one sentence saying need, have and what is too much.
[[nodiscard]] std::string device_shortage(std::uint64_t need_bytes, std::uint64_t free_bytes, const std::string& what);

/// "1.5 GiB", "12 MiB".
[[nodiscard]] std::string bytes_text(std::uint64_t bytes);

}  // namespace concerto
