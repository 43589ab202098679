// Which part of a data set each entry that was read belongs to. Decided before rows exist, on the ids of the file.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "concerto/base/thread_pool.hpp"
#include "concerto/data/dataset.hpp"

namespace concerto {

enum class Part : std::uint8_t { kTrain, kTest, kValidation, kDropped };

/// Decides every entry's part: dropped below the minimum, then `test` out of the rest, then `validation` out of what
/// is left. Error{kBadInput} on a share outside (0, 1). Memory: one byte an entry, for kLast 8 more while it works.
[[nodiscard]] std::vector<Part> assign_parts(const RawRatings& raw, const std::optional<double>& min_value,
                                             const std::optional<SplitOptions>& test,
                                             const std::optional<SplitOptions>& validation, ThreadPool& pool);

}  // namespace concerto
