// What came of a sweep, and what follows from it: when a run reached its target, how it compares with the baseline's
// run of the same repeat, what is known of a level after all its runs. Pure: facts in, facts out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "concerto/config/sweep.hpp"

namespace concerto::bench {

/// The metric of the model as it was at a moment of the run.
struct CurvePoint {
  double seconds = 0.0;
  double metric = 0.0;
  friend bool operator==(const CurvePoint&, const CurvePoint&) = default;
};
/// By time, rising.
using Curve = std::vector<CurvePoint>;

struct LagFacts {
  std::vector<std::uint64_t> histogram;  ///< reads at the start of steps, by their lag
  std::uint64_t max = 0;
  std::vector<double> at_most;  ///< the share of reads with a lag of at most 0, 1, 2, ...
};

/// From publication to acknowledged installation.
struct VisibilityFacts {
  double p50_ms = 0.0;
  double p99_ms = 0.0;
  std::uint64_t samples = 0;
};

/// What the report of a run says of it. Empty, or nothing, where it says nothing.
struct RunFacts {
  double seconds = 0.0;  ///< from the first step to the end of training
  double final_metric = 0.0;
  std::uint32_t epochs = 0;
  std::vector<double> pacing_errors;    ///< by rank, as shares; none where steps were not paced
  std::vector<double> compute_seconds;  ///< by rank
  std::vector<double> blocked_seconds;  ///< by rank
  std::vector<std::pair<std::string, std::uint64_t>> bytes_by_kind;
  std::optional<LagFacts> lag;
  std::optional<VisibilityFacts> visibility;
  std::vector<std::pair<double, double>> consistency_index;  ///< (seconds, C)
  double compute_seconds_of_first = 0.0;                     ///< of rank 0
  std::uint64_t bytes_sent_by_first = 0;
};

enum class Ended : std::uint8_t {
  kDone,
  kVoid,  ///< it ran, but its ranks did not keep their pace: it says nothing of time
  kFailed,
};

struct RunRecord {
  std::uint32_t repeat = 0;
  Ended ended = Ended::kDone;
  std::string why;  ///< of kVoid and kFailed
  RunFacts facts;
  Curve curve;
  // What follows.
  std::optional<double> time_to_target;
  std::optional<double> ratio;  ///< to the time of the baseline in the same repeat
};

struct Spread {
  double median = 0.0;
  double low = 0.0;
  double high = 0.0;
};

struct LevelSummary {
  std::uint32_t done = 0;
  std::uint32_t voids = 0;
  std::uint32_t failed = 0;
  std::optional<Spread> ratio;  ///< of the runs that reached the target beside a baseline that did
  std::optional<Spread> time_to_target;
  std::optional<Spread> final_metric;
  std::optional<double> quality_difference;  ///< of the medians, as a share of the baseline's; positive is worse
  std::optional<double> bytes;
  std::optional<bool> within_limit;  ///< nothing where no limit is set, or nothing can be said yet
};

struct LevelRecord {
  SweepLevel level;
  std::string consistency;  ///< "strong", "bounded", "eventual"
  std::optional<std::uint32_t> max_lag;
  std::vector<RunRecord> runs;
  LevelSummary summary;
};

/// Stragglers that the ranks of a case emulate.
struct Stragglers {
  std::uint32_t ranks = 0;
  double factor = 1.0;
  double share = 1.0;
};

struct CaseRecord {
  SweepCase of;
  std::string data;
  std::string metric;
  bool smaller_is_better = true;
  std::string solver;
  std::uint32_t epochs = 0;
  std::optional<Stragglers> stragglers;
  double pace = 0.0;
  bool encrypted = false;
  std::vector<LevelRecord> levels;
  std::optional<double> compute_to_bytes;  ///< of the baseline: seconds of computing to those that its bytes take
};

/// Ranks whose steps ended later than this share of their length have not kept their pace.
inline constexpr double kMostPacingError = 0.05;
/// Points of a curve: on a grid over the run, and besides near where the target is reached.
inline constexpr std::size_t kGridPoints = 120;
inline constexpr std::size_t kFinePoints = 40;

/// The worst metric that counts as the baseline's.
[[nodiscard]] double target_of(double baseline, double within, bool smaller_is_better);

/// The first moment from which on the curve is never worse than the target; nothing where its end is.
[[nodiscard]] std::optional<double> time_to_target(const Curve& curve, double target, bool smaller_is_better);

/// Moments at which a curve is to be known: of `times` (rising), at most `most`, spread over time, and the last of
/// them.
[[nodiscard]] std::vector<double> grid(const std::vector<double>& times, std::size_t most);

/// Of `times` those between the two points of the curve around the moment at which the target is reached, at most
/// `most`: where a curve on a grid is to be looked at more closely. Empty where it is not reached.
[[nodiscard]] std::vector<double> finer_grid(const Curve& curve, const std::vector<double>& times, double target,
                                             bool smaller_is_better, std::size_t most);

/// Both, by time.
[[nodiscard]] Curve merged(const Curve& one, const Curve& other);

/// "pacing error 7.1 % of rank 2"; empty where all kept their pace.
[[nodiscard]] std::string pacing_problem(const std::vector<double>& errors);

/// The median, the least and the most; nothing of nothing.
[[nodiscard]] std::optional<Spread> spread_of(std::vector<double> values);

/// The run that counts for a repeat: the latest that is done, or none.
[[nodiscard]] const RunRecord* run_of(const LevelRecord& level, std::uint32_t repeat);

/// Fills in all that follows from the runs: times to the target, ratios, summaries, compute_to_bytes.
void conclude(CaseRecord& of, double target_within);

/// A run that is to be made: the place of its level, and its repeat.
struct PlannedRun {
  std::size_t level = 0;
  std::uint32_t repeat = 0;
  friend bool operator==(const PlannedRun&, const PlannedRun&) = default;
};
/// All levels of repeat 0, then of repeat 1, ...: what disturbs the machine for a while disturbs all. In each repeat
/// the baseline is first, so that its result is the others' target.
[[nodiscard]] std::vector<PlannedRun> plan(const SweepCase& of, std::uint32_t repeats);
/// Those to be made once more: void, and nothing else there for their repeat.
[[nodiscard]] std::vector<PlannedRun> void_runs(const CaseRecord& of);

}  // namespace concerto::bench
