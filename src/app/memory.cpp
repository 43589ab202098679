// Prediction of memory from file sizes and shapes.
#include "memory.hpp"

#include <algorithm>
#include <array>
#include <fstream>

#include <fmt/format.h>

#include "concerto/base/error.hpp"
#include "concerto/compute/backends.hpp"
#include "concerto/data/dataset.hpp"
#include "concerto/train/sharded.hpp"

#include "consistency.hpp"
#include "machine.hpp"

namespace concerto {
namespace {

/// Real compressed files take 2.5 to 4 bytes an entry; the high end keeps the prediction low.
constexpr std::uint64_t kCompressedBytesPerEntry = 4;

bool is_text(const std::filesystem::path& file) {
  const std::string extension = file.extension().string();
  return extension != ".gz" && extension != ".zst" && extension != ".npz";
}

/// Entries of a text file, from the lines in its first part: lines of up to four fields are one entry each, longer ones
/// are adjacency lines.
std::uint64_t entries_in_text(const std::filesystem::path& file, std::uint64_t size) {
  std::array<char, 1 << 16> sample{};
  std::ifstream stream(file, std::ios::binary);
  stream.read(sample.data(), sample.size());
  const std::string_view text(sample.data(), static_cast<std::size_t>(stream.gcount()));
  if (text.empty()) return 0;
  std::uint64_t entries = 0;
  std::uint64_t fields = 0;
  bool in_field = false;
  for (const char letter : text) {
    const bool separates = letter == ' ' || letter == '\t' || letter == ',' || letter == ':' || letter == '\r';
    if (letter == '\n') {
      entries += fields <= 4 ? 1 : fields - 1;
      fields = 0;
      in_field = false;
    } else if (separates) {
      in_field = false;
    } else if (!in_field) {
      in_field = true;
      ++fields;
    }
  }
  return static_cast<std::uint64_t>(static_cast<double>(entries) * static_cast<double>(size) /
                                    static_cast<double>(text.size()));
}

std::uint64_t directory_bytes(const std::filesystem::path& directory) {
  std::uint64_t bytes = 0;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    if (entry.is_regular_file()) bytes += entry.file_size();
  }
  return bytes;
}

}  // namespace

std::uint64_t predict_loading_bytes(const std::filesystem::path& file, bool use_values, std::uint64_t declared_rows) {
  if (Dataset::is_prepared(file)) return directory_bytes(file);
  const std::uint64_t size = std::filesystem::file_size(file);
  const std::uint64_t entries = is_text(file) ? entries_in_text(file, size) : size / kCompressedBytesPerEntry;
  // Triples and one orientation live together at the peak; afterwards both orientations: 4 bytes a column, 4 a value.
  const std::uint64_t bytes_per_entry = use_values ? 20 : 12;
  constexpr std::uint64_t kBytesPerRow = 20;  // of a declared row: its id both ways, its place, its offset
  return entries * bytes_per_entry + declared_rows * kBytesPerRow;
}

std::uint64_t predict_model_bytes(const std::filesystem::path& directory) {
  return directory_bytes(directory);
}

std::uint64_t predict_training_bytes(const MemoryShape& shape, unsigned copies, std::string_view backend) {
  const std::uint64_t tables = FactorTable::bytes({shape.users, shape.rank, shape.biases}) +
                               FactorTable::bytes({shape.items, shape.rank, shape.biases});
  if (backend == "cuda") return tables * copies + cuda_host_bytes(shape);
  return tables * (1 + copies) + cpu_working_bytes(shape);
}

std::uint64_t predict_share_bytes(const MemoryShape& shape, std::uint32_t ranks) {
  const std::uint64_t rows = std::uint64_t{shape.users} + shape.items;
  const std::uint64_t entries = 2 * shape.entries * (shape.values ? 8 : 4) / ranks;
  std::uint64_t bytes =
      entries + rows * sizeof(EntryIndex) + rows * (shape.rank + (shape.biases ? 1 : 0)) * sizeof(float);
  if (shape.solver == MemoryShape::Solver::kSgd) {
    const std::uint64_t parts = std::uint64_t{kPartsPerRank} * ranks;
    bytes += entries + (parts + 1) * rows * sizeof(EntryIndex);  // offsets of each part, and counts of whole rows
  }
  return bytes;
}

std::uint64_t predict_asynchronous_bytes(const MemoryShape& shape, std::uint32_t ranks) {
  const std::uint64_t users = FactorTable::bytes({shape.users, shape.rank, shape.biases});
  const std::uint64_t items = FactorTable::bytes({shape.items, shape.rank, shape.biases});
  const bool is_sgd = shape.solver == MemoryShape::Solver::kSgd;
  // Results of a step: a share of each table, with sgd of all items; sealed and open deltas.
  const std::uint64_t tables = 4 * (users + items) + (is_sgd ? 3 * items : 0);
  const std::uint64_t entries = (is_sgd ? 4 : 2) * shape.entries * (shape.values ? 8 : 4) / ranks;
  return tables + entries + (std::uint64_t{shape.users} + shape.items) * 2 * sizeof(EntryIndex);
}

std::uint64_t predict_sampling_bytes(const MemoryShape& shape) {
  const std::uint64_t rows = std::uint64_t{std::min(shape.users, kSampledRows)} + std::min(shape.items, kSampledRows);
  const std::uint64_t bytes = rows * (shape.rank + (shape.biases ? 1 : 0)) * sizeof(float);
  return (most_samples(bytes) + 1) * bytes;  // one more where they are compared
}

void require_memory(std::uint64_t more_bytes, const MemoryBudget& budget, const std::string& what,
                    const std::string& remedy) {
  std::uint64_t have = 0;
  if (budget.configured_bytes == 0) {
    have = available_memory_bytes();
  } else {
    const std::uint64_t held = resident_bytes();
    have = budget.configured_bytes > held ? budget.configured_bytes - held : 0;
  }
  if (more_bytes <= have) return;
  const std::string source = budget.configured_bytes == 0
                                 ? std::string("are available")
                                 : fmt::format("are left of compute.memory_limit_bytes = {}", budget.configured_bytes);
  throw Error(
      ErrorCode::kOutOfMemory,
      fmt::format("{} needs about {} more, {} {}; {}", what, bytes_text(more_bytes), bytes_text(have), source, remedy),
      "memory");
}

std::string device_shortage(std::uint64_t need_bytes, std::uint64_t free_bytes, const std::string& what) {
  if (need_bytes <= free_bytes) return "";
  return fmt::format("{} needs about {}, the GPU has {} free, {} too much", what, bytes_text(need_bytes),
                     bytes_text(free_bytes), bytes_text(need_bytes - free_bytes));
}

std::string bytes_text(std::uint64_t bytes) {
  constexpr std::array kUnits = {"bytes", "KiB", "MiB", "GiB", "TiB"};
  auto value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (value >= 1024.0 && unit + 1 < kUnits.size()) {
    value /= 1024.0;
    ++unit;
  }
  return unit == 0 ? fmt::format("{} bytes", bytes) : fmt::format("{:.1f} {}", value, kUnits[unit]);
}

}  // namespace concerto
