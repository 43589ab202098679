// What one thread of this machine can do at best: the yardsticks of the kernel benchmarks, measured by simple loops
// with the best instruction set at hand. Each takes the best of several short runs, in the thread's CPU time.
#pragma once

#include <cstddef>

namespace concerto::bench {

/// Independent fused multiply-adds in registers. GFLOP/s.
[[nodiscard]] double fma_gflops();
/// STREAM triad a = b + s c on arrays far beyond the caches, 12 bytes an element counted. GB/s.
[[nodiscard]] double triad_gbytes();
/// Reading 512 KB again and again, as an L2 cache serves it. GB/s.
[[nodiscard]] double l2_read_gbytes();
/// Reading random rows of `row_floats` floats from a table of `table_bytes`, asked for ahead at the best of several
/// distances. GB/s.
[[nodiscard]] double row_gather_gbytes(std::size_t row_floats, std::size_t table_bytes);

}  // namespace concerto::bench
