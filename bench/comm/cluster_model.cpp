// What an epoch takes on many GPUs, predicted (train/epoch_cost.hpp), and the same formula for a data set and a link
// that were measured, so that it can be held against what was measured there.
//
//   bench_cluster_model                     a table in Markdown: shapes of published data sets, 1 to 64 GPUs
//   bench_cluster_model epoch DATA RANKS ROUNDS FACTORS SOLVER SECONDS LATENCY BYTES
//       one epoch of a prepared directory: SOLVER is cholesky or the number of CG steps, FACTORS the rank of the model,
//       SECONDS what one rank takes alone, LATENCY (seconds) and BYTES (a second) the link. Prints seconds.
//
// The table's times alone are the targets of the cuda backend on one H200, not measurements; its links are what the
// vendors' libraries commonly reach: NVLink 4 within eight GPUs, 400 Gbit/s InfiniBand a GPU between machines.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <exception>
#include <stdexcept>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "concerto/base/rng.hpp"
#include "concerto/base/thread_pool.hpp"
#include "concerto/data/dataset.hpp"
#include "concerto/train/epoch_cost.hpp"
#include "concerto/train/shards.hpp"

namespace concerto::bench {
namespace {

constexpr LinkSpeed kNvlink{3e-6, 350e9};
constexpr LinkSpeed kInfiniband{5e-6, 45e9};
constexpr Rank kGpusPerMachine = 8;

/// Work of a row, in flops, of the solvers as the GPU runs them: the Gram matrix and the system.
WorkModel als_work(double factors, bool is_exact, double steps) {
  const double system = is_exact ? factors * factors * factors / 3.0 : 2.0 * factors * factors * (steps + 1.0);
  return {factors * factors, system};
}

struct Case {
  const char* name;
  RowIndex users;
  RowIndex items;
  EntryIndex entries;
  double factors;
  double seconds_alone;
  WorkModel work;
};

/// How many entries each row has: power laws in random order, at least one.
std::vector<EntryIndex> offsets_of(RowIndex rows, EntryIndex entries, std::uint64_t stream) {
  constexpr double kShift = 50.0;
  constexpr double kExponent = 0.8;
  const auto order = random_permutation(rows, 1, stream);
  std::vector<double> weights(rows);
  double sum = 0.0;
  for (RowIndex r = 0; r < rows; ++r) sum += weights[r] = std::pow(order[r] + kShift, -kExponent);
  std::vector<EntryIndex> offsets(std::size_t{rows} + 1);
  for (RowIndex r = 0; r < rows; ++r) {
    const double count = weights[r] / sum * static_cast<double>(entries);
    offsets[r + 1] = offsets[r] + std::max<EntryIndex>(1, static_cast<EntryIndex>(count));
  }
  return offsets;
}

struct BestRounds {
  std::uint32_t rounds = 1;
  EpochCost cost;
};

BestRounds best_rounds(const Case& of, const CompressedRows& by_user, const CompressedRows& by_item, Rank gpus) {
  const auto row_bytes = static_cast<std::uint64_t>(of.factors * 4);
  const LinkSpeed& link = gpus <= kGpusPerMachine ? kNvlink : kInfiniband;
  BestRounds best;
  for (const std::uint32_t rounds : {1U, 2U, 4U, 8U, 16U}) {
    const ShardPlan plan = plan_shards(by_user, by_item, of.work, gpus, rounds);
    const EpochCost cost = predict_epoch(plan, of.seconds_alone, row_bytes, link);
    if (rounds == 1 || cost.seconds < best.cost.seconds) best = {rounds, cost};
  }
  return best;
}

void print_table() {
  constexpr RowIndex kNetflixUsers = 480'189;
  constexpr RowIndex kNetflixItems = 17'770;
  constexpr EntryIndex kNetflixEntries = 99'072'112;
  const auto netflix = [&](const char* name, double factors, bool is_exact, double seconds) {
    return Case{name, kNetflixUsers, kNetflixItems, kNetflixEntries, factors, seconds, als_work(factors, is_exact, 3)};
  };
  const auto slices = [](double factors) { return WorkModel{factors * 128.0, factors * 128.0 * 128.0 / 3.0}; };
  const std::vector<Case> cases = {netflix("Netflix, ALS, CG, f=64", 64, false, 0.012),
                                   netflix("Netflix, ALS, CG, f=128", 128, false, 0.025),
                                   netflix("Netflix, ALS, Cholesky, f=64", 64, true, 0.025),
                                   netflix("Netflix, ALS, Cholesky, f=128", 128, true, 0.100),
                                   {"ML-20M, subspace, f=2,048", 138'493, 26'744, 20'000'263, 2048, 0.4, slices(2048)},
                                   {"MSD, subspace, f=8,192", 571'355, 41'140, 33'633'450, 8192, 2.0, slices(8192)}};
  fmt::print(
      "| an epoch, ms (best rounds) | 1 GPU: the target | 2 | 4 | 8 | 16 | 32 | 64 "
      "|\n|---|---|---|---|---|---|---|---|\n");
  for (const Case& of : cases) {
    const auto user_offsets = offsets_of(of.users, of.entries, 1);
    const auto item_offsets = offsets_of(of.items, of.entries, 2);
    const CompressedRows by_user{of.users, of.items, user_offsets, {}, {}};
    const CompressedRows by_item{of.items, of.users, item_offsets, {}, {}};
    fmt::print("| {} | {:.3g} |", of.name, of.seconds_alone * 1e3);
    for (const Rank gpus : {2U, 4U, 8U, 16U, 32U, 64U}) {
      const BestRounds best = best_rounds(of, by_user, by_item, gpus);
      fmt::print(" {:.3g} ({}) |", best.cost.seconds * 1e3, best.rounds);
    }
    fmt::print("\n");
  }
}

double number(const std::string& text) {
  std::size_t end = 0;
  const double value = std::stod(text, &end);
  if (end != text.size() || !(value >= 0.0)) throw std::invalid_argument("not a number: " + text);
  return value;
}

void print_epoch(const std::vector<std::string>& words) {
  ThreadPool pool(1);
  const Dataset::Prepared prepared = Dataset::map(words[0], pool);
  const double factors = number(words[3]);
  const bool is_exact = words[4] == "cholesky";
  // The cpu's conjugate gradient is matrix-free: an entry costs four flops a factor and pass, a row little.
  const double passes = is_exact ? 0.0 : number(words[4]) + 1.0;
  const WorkModel work = is_exact ? als_work(factors, true, 0) : WorkModel{4.0 * factors * passes, factors * passes};
  const ShardPlan plan = plan_shards(prepared.dataset.by_user(), prepared.dataset.by_item(), work,
                                     static_cast<Rank>(number(words[1])), static_cast<std::uint32_t>(number(words[2])));
  const EpochCost cost = predict_epoch(plan, number(words[5]), static_cast<std::uint64_t>(factors * 4),
                                       {number(words[6]), number(words[7])});
  fmt::print("{}\n", cost.seconds);
}

int run(const std::vector<std::string>& words) {
  if (words.empty()) {
    print_table();
  } else if (words.size() == 9 && words[0] == "epoch") {
    print_epoch({words.begin() + 1, words.end()});
  } else {
    fmt::print(stderr, "usage: bench_cluster_model [epoch DATA RANKS ROUNDS FACTORS SOLVER SECONDS LATENCY BYTES]\n");
    return 2;
  }
  return 0;
}

}  // namespace
}  // namespace concerto::bench

int main(int count, char** words) {
  try {
    return concerto::bench::run({words + 1, words + count});
  } catch (const std::exception& error) {
    fmt::print(stderr, "bench_cluster_model: error: {}\n", error.what());
    return 2;
  }
}
