// Measuring by shares (see shard_measures.hpp).
#include "shard_measures.hpp"

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

#include "concerto/base/error.hpp"
#include "concerto/base/tree_sum.hpp"

namespace concerto {
namespace {

/// What the first word of a rank's segment says.
constexpr std::uint64_t kStops = 1;
constexpr std::uint64_t kNotFinite = 2;

}  // namespace

ShardMeasures::ShardMeasures(ShardedRun& run, const SharedHeldOut& test, const SharedHeldOut& validation,
                             std::span<const RowIndex> item_order)
    : run_(run), item_order_(item_order) {
  const bool is_first = run.sharding.rank == 0;
  if (test.is_there()) test_ = {true, test.facts(), test.of_users(run.users.own, is_first)};
  if (validation.is_there()) validation_ = {true, validation.facts(), validation.of_users(run.users.own, is_first)};
}

void ShardMeasures::measure(MeasurePlan plan, bool stop) {
  plan_ = std::move(plan);
  layout_ = {};
  layout_.ranks = run_.sharding.ranks;
  if (plan_.has_loss) {
    layout_.user_chunks = chunk_count(run_.plan.users.rows);
    layout_.item_chunks = chunk_count(run_.plan.items.rows);
    if (run_.own_users_gram) {
      layout_.gram_bytes = SystemLayout{run_.options.rank, false}.gram_floats() * sizeof(float);
    }
  }
  std::optional<MetricSums> test;
  std::optional<MetricSums> validation;
  if (!plan_.test.empty()) layout_.test_bytes = test.emplace(measure_metrics(test_, plan_.test)).bytes();
  if (!plan_.validation.empty()) {
    layout_.validation_bytes = validation.emplace(measure_metrics(validation_, plan_.validation)).bytes();
  }
  if (plan_.has_digests) {
    for (const ShardedTable* table : compared()) layout_.digests += table->shards->blocks.size();
  }
  sums_.assign(layout_.bytes(), std::byte{0});
  if (plan_.has_loss) measure_chunks();
  std::size_t at = layout_.segment(run_.sharding.rank);
  const bool is_finite = run_.users.is_finite && run_.items.is_finite;
  put_word(sums_, at, (stop ? kStops : 0) | (is_finite ? 0 : kNotFinite));
  at += sizeof(std::uint64_t);
  if (test) test->write(std::span(sums_).subspan(at, layout_.test_bytes));
  at += layout_.test_bytes;
  if (validation) validation->write(std::span(sums_).subspan(at, layout_.validation_bytes));
  if (plan_.has_digests) write_digests(at + layout_.validation_bytes);
  if (layout_.gram_bytes > 0) {
    const std::vector<float> gram = run_.own_users_gram->of(*run_.users.table);
    std::memcpy(sums_.data() + layout_.gram(run_.sharding.rank), gram.data(), layout_.gram_bytes);
  }
}

/// The entries' losses and the penalties, a chunk each, of own rows.
void ShardMeasures::measure_chunks() {
  for (const Side side : {Side::kUsers, Side::kItems}) {
    ShardedTable& mine = run_.table(side);
    const std::size_t penalties = side == Side::kUsers ? layout_.user_penalties() : layout_.item_penalties();
    const RowIndex size = chunk_rows(mine.shards->rows);
    for (const RowRange own : mine.own) {
      for (RowIndex begin = own.begin; begin < own.end; begin += size) {
        const RowRange rows{begin, std::min(own.end, begin + size)};
        const std::size_t chunk = begin / size;
        if (side == Side::kUsers) {
          const double sum =
              run_.backend.entry_loss(*mine.ratings, rows, *run_.users.table, *run_.items.table, run_.objective);
          put_double(sums_, layout_.losses() + chunk * sizeof(double), sum);
        }
        put_double(sums_, penalties + chunk * sizeof(double),
                   run_.backend.penalty(*mine.ratings, rows, *mine.table, run_.objective));
        run_.advance(1);
      }
    }
  }
}

MetricSums ShardMeasures::measure_metrics(const Part& part, const std::vector<Metric>& metrics) {
  Scorer scorer;
  scorer.backend = &run_.backend;
  scorer.users = run_.users.table.get();
  scorer.items = run_.items.table.get();
  scorer.host_users = &run_.users.host.factors;
  scorer.host_items = &run_.items.host.factors;
  scorer.mean = run_.objective.mean;
  scorer.low = run_.low;
  scorer.high = run_.high;
  scorer.item_order = item_order_;
  MetricSums sums(metrics, part.whole.items);
  sums.measure(scorer, part.own, run_.users.entries.view());
  run_.advance(1);
  return sums;
}

/// The tables of which all ranks have the same.
std::vector<ShardedTable*> ShardMeasures::compared() const {
  if (run_.are_users_apart) return {&run_.items};
  return {&run_.users, &run_.items};
}

/// Of every block of this rank's copies, as the backend has it.
void ShardMeasures::write_digests(std::size_t at) {
  for (ShardedTable* mine : compared()) {
    for (const RowRange rows : mine->shards->blocks) {
      mine->read(run_.backend, rows);
      put_word(sums_, at, mine->host.digest(rows));
      at += sizeof(std::uint64_t);
    }
  }
}

void ShardMeasures::compare_digests(std::uint32_t epoch) const {
  if (!plan_.has_digests) return;
  const std::size_t inside = sizeof(std::uint64_t) + layout_.test_bytes + layout_.validation_bytes;
  std::size_t index = 0;
  for (const ShardedTable* table : compared()) {
    const TableShards* shards = table->shards;
    for (std::size_t b = 0; b < shards->blocks.size(); ++b, ++index) {
      const auto digest = [&](Rank r) {
        return word_at(sums_, layout_.segment(r) + inside + index * sizeof(std::uint64_t));
      };
      const Rank owner = shards->owners[b];
      std::string differing;
      for (Rank r = 0; r < run_.sharding.ranks; ++r) {
        if (digest(r) != digest(owner)) differing += fmt::format("{}{}", differing.empty() ? "" : ", ", r);
      }
      if (differing.empty()) continue;
      throw Error(
          ErrorCode::kCorrupt,
          fmt::format("copies differ: block {} of {} (rows {} to {}) is not what its owner, rank {}, has on rank {}", b,
                      shards == &run_.plan.users ? "users" : "items", shards->blocks[b].begin, shards->blocks[b].end,
                      owner, differing),
          fmt::format("epoch {}", epoch));
    }
  }
}

std::vector<GatherBlock> ShardMeasures::blocks() const {
  std::vector<GatherBlock> blocks;
  const auto add = [&](const TableShards& shards, std::size_t begin) {
    for (std::size_t b = 0; b < shards.blocks.size(); ++b) {
      const RowIndex size = chunk_rows(shards.rows);
      const std::size_t first = shards.blocks[b].begin / size;
      const std::size_t count = (shards.blocks[b].size() + size - 1) / size;
      blocks.push_back({shards.owners[b], begin + first * sizeof(double), count * sizeof(double)});
    }
  };
  if (plan_.has_loss) {
    add(run_.plan.users, layout_.losses());
    add(run_.plan.users, layout_.user_penalties());
    add(run_.plan.items, layout_.item_penalties());
  }
  for (Rank r = 0; r < run_.sharding.ranks; ++r) {
    blocks.push_back({r, layout_.segment(r), layout_.segment_bytes()});
  }
  return blocks;
}

/// The sum of (x.y)^2 over all pairs.
double ShardMeasures::squared_scores() {
  Backend& backend = run_.backend;
  if (layout_.gram_bytes == 0) {
    return backend.inner_product(*backend.gram(*run_.users.table), *backend.gram(*run_.items.table));
  }
  const std::vector<float> items = run_.items_gram->of(*run_.items.table);
  std::vector<float> users(items.size());
  double sum = 0.0;
  for (Rank r = 0; r < run_.sharding.ranks; ++r) {
    std::memcpy(users.data(), sums_.data() + layout_.gram(r), layout_.gram_bytes);
    sum += inner_product(users, items, run_.options.rank);
  }
  return sum;
}

std::optional<double> ShardMeasures::loss() {
  if (!plan_.has_loss) return std::nullopt;
  double sum = tree_sum(doubles_at(sums_, layout_.losses(), layout_.user_chunks));
  if (run_.objective.is_implicit()) sum += run_.objective.base_weight() * squared_scores();
  sum += tree_sum(doubles_at(sums_, layout_.user_penalties(), layout_.user_chunks));
  sum += tree_sum(doubles_at(sums_, layout_.item_penalties(), layout_.item_chunks));
  return sum;
}

std::optional<MetricValues> ShardMeasures::test() const {
  if (plan_.test.empty()) return std::nullopt;
  return added_up(test_, plan_.test, sizeof(std::uint64_t));
}

std::optional<MetricValues> ShardMeasures::validation() const {
  if (plan_.validation.empty()) return std::nullopt;
  return added_up(validation_, plan_.validation, sizeof(std::uint64_t) + layout_.test_bytes);
}

MetricValues ShardMeasures::added_up(const Part& part, const std::vector<Metric>& metrics, std::size_t at) const {
  MetricSums sums(metrics, part.whole.items);
  for (Rank r = 0; r < run_.sharding.ranks; ++r) {
    sums.add(std::span(sums_).subspan(layout_.segment(r) + at, sums.bytes()));
  }
  return sums.values(part.whole);
}

bool ShardMeasures::does_any_say(std::uint64_t flag) const {
  for (Rank r = 0; r < run_.sharding.ranks; ++r) {
    if ((word_at(sums_, layout_.segment(r)) & flag) != 0) return true;
  }
  return false;
}

bool ShardMeasures::does_anyone_stop() const {
  return does_any_say(kStops);
}

bool ShardMeasures::is_finite() const {
  return !does_any_say(kNotFinite);
}

}  // namespace concerto
