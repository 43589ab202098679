// What operations that change a table's master on their own must do afterwards.
#pragma once

#include "cuda_backend.hpp"

namespace concerto::cuda {

/// Blocks of `block` threads for this many threads.
[[nodiscard]] unsigned blocks_for(std::uint64_t threads, unsigned block);
/// Rounds the master's rows into the shadow, where there is one.
void refresh_shadow(const Stream& stream, TableBuffer& table, RowRange rows);
/// Sets the optimizer state of rows to its start, where there is any.
void reset_accumulators(const Stream& stream, TableBuffer& table, RowRange rows);
/// Makes the accumulators of SGD, all 1, unless the table has them.
void require_accumulators(MemoryPool& pool, const Stream& stream, TableBuffer& table);

}  // namespace concerto::cuda
