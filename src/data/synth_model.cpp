// Planting the model: every number is keyed by (seed, what it is, row, column), so that neither threads nor the other
// counts change it.
#include "synth_model.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>

#include "concerto/base/rng.hpp"

namespace concerto {
namespace {

// What a random number is for.
enum Purpose : std::uint32_t { kUserFactors = 11, kItemFactors, kUserBiases, kItemBiases, kActivity, kPopularity };

// Shares of the signal's variance. Biases take a third, about what they explain in MovieLens.
constexpr double kTasteShare = 0.7;
constexpr double kBiasShare = 0.15;

void fill_normal(std::vector<float>& target, std::uint32_t columns, double stddev, std::uint64_t seed, Purpose purpose,
                 ThreadPool& pool) {
  pool.parallel_for(target.size() / columns, 4096, [&](std::size_t begin, std::size_t end, unsigned) {
    for (std::size_t row = begin; row < end; ++row) {
      for (std::uint32_t c = 0; c < columns; ++c) {
        const float value = normal_at(seed, purpose, static_cast<std::uint32_t>(row), c);
        target[row * columns + c] = static_cast<float>(stddev * static_cast<double>(value));
      }
    }
  });
}

/// Item 0 is the most popular one, so that it surely occurs and ids count from 0; the others are in random order.
[[nodiscard]] std::vector<double> item_popularity(const SynthOptions& options) {
  const auto items = static_cast<std::uint32_t>(options.items);
  std::vector<std::uint32_t> order = random_permutation(items, options.seed, kPopularity);
  std::iter_swap(order.begin(), std::ranges::find(order, 0U));
  std::vector<double> popularity(items);
  for (std::uint32_t k = 0; k < items; ++k) {
    popularity[order[k]] = std::pow((k + 10.0) / 10.0, -options.zipf_exponent);
  }
  return popularity;
}

/// Entries of each user: proportional to a log-normal activity, within [least, most], in sum exactly `entries`.
[[nodiscard]] std::vector<std::uint32_t> user_entries(const SynthOptions& options) {
  const double least = options.entries >= options.users ? 1.0 : 0.0;
  const std::uint64_t half = options.items / 2;
  const double most = static_cast<double>(options.entries <= options.users * half ? half : options.items);
  std::vector<double> activity(options.users);
  for (std::size_t u = 0; u < activity.size(); ++u) {
    const float normal = normal_at(options.seed, kActivity, static_cast<std::uint32_t>(u), 0);
    activity[u] = std::exp(options.activity_sigma * static_cast<double>(normal));
  }
  const auto sum_at = [&](double scale) {
    double sum = 0.0;
    for (const double a : activity) sum += std::clamp(a * scale, least, most);
    return sum;
  };
  const auto wanted = static_cast<double>(options.entries);
  double low = 0.0;
  double high = 1.0;
  while (sum_at(high) < wanted && high < 1e300) high *= 2;
  for (int step = 0; step < 100; ++step) {
    const double middle = (low + high) / 2;
    (sum_at(middle) < wanted ? low : high) = middle;
  }
  // Rounding the running sum keeps every user within one of its share and the total exact.
  std::vector<std::uint32_t> counts(options.users);
  double running = 0.0;
  std::uint64_t given = 0;
  for (std::size_t u = 0; u < counts.size(); ++u) {
    running += std::clamp(activity[u] * high, least, most);
    const auto until = std::min(options.entries, static_cast<std::uint64_t>(std::llround(running)));
    counts[u] = static_cast<std::uint32_t>(until - given);
    given = until;
  }
  return counts;
}

}  // namespace

AliasTable::AliasTable(std::span<const double> weights) : slots_(weights.size()) {
  const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  std::vector<double> share(weights.size());
  std::vector<RowIndex> small;
  std::vector<RowIndex> large;
  for (RowIndex i = 0; i < weights.size(); ++i) {
    share[i] = weights[i] / total * static_cast<double>(weights.size());
    (share[i] < 1.0 ? small : large).push_back(i);
  }
  while (!small.empty() && !large.empty()) {
    const RowIndex poor = small.back();
    const RowIndex rich = large.back();
    small.pop_back();
    slots_[poor] = {static_cast<std::uint32_t>(share[poor] * 0x1p32), rich};
    share[rich] -= 1.0 - share[poor];
    if (share[rich] >= 1.0) continue;
    large.pop_back();
    small.push_back(rich);
  }
  for (const RowIndex i : small) slots_[i] = {~std::uint32_t{0}, i};
  for (const RowIndex i : large) slots_[i] = {~std::uint32_t{0}, i};
}

SynthModel plant_model(const SynthOptions& options, ThreadPool& pool) {
  SynthModel model;
  model.rank = options.rank;
  model.user_factors.resize(options.users * options.rank);
  model.item_factors.resize(options.items * options.rank);
  model.user_biases.resize(options.users);
  model.item_biases.resize(options.items);
  const double taste_share = options.is_implicit ? 1.0 : kTasteShare;
  const double taste_variance = taste_share * options.signal_stddev * options.signal_stddev;
  // var(x.y) = rank * var(x) * var(y)
  const double factor_stddev = std::pow(taste_variance / options.rank, 0.25);
  fill_normal(model.user_factors, options.rank, factor_stddev, options.seed, kUserFactors, pool);
  fill_normal(model.item_factors, options.rank, factor_stddev, options.seed, kItemFactors, pool);
  model.popularity = item_popularity(options);
  model.log_popularity.resize(options.items);
  std::ranges::transform(model.popularity, model.log_popularity.begin(),
                         [](double p) { return static_cast<float>(std::log(p)); });
  if (options.is_implicit) {
    model.item_biases = model.log_popularity;
    const double sum = std::accumulate(model.item_biases.begin(), model.item_biases.end(), 0.0);
    const auto mean = static_cast<float>(sum / static_cast<double>(options.items));
    for (float& bias : model.item_biases) bias -= mean;
  } else {
    const double bias_stddev = std::sqrt(kBiasShare) * options.signal_stddev;
    fill_normal(model.user_biases, 1, bias_stddev, options.seed, kUserBiases, pool);
    fill_normal(model.item_biases, 1, bias_stddev, options.seed, kItemBiases, pool);
  }
  model.entries_of_user = user_entries(options);
  return model;
}

std::vector<float> normal_quantiles(std::size_t count, double stddev) {
  std::vector<double> quantiles(count);
  double squares = 0.0;
  for (std::size_t k = 0; k < count; ++k) {
    const double share = (static_cast<double>(k) + 0.5) / static_cast<double>(count);
    double low = -10.0;
    double high = 10.0;
    for (int step = 0; step < 50; ++step) {
      const double middle = (low + high) / 2;
      (0.5 * std::erfc(-middle / std::numbers::sqrt2) < share ? low : high) = middle;
    }
    quantiles[k] = low;
    squares += low * low;
  }
  const double scale = squares > 0.0 ? stddev / std::sqrt(squares / static_cast<double>(count)) : 0.0;
  std::vector<float> result(count);
  std::ranges::transform(quantiles, result.begin(), [&](double q) { return static_cast<float>(scale * q); });
  return result;
}

}  // namespace concerto
