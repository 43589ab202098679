// Counter-based random numbers: a value is a pure function of (seed, stream, counter), so that it depends neither on
// threads nor on ranks nor on the order in which values are asked for.
//
// Source: Philox4x32-10 of Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011).
#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace concerto {

/// The Philox4x32-10 block function: four 32-bit words from a 128-bit counter and a 64-bit key.
[[nodiscard]] std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> counter, std::uint64_t key) noexcept;

/// A sequence of random numbers named by (seed, stream). Cheap to construct; copying copies the position.
/// Satisfies UniformRandomBitGenerator, but use the members below: the distributions of <random> differ by library.
class Random {
 public:
  using result_type = std::uint32_t;
  explicit Random(std::uint64_t seed, std::uint64_t stream = 0) noexcept : seed_(seed), stream_(stream) {}

  static constexpr result_type min() { return 0; }
  static constexpr result_type max() { return 0xffffffffU; }
  result_type operator()() noexcept;

  /// Uniform on [0, bound), without bias; bound >= 1.
  std::uint64_t below(std::uint64_t bound) noexcept;
  /// Uniform on [0, 1) with 53 bits.
  double uniform() noexcept;
  /// Standard normal, by Box and Muller's method.
  double normal() noexcept;

 private:
  std::uint64_t seed_;
  std::uint64_t stream_;
  std::uint64_t counter_ = 0;
  std::array<std::uint32_t, 4> block_{};
  unsigned used_ = 4;
};

/// The standard normal value at (seed, table, row, column). Pure; about 30 ns.
[[nodiscard]] float normal_at(std::uint64_t seed, std::uint32_t table, std::uint32_t row,
                              std::uint32_t column) noexcept;

/// A uniformly drawn permutation of 0..count-1 (Fisher and Yates). Serial, O(count).
[[nodiscard]] std::vector<std::uint32_t> random_permutation(std::uint32_t count, std::uint64_t seed,
                                                            std::uint64_t stream);

}  // namespace concerto
