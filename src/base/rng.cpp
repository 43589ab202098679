// Philox4x32-10 and what is drawn from it.
#include "concerto/base/rng.hpp"

#include <cmath>
#include <numbers>
#include <utility>

#include "concerto/base/check.hpp"

namespace concerto {
namespace {

// The multipliers and Weyl increments of Philox4x32 (Salmon et al. 2011, table 2).
constexpr std::uint32_t kMultiplier0 = 0xD2511F53U;
constexpr std::uint32_t kMultiplier1 = 0xCD9E8D57U;
constexpr std::uint32_t kWeyl0 = 0x9E3779B9U;
constexpr std::uint32_t kWeyl1 = 0xBB67AE85U;
constexpr int kRounds = 10;

/// Two uniform words to one standard normal (Box and Muller 1958); the first is kept off zero.
double box_muller(std::uint32_t a, std::uint32_t b) noexcept {
  const double u = (static_cast<double>(a) + 0.5) * 0x1p-32;
  const double v = static_cast<double>(b) * 0x1p-32;
  return std::sqrt(-2.0 * std::log(u)) * std::cos(2.0 * std::numbers::pi * v);
}

}  // namespace

std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> counter, std::uint64_t key) noexcept {
  auto key0 = static_cast<std::uint32_t>(key);
  auto key1 = static_cast<std::uint32_t>(key >> 32);
  for (int round = 0; round < kRounds; ++round) {
    const std::uint64_t product0 = std::uint64_t{kMultiplier0} * counter[0];
    const std::uint64_t product1 = std::uint64_t{kMultiplier1} * counter[2];
    counter = {static_cast<std::uint32_t>(product1 >> 32) ^ counter[1] ^ key0, static_cast<std::uint32_t>(product1),
               static_cast<std::uint32_t>(product0 >> 32) ^ counter[3] ^ key1, static_cast<std::uint32_t>(product0)};
    key0 += kWeyl0;
    key1 += kWeyl1;
  }
  return counter;
}

Random::result_type Random::operator()() noexcept {
  if (used_ == 4) {
    block_ = philox({static_cast<std::uint32_t>(counter_), static_cast<std::uint32_t>(counter_ >> 32),
                     static_cast<std::uint32_t>(stream_), static_cast<std::uint32_t>(stream_ >> 32)},
                    seed_);
    ++counter_;
    used_ = 0;
  }
  return block_[used_++];
}

std::uint64_t Random::below(std::uint64_t bound) noexcept {
  CONCERTO_CHECK(bound >= 1, "a bound of zero leaves nothing to draw");
  // Values above the largest multiple of `bound` would favour small results; they are drawn again.
  const std::uint64_t limit = ~std::uint64_t{0} - (~std::uint64_t{0} % bound + 1) % bound;
  for (;;) {
    const std::uint64_t high = (*this)();
    const std::uint64_t value = (high << 32) | (*this)();
    if (value <= limit) return value % bound;
  }
}

double Random::uniform() noexcept {
  const std::uint64_t high = (*this)();
  const std::uint64_t value = (high << 32) | (*this)();
  return static_cast<double>(value >> 11) * 0x1p-53;
}

double Random::normal() noexcept {
  const std::uint32_t a = (*this)();
  const std::uint32_t b = (*this)();
  return box_muller(a, b);
}

float normal_at(std::uint64_t seed, std::uint32_t table, std::uint32_t row, std::uint32_t column) noexcept {
  // One block serves two columns; the tag keeps these counters apart from those of Random.
  constexpr std::uint32_t kTag = 0x6e6f726dU;
  const auto block = philox({column / 2, row, table, kTag}, seed);
  const bool second = column % 2 != 0;
  return static_cast<float>(box_muller(block[second ? 2 : 0], block[second ? 3 : 1]));
}

std::vector<std::uint32_t> random_permutation(std::uint32_t count, std::uint64_t seed, std::uint64_t stream) {
  std::vector<std::uint32_t> order(count);
  for (std::uint32_t i = 0; i < count; ++i) order[i] = i;
  Random random(seed, stream);
  for (std::uint32_t i = count; i > 1; --i) std::swap(order[i - 1], order[random.below(i)]);
  return order;
}

}  // namespace concerto
