// Arithmetic on few numbers, made anew after each run.
#include "outcome.hpp"

#include <algorithm>
#include <iterator>
#include <numeric>

#include <fmt/format.h>

namespace concerto::bench {
namespace {

bool reaches(double metric, double target, bool smaller_is_better) {
  return smaller_is_better ? metric <= target : metric >= target;
}

/// The place of the first point from which on all reach the target, or the curve's length.
std::size_t reached_from(const Curve& curve, double target, bool smaller_is_better) {
  std::size_t from = curve.size();
  while (from > 0 && reaches(curve[from - 1].metric, target, smaller_is_better)) --from;
  return from;
}

const LevelRecord* baseline_of(const CaseRecord& of) {
  const auto found = std::find_if(of.levels.begin(), of.levels.end(),
                                  [&](const LevelRecord& one) { return one.level.name == of.of.baseline; });
  return found == of.levels.end() ? nullptr : &*found;
}

void hold_against(RunRecord& run, const RunRecord* baseline, bool smaller_is_better, double within) {
  run.time_to_target.reset();
  run.ratio.reset();
  if (baseline == nullptr || run.ended != Ended::kDone) return;
  const double target = target_of(baseline->facts.final_metric, within, smaller_is_better);
  run.time_to_target = time_to_target(run.curve, target, smaller_is_better);
  const std::optional<double> of_baseline = time_to_target(baseline->curve, target, smaller_is_better);
  if (run.time_to_target && of_baseline && *of_baseline > 0.0) run.ratio = *run.time_to_target / *of_baseline;
}

std::optional<double> median_of(std::vector<double> values) {
  const std::optional<Spread> spread = spread_of(std::move(values));
  return spread ? std::optional(spread->median) : std::nullopt;
}

/// `numbers` gives what a run has of it.
template <class Numbers>
std::vector<double> collect(const LevelRecord& level, const Numbers& numbers) {
  std::vector<double> values;
  for (const RunRecord& run : level.runs) {
    if (run.ended != Ended::kDone) continue;
    if (const std::optional<double> value = numbers(run)) values.push_back(*value);
  }
  return values;
}

std::optional<double> bytes_of(const RunRecord& run) {
  if (run.facts.bytes_by_kind.empty()) return std::nullopt;
  double sum = 0.0;
  for (const auto& [kind, bytes] : run.facts.bytes_by_kind) sum += static_cast<double>(bytes);
  return sum;
}

std::uint32_t count_of(const LevelRecord& level, Ended ended) {
  return static_cast<std::uint32_t>(
      std::count_if(level.runs.begin(), level.runs.end(), [&](const RunRecord& run) { return run.ended == ended; }));
}

/// A run that never reached a target that the baseline reached is beyond any limit.
std::optional<bool> is_within(const CaseRecord& of, const LevelRecord& level, const LevelRecord* baseline,
                              const std::optional<Spread>& ratio) {
  const auto limit = std::find_if(of.of.limits.begin(), of.of.limits.end(),
                                  [&](const SweepLimit& one) { return one.level == level.level.name; });
  if (limit == of.of.limits.end() || baseline == nullptr) return std::nullopt;
  for (const RunRecord& run : level.runs) {
    const RunRecord* beside = run_of(*baseline, run.repeat);
    const bool is_comparable = run.ended == Ended::kDone && beside != nullptr && beside->time_to_target;
    if (is_comparable && !run.time_to_target) return false;
  }
  if (!ratio) return std::nullopt;
  return ratio->median <= limit->at_most;
}

void summarize(const CaseRecord& of, LevelRecord& level, const LevelRecord* baseline) {
  LevelSummary summary;
  summary.done = count_of(level, Ended::kDone);
  summary.voids = count_of(level, Ended::kVoid);
  summary.failed = count_of(level, Ended::kFailed);
  const auto final_metric = [](const RunRecord& run) { return std::optional(run.facts.final_metric); };
  summary.ratio = spread_of(collect(level, [](const RunRecord& run) { return run.ratio; }));
  summary.time_to_target = spread_of(collect(level, [](const RunRecord& run) { return run.time_to_target; }));
  summary.final_metric = spread_of(collect(level, final_metric));
  summary.bytes = median_of(collect(level, bytes_of));
  if (baseline != nullptr && summary.final_metric) {
    const std::optional<double> of_baseline = median_of(collect(*baseline, final_metric));
    if (of_baseline && *of_baseline != 0.0) {
      const double difference = (summary.final_metric->median - *of_baseline) / *of_baseline;
      summary.quality_difference = of.smaller_is_better ? difference : -difference;
    }
  }
  summary.within_limit = is_within(of, level, baseline, summary.ratio);
  level.summary = summary;
}

/// Rank 0 sends over one connection at a time: to the next in the ring, or to the only other.
std::optional<double> compute_to_bytes(const CaseRecord& of, const LevelRecord* baseline) {
  if (!of.of.network || of.of.network->rate_mbit <= 0.0 || baseline == nullptr) return std::nullopt;
  const double bytes_per_second = of.of.network->rate_mbit * 1e6 / 8.0;
  return median_of(collect(*baseline, [&](const RunRecord& run) -> std::optional<double> {
    if (run.facts.bytes_sent_by_first == 0) return std::nullopt;
    return run.facts.compute_seconds_of_first / (static_cast<double>(run.facts.bytes_sent_by_first) / bytes_per_second);
  }));
}

}  // namespace

double target_of(double baseline, double within, bool smaller_is_better) {
  return baseline * (smaller_is_better ? 1.0 + within : 1.0 - within);
}

std::optional<double> time_to_target(const Curve& curve, double target, bool smaller_is_better) {
  const std::size_t from = reached_from(curve, target, smaller_is_better);
  return from == curve.size() ? std::nullopt : std::optional(curve[from].seconds);
}

std::vector<double> grid(const std::vector<double>& times, std::size_t most) {
  std::vector<double> moments;
  if (times.empty() || most == 0) return moments;
  const double begin = times.front();
  const double step = (times.back() - begin) / static_cast<double>(most);
  for (std::size_t k = 1; k <= most; ++k) {
    // Nothing changes between two times: the last of them before the moment is as good, and exact.
    const double moment = k == most ? times.back() : begin + step * static_cast<double>(k);
    const double time = *std::prev(std::upper_bound(times.begin() + 1, times.end(), moment));
    if (moments.empty() || time > moments.back()) moments.push_back(time);
  }
  return moments;
}

std::vector<double> finer_grid(const Curve& curve, const std::vector<double>& times, double target,
                               bool smaller_is_better, std::size_t most) {
  const std::size_t from = reached_from(curve, target, smaller_is_better);
  if (from == curve.size()) return {};
  const auto begin = from == 0 ? times.begin() : std::upper_bound(times.begin(), times.end(), curve[from - 1].seconds);
  const auto end = std::lower_bound(begin, times.end(), curve[from].seconds);
  std::vector<double> between(begin, end);
  between.erase(std::unique(between.begin(), between.end()), between.end());
  if (between.size() <= most) return between;
  std::vector<double> moments;
  for (std::size_t k = 1; k <= most; ++k) moments.push_back(between[k * between.size() / most - 1]);
  return moments;
}

Curve merged(const Curve& one, const Curve& other) {
  Curve both;
  const auto is_earlier = [](const CurvePoint& a, const CurvePoint& b) { return a.seconds < b.seconds; };
  std::merge(one.begin(), one.end(), other.begin(), other.end(), std::back_inserter(both), is_earlier);
  return both;
}

std::string pacing_problem(const std::vector<double>& errors) {
  const auto largest = std::max_element(errors.begin(), errors.end());
  if (largest == errors.end() || *largest <= kMostPacingError) return {};
  return fmt::format("pacing error {:.1f} % of rank {}", 100.0 * *largest, largest - errors.begin());
}

std::optional<Spread> spread_of(std::vector<double> values) {
  if (values.empty()) return std::nullopt;
  std::sort(values.begin(), values.end());
  const std::size_t middle = values.size() / 2;
  const double median = values.size() % 2 == 1 ? values[middle] : 0.5 * (values[middle - 1] + values[middle]);
  return Spread{median, values.front(), values.back()};
}

const RunRecord* run_of(const LevelRecord& level, std::uint32_t repeat) {
  const auto found = std::find_if(level.runs.rbegin(), level.runs.rend(), [&](const RunRecord& run) {
    return run.repeat == repeat && run.ended == Ended::kDone;
  });
  return found == level.runs.rend() ? nullptr : &*found;
}

void conclude(CaseRecord& of, double target_within) {
  const LevelRecord* baseline = baseline_of(of);
  for (LevelRecord& level : of.levels) {
    for (RunRecord& run : level.runs) {
      const RunRecord* beside = baseline == nullptr ? nullptr : run_of(*baseline, run.repeat);
      hold_against(run, beside, of.smaller_is_better, target_within);
    }
  }
  for (LevelRecord& level : of.levels) summarize(of, level, baseline);
  of.compute_to_bytes = compute_to_bytes(of, baseline);
}

std::vector<PlannedRun> plan(const SweepCase& of, std::uint32_t repeats) {
  std::vector<std::size_t> order(of.levels.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_partition(order.begin(), order.end(),
                        [&](std::size_t level) { return of.levels[level].name == of.baseline; });
  std::vector<PlannedRun> runs;
  for (std::uint32_t repeat = 0; repeat < repeats; ++repeat) {
    for (const std::size_t level : order) runs.push_back({level, repeat});
  }
  return runs;
}

std::vector<PlannedRun> void_runs(const CaseRecord& of) {
  std::vector<PlannedRun> again;
  for (std::size_t level = 0; level < of.levels.size(); ++level) {
    for (const RunRecord& run : of.levels[level].runs) {
      if (run.ended == Ended::kVoid && run_of(of.levels[level], run.repeat) == nullptr) {
        again.push_back({level, run.repeat});
      }
    }
  }
  const auto is_of_baseline = [&](const PlannedRun& one) { return of.levels[one.level].level.name == of.of.baseline; };
  std::stable_partition(again.begin(), again.end(), is_of_baseline);
  return again;
}

}  // namespace concerto::bench
