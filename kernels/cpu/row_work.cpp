// Runs of rows for threads: see row_work.hpp.
#include "row_work.hpp"

#include <algorithm>

namespace concerto::cpu {

std::vector<RowRange> schedule_rows(const CompressedRows& ratings, RowRange rows, const WorkModel& work,
                                    unsigned threads) {
  constexpr double kRunsPerThread = 32.0;
  const auto cost = [&](RowIndex row) {
    return work.per_entry * static_cast<double>(ratings.count(row)) + work.per_row;
  };
  const double total = work.per_entry * static_cast<double>(ratings.offsets[rows.end] - ratings.offsets[rows.begin]) +
                       work.per_row * static_cast<double>(rows.size());
  const double target = total / (kRunsPerThread * static_cast<double>(threads));

  std::vector<RowRange> heavy;
  std::vector<RowRange> runs;
  RowRange run{rows.begin, rows.begin};
  double in_run = 0.0;
  const auto close_run = [&](RowIndex next) {
    if (run.size() != 0) runs.push_back(run);
    run = {next, next};
    in_run = 0.0;
  };
  for (RowIndex row = rows.begin; row < rows.end; ++row) {
    const double row_cost = cost(row);
    if (row_cost > target) {
      close_run(row + 1);
      heavy.push_back({row, row + 1});
      continue;
    }
    run.end = row + 1;
    in_run += row_cost;
    if (in_run >= target) close_run(row + 1);
  }
  close_run(rows.end);
  std::stable_sort(heavy.begin(), heavy.end(), [&](const RowRange& a, const RowRange& b) {
    return ratings.count(a.begin) > ratings.count(b.begin);
  });
  heavy.insert(heavy.end(), runs.begin(), runs.end());
  return heavy;
}

void allocate_system(RowScratch& scratch, const RowStep& step) {
  const std::size_t width = step.width;
  scratch.zero_row.assign(width, 0.0F);
  const std::size_t rows = gram_panel_rows(width);
  scratch.panel.resize(rows * width);
  if (!step.uniform_weights()) scratch.weighted.resize(rows * width);
  scratch.system.resize(width * system_step(width));
  scratch.inverses.resize(width * 16);
  scratch.vectors.resize(2 * width);
  scratch.weights.resize(rows + 16);
  scratch.rights.resize(rows + 16);
}

}  // namespace concerto::cpu
