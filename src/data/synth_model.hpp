// The planted model behind synthetic data: factors, biases, popularity of items, activity of users. Pure functions of
// the options; which entries are then observed is drawn elsewhere.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "concerto/base/ids.hpp"
#include "concerto/base/thread_pool.hpp"
#include "concerto/data/synth.hpp"

namespace concerto {

/// Draws from a fixed discrete distribution in constant time (Walker 1977; built as Vose 1991 does).
class AliasTable {
 public:
  explicit AliasTable(std::span<const double> weights);
  /// The outcome for two uniform 32-bit words.
  [[nodiscard]] RowIndex draw(std::uint32_t a, std::uint32_t b) const noexcept {
    const auto slot = static_cast<std::size_t>(std::uint64_t{a} * slots_.size() >> 32);
    return b < slots_[slot].threshold ? static_cast<RowIndex>(slot) : slots_[slot].alias;
  }

 private:
  struct Slot {
    std::uint32_t threshold;
    RowIndex alias;
  };
  std::vector<Slot> slots_;
};

struct SynthModel {
  std::uint32_t rank = 0;
  std::vector<float> user_factors;  ///< users x rank
  std::vector<float> item_factors;  ///< items x rank
  std::vector<float> user_biases;   ///< zeros if implicit
  std::vector<float> item_biases;   ///< if implicit the log of the popularity, less its mean
  std::vector<double> popularity;   ///< by item, the largest is 1
  std::vector<float> log_popularity;
  std::vector<std::uint32_t> entries_of_user;

  /// x_u . y_i, in four running sums, so that it is not one chain of additions.
  [[nodiscard]] float taste(RowIndex user, RowIndex item) const noexcept {
    const float* const x = user_factors.data() + std::size_t{user} * rank;
    const float* const y = item_factors.data() + std::size_t{item} * rank;
    float a = 0.0F;
    float b = 0.0F;
    float c = 0.0F;
    float d = 0.0F;
    std::uint32_t k = 0;
    for (; k + 4 <= rank; k += 4) {
      a += x[k] * y[k];
      b += x[k + 1] * y[k + 1];
      c += x[k + 2] * y[k + 2];
      d += x[k + 3] * y[k + 3];
    }
    float sum = (a + b) + (c + d);
    for (; k < rank; ++k) sum += x[k] * y[k];
    return sum;
  }
};

[[nodiscard]] SynthModel plant_model(const SynthOptions& options, ThreadPool& pool);

/// The standard normal quantiles at the middles of `count` equal shares, scaled to the stated standard deviation: a
/// table from which noise is drawn fast.
[[nodiscard]] std::vector<float> normal_quantiles(std::size_t count, double stddev);

}  // namespace concerto
