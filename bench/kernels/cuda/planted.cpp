// Planted ratings: each user's draws are a pure function of (seed, user, draw), so that a first pass over the users
// counts and a second one writes in place.
#include "planted.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

#include "concerto/base/rng.hpp"

namespace concerto::bench {
namespace {

enum Stream : std::uint64_t { kUserOrder = 1, kItemOrder, kUserFactors, kItemFactors, kDraw, kTest, kNoise };

/// Steele, Lea and Flood's SplitMix64 output function.
std::uint64_t mixed(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15U;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9U;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebU;
  return x ^ (x >> 31);
}
std::uint64_t word_at(std::uint64_t seed, Stream stream, std::uint64_t a, std::uint64_t b) {
  return mixed(mixed(mixed(seed * 16 + stream) ^ a) ^ b);
}
/// In (0, 1).
double uniform(std::uint64_t word) {
  return (static_cast<double>(word >> 12) + 0.5) * 0x1p-52;
}
double normal(std::uint64_t word) {
  const double radius = std::sqrt(-2.0 * std::log(uniform(word)));
  return radius * std::cos(2.0 * std::numbers::pi * uniform(mixed(word)));
}

/// The density ~ (place + shift)^-exponent on [0, count) as a distribution function and its inverse.
struct PowerLaw {
  PowerLaw(double count, double shift_, double exponent)
      : shift(shift_), power(1.0 - exponent), low(std::pow(shift_, power)), high(std::pow(shift_ + count, power)) {}
  [[nodiscard]] double below(double place) const { return (std::pow(place + shift, power) - low) / (high - low); }
  [[nodiscard]] double inverse(double share) const { return std::pow(low + share * (high - low), 1.0 / power) - shift; }
  double shift;
  double power;
  double low;
  double high;
};

class Planted {
 public:
  explicit Planted(const PlantedOptions& options)
      : options_(options),
        user_law_(options.users, options.user_shift, options.user_exponent),
        item_law_(options.items, options.item_shift, options.item_exponent),
        user_place_(random_permutation(options.users, options.seed, kUserOrder)),
        item_row_(random_permutation(options.items, options.seed, kItemOrder)),
        users_(factors(options.users, kUserFactors)),
        items_(factors(options.items, kItemFactors)) {}

  /// The distinct items of a user, ascending.
  void items_of(RowIndex user, std::vector<RowIndex>& found) const {
    const double place = user_place_[user];
    const auto draws_before = [&](double at) {
      return static_cast<EntryIndex>(std::llround(static_cast<double>(options_.draws) * user_law_.below(at)));
    };
    const EntryIndex count = draws_before(place + 1.0) - draws_before(place);
    found.clear();
    for (EntryIndex k = 0; k < count; ++k) {
      const double at = item_law_.inverse(uniform(word_at(options_.seed, kDraw, user, k)));
      found.push_back(item_row_[std::min(static_cast<std::size_t>(at), item_row_.size() - 1)]);
    }
    std::ranges::sort(found);
    found.erase(std::ranges::unique(found).begin(), found.end());
  }
  /// A user's first item always trains.
  [[nodiscard]] bool is_test(RowIndex user, RowIndex item, std::size_t place) const {
    return place > 0 && uniform(word_at(options_.seed, kTest, user, item)) < options_.test_share;
  }
  [[nodiscard]] double score(RowIndex user, RowIndex item) const {
    const float* x = users_.data() + std::size_t{user} * options_.rank;
    const float* y = items_.data() + std::size_t{item} * options_.rank;
    float sum = 0.0F;
    for (std::uint32_t c = 0; c < options_.rank; ++c) sum += x[c] * y[c];
    return options_.mean + double{sum};
  }
  [[nodiscard]] float rating(RowIndex user, RowIndex item) const {
    const double noise = options_.noise_stddev * normal(word_at(options_.seed, kNoise, user, item));
    return static_cast<float>(std::clamp(std::round(score(user, item) + noise), 1.0, 5.0));
  }

 private:
  [[nodiscard]] std::vector<float> factors(RowIndex rows, Stream stream) const {
    std::vector<float> values(std::size_t{rows} * options_.rank);
    const double stddev = std::sqrt(options_.signal_stddev / std::sqrt(static_cast<double>(options_.rank)));
    for (std::size_t i = 0; i < values.size(); ++i) {
      values[i] = static_cast<float>(stddev * normal(word_at(options_.seed, stream, i, 0)));
    }
    return values;
  }

  PlantedOptions options_;
  PowerLaw user_law_;
  PowerLaw item_law_;
  std::vector<std::uint32_t> user_place_;
  std::vector<std::uint32_t> item_row_;
  std::vector<float> users_;
  std::vector<float> items_;
};

constexpr std::size_t kGrain = 512;

void sum_offsets(CompressedMatrix& matrix) {
  for (RowIndex r = 0; r < matrix.rows; ++r) matrix.offsets[r + 1] += matrix.offsets[r];
  matrix.columns.resize(matrix.offsets.back());
  matrix.values.resize(matrix.offsets.back());
}

double rmse_of_truth(const Planted& planted, const CompressedRows& test) {
  double squares = 0.0;
  for (RowIndex user = 0; user < test.rows; ++user) {
    for (EntryIndex k = test.offsets[user]; k < test.offsets[user + 1]; ++k) {
      const double error = test.values[k] - planted.score(user, test.columns[k]);
      squares += error * error;
    }
  }
  return test.entries() == 0 ? 0.0 : std::sqrt(squares / static_cast<double>(test.entries()));
}

}  // namespace

PlantedOptions PlantedOptions::scaled(double scale) const {
  PlantedOptions small = *this;
  small.users = std::max(16U, static_cast<RowIndex>(users * scale));
  small.items = std::max(16U, static_cast<RowIndex>(items * scale));
  small.draws = std::max<EntryIndex>(64, static_cast<EntryIndex>(static_cast<double>(draws) * scale * scale));
  small.user_shift = std::max(1.0, user_shift * scale);
  small.item_shift = std::max(1.0, item_shift * scale);
  return small;
}

PlantedData make_planted(const PlantedOptions& options, ThreadPool& pool) {
  const Planted planted(options);
  PlantedData data;
  CompressedMatrix& train = data.by_user;
  CompressedMatrix& test = data.test.known;
  for (CompressedMatrix* part : {&train, &test}) {
    part->rows = options.users;
    part->column_count = options.items;
    part->offsets.assign(std::size_t{options.users} + 1, 0);
  }
  const auto for_each_user = [&](auto&& body) {
    pool.parallel_for(options.users, kGrain, [&](std::size_t begin, std::size_t end, unsigned) {
      std::vector<RowIndex> items;
      for (std::size_t user = begin; user < end; ++user) {
        planted.items_of(static_cast<RowIndex>(user), items);
        body(static_cast<RowIndex>(user), items);
      }
    });
  };
  for_each_user([&](RowIndex user, const std::vector<RowIndex>& items) {
    for (std::size_t k = 0; k < items.size(); ++k) {
      ++(planted.is_test(user, items[k], k) ? test : train).offsets[user + 1];
    }
  });
  sum_offsets(train);
  sum_offsets(test);
  for_each_user([&](RowIndex user, const std::vector<RowIndex>& items) {
    EntryIndex at[2] = {train.offsets[user], test.offsets[user]};
    for (std::size_t k = 0; k < items.size(); ++k) {
      const bool held_out = planted.is_test(user, items[k], k);
      CompressedMatrix& part = held_out ? test : train;
      const EntryIndex place = at[held_out ? 1 : 0]++;
      part.columns[place] = items[k];
      part.values[place] = planted.rating(user, items[k]);
    }
  });
  data.true_rmse = rmse_of_truth(planted, test.view());
  return data;
}

}  // namespace concerto::bench
