// How rows are handed to threads when their work differs by orders of magnitude. Private to kernels/cpu.
#pragma once

#include <vector>

#include "concerto/data/partition.hpp"
#include "concerto/data/ratings.hpp"

#include "row_system.hpp"

namespace concerto::cpu {

/// Cuts `rows` into runs of consecutive rows of about equal predicted work, a few dozen for each thread. A row heavier
/// than a run stands alone; such rows come first, the heaviest at the front, so that none is left for the end while
/// other threads idle. Every row is in exactly one run.
[[nodiscard]] std::vector<RowRange> schedule_rows(const CompressedRows& ratings, RowRange rows, const WorkModel& work,
                                                  unsigned threads);

/// The memory of forming and solving one system at a time.
void allocate_system(RowScratch& scratch, const RowStep& step);

}  // namespace concerto::cpu
