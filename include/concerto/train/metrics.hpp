// Quality measures on held-out entries.
//
// Rating metrics: rmse, mae; an unknown user or item falls back to the mean and the known bias, and is counted.
// Ranking metrics at K, per user with at least one held-out item (others are skipped and counted), training items
// masked, ties to the lower item row, mean over users:
//   recall@K = hits / |held out|          recall_capped@K = hits / min(K, |held out|)      precision@K = hits / K
//   ndcg@K: binary gain 1 / log2(position + 1), ideal over min(|held out|, K)    hr@K = at least one hit
//   coverage@K = share of items in any list
// Held-out items that the model does not know count as misses.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "concerto/compute/backend.hpp"
#include "concerto/data/dataset.hpp"

namespace concerto {

enum class MetricKind : std::uint8_t { kRmse, kMae, kRecall, kRecallCapped, kPrecision, kNdcg, kHitRate, kCoverage };

struct Metric {
  MetricKind kind = MetricKind::kRmse;
  std::uint32_t k = 0;  ///< 0 for rating metrics
  std::string name;     ///< as configured: "recall@20"
  [[nodiscard]] bool is_ranking() const noexcept { return k > 0; }
  /// Is a larger value better?
  [[nodiscard]] bool higher_is_better() const noexcept { return is_ranking(); }
};

/// Error{kBadInput} naming the word and the known ones.
[[nodiscard]] Metric parse_metric(std::string_view name);

struct MetricValues {
  std::vector<std::pair<std::string, double>> values;  ///< in the order asked for
  std::uint64_t users_evaluated = 0;                   ///< ranking
  std::uint64_t users_skipped = 0;                     ///< known users with nothing held out
  std::uint64_t unknown_entries = 0;                   ///< rating metrics: predicted by fall-back
  std::uint64_t unknown_users = 0;
  [[nodiscard]] double at(std::string_view name) const;
};

/// What to score with: tables in a backend.
struct Scorer {
  Backend* backend = nullptr;
  const Buffer* users = nullptr;
  const Buffer* items = nullptr;
  const FactorTable* host_users = nullptr;  ///< optional; gives the known biases of entries half unknown
  const FactorTable* host_items = nullptr;
  double mean = 0.0;
  float low = -3.4e38F;  ///< clip range
  float high = 3.4e38F;
  std::span<const RowIndex> item_order =
      {};  ///< each item's place in the order of ids, which breaks ties; empty: its row
};

/// Error{kBadInput} when a metric has nothing to measure on: no entries, or no user that can be ranked. `where` names
/// the part, for what measures to say so before work.
void require_measurable(const HeldOutFacts& held_out, const std::vector<Metric>& metrics,
                        const std::string& where = "held-out data");

/// Items as the popularity baseline sees them. Rankings: by their number of training entries, ties by `item_order` as
/// in Scorer. Ratings: mean + item mean offset, damped by 5 entries.
class ItemPopularity {
 public:
  /// `value_sums`: of each item's training values (value_sums_of); needed where ratings are predicted.
  ItemPopularity(const RowLengths& train_by_item, std::span<const double> value_sums,
                 std::span<const RowIndex> item_order);
  /// Best first.
  [[nodiscard]] std::span<const RowIndex> ranking() const noexcept { return ranking_; }
  /// kNoRow: the mean.
  [[nodiscard]] double rating(RowIndex item) const noexcept { return mean_ + (item == kNoRow ? 0.0 : offsets_[item]); }

 private:
  std::vector<RowIndex> ranking_;
  std::vector<double> offsets_;
  double mean_ = 0.0;
};

/// Puts the sums of the values of these rows, in the order of entries, into `sums`, one place a row of the matrix.
void value_sums_of(const CompressedRows& matrix, RowRange rows, std::span<double> sums);

/// Sums over users and entries from which metrics are made: parts of the users can be measured apart, by different
/// processes, and added up.
class MetricSums {
 public:
  MetricSums(const std::vector<Metric>& metrics, RowIndex items);
  ~MetricSums();
  MetricSums(MetricSums&&) noexcept;
  MetricSums& operator=(MetricSums&&) noexcept;

  /// Adds what `part` gives; `train_by_user` is masked in rankings. Users are ranked in batches: memory O(batch * K).
  void measure(const Scorer& scorer, const HeldOut& part, const CompressedRows& train_by_user);
  /// The same of the popularity baseline.
  void measure(const ItemPopularity& popularity, const HeldOut& part, const CompressedRows& train_by_user);
  /// The sums as bytes, of a size that depends on the metrics and the number of items alone; and added from there.
  [[nodiscard]] std::size_t bytes() const noexcept;
  void write(std::span<std::byte> out) const;
  void add(std::span<const std::byte> sums);
  /// The metrics, where what was added are the parts of `whole`.
  [[nodiscard]] MetricValues values(const HeldOutFacts& whole) const;

 private:
  struct Sums;
  std::unique_ptr<Sums> sums_;
};

/// Measures on `held_out`; `train_by_user` is masked in rankings.
[[nodiscard]] MetricValues evaluate(const Scorer& scorer, const HeldOut& held_out, const CompressedRows& train_by_user,
                                    const std::vector<Metric>& metrics);

/// The same metrics of the popularity baseline.
[[nodiscard]] MetricValues evaluate_popularity(const HeldOut& held_out, const CompressedRows& train_by_user,
                                               const CompressedRows& train_by_item,
                                               std::span<const RowIndex> item_order,
                                               const std::vector<Metric>& metrics);

}  // namespace concerto
