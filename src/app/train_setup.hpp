// What a configuration asks of training, and the memory that training then takes: for `train`, which does it, and for
// `doctor`, which says beforehand whether it could.
#pragma once

#include <cstdint>
#include <string_view>

#include "concerto/base/ids.hpp"
#include "concerto/compute/backend.hpp"
#include "concerto/config/config.hpp"
#include "concerto/data/dataset.hpp"
#include "concerto/train/trainer.hpp"

namespace concerto {

/// `config` with its defaults resolved. Error{kBadInput} for metrics that are none.
[[nodiscard]] TrainOptions train_options(const Config& config);

[[nodiscard]] MemoryShape memory_shape(const TrainOptions& options, const Dataset& data, unsigned threads);

/// Host memory that training takes at most beyond what `data` holds. `ranks`: 0 for a run by one process, else what one
/// rank of so many takes.
[[nodiscard]] std::uint64_t predict_host_bytes(const Config& config, const MemoryShape& shape, std::string_view backend,
                                               Rank ranks);

}  // namespace concerto
