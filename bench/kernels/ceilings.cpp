// The machine's ceilings: see ceilings.hpp.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ceilings.cpp"  // NOLINT: Highway compiles this file once for each instruction set
#include <cstdint>

#include <hwy/cache_control.h>
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace concerto::bench::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;
using Tag = hn::CappedTag<float, 16>;
using Vec = hn::Vec<Tag>;

/// Twelve chains of multiply-adds, enough to hide their latency. Returns the flops done; the sum keeps them alive.
double chains(std::size_t steps, float* sum) {
  const Tag d;
  constexpr std::size_t kChains = 12;
  Vec values[kChains];
  for (std::size_t i = 0; i < kChains; ++i) values[i] = hn::Set(d, static_cast<float>(i));
  const Vec factor = hn::Set(d, 0.999F);
  const Vec term = hn::Set(d, 0.001F);
  for (std::size_t s = 0; s < steps; ++s) {
#pragma GCC unroll 12
    for (std::size_t i = 0; i < kChains; ++i) values[i] = hn::MulAdd(values[i], factor, term);
  }
  for (std::size_t i = 0; i < kChains; ++i) *sum += hn::GetLane(values[i]);
  return 2.0 * static_cast<double>(steps * kChains * hn::Lanes(d));
}

void triad(float* HWY_RESTRICT a, const float* HWY_RESTRICT b, const float* HWY_RESTRICT c, std::size_t count) {
  const Tag d;
  const Vec scale = hn::Set(d, 3.0F);
  for (std::size_t j = 0; j < count; j += hn::Lanes(d)) {
    hn::Store(hn::MulAdd(scale, hn::Load(d, c + j), hn::Load(d, b + j)), d, a + j);
  }
}

/// Sum of `count` floats, a multiple of 64.
float read(const float* a, std::size_t count) {
  const Tag d;
  const std::size_t lanes = hn::Lanes(d);
  Vec sums[4] = {hn::Zero(d), hn::Zero(d), hn::Zero(d), hn::Zero(d)};
  for (std::size_t j = 0; j < count; j += 4 * lanes) {
#pragma GCC unroll 4
    for (std::size_t i = 0; i < 4; ++i) sums[i] = hn::Add(sums[i], hn::Load(d, a + j + i * lanes));
  }
  return hn::GetLane(hn::SumOfLanes(d, hn::Add(hn::Add(sums[0], sums[1]), hn::Add(sums[2], sums[3]))));
}

float read_rows(const float* table, std::size_t row_floats, const std::uint32_t* rows, std::size_t count,
                std::size_t ahead) {
  const Tag d;
  Vec sum = hn::Zero(d);
  for (std::size_t k = 0; k < count; ++k) {
    const float* next = table + std::size_t{rows[k + ahead]} * row_floats;
    const float* row = table + std::size_t{rows[k]} * row_floats;
    for (std::size_t j = 0; j < row_floats; j += 16) hwy::Prefetch(next + j);
    for (std::size_t j = 0; j < row_floats; j += hn::Lanes(d)) sum = hn::Add(sum, hn::Load(d, row + j));
  }
  return hn::GetLane(hn::SumOfLanes(d, sum));
}

}  // namespace concerto::bench::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

#include <algorithm>
#include <ctime>
#include <random>
#include <vector>

#include "concerto/base/aligned.hpp"

#include "ceilings.hpp"

namespace concerto::bench {
namespace {

HWY_EXPORT(chains);
HWY_EXPORT(triad);
HWY_EXPORT(read);
HWY_EXPORT(read_rows);

double thread_seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

/// The best rate of seven runs; `work` returns what it did.
template <class Work>
double best_rate(const Work& work) {
  double best = 0.0;
  for (int run = 0; run < 7; ++run) {
    const double start = thread_seconds();
    const double done = work();
    best = std::max(best, done / (thread_seconds() - start));
  }
  return best;
}

/// Keeps results of loops that are run for their time only.
volatile float kept = 0.0F;

}  // namespace

double fma_gflops() {
  return best_rate([] {
           float sum = 0.0F;
           const double flops = HWY_DYNAMIC_DISPATCH(chains)(2'000'000, &sum);
           kept = sum;
           return flops;
         }) /
         1e9;
}

double triad_gbytes() {
  constexpr std::size_t kCount = std::size_t{16} << 20;
  AlignedVector<float> a(kCount, 1.0F);
  const AlignedVector<float> b(kCount, 2.0F);
  const AlignedVector<float> c(kCount, 3.0F);
  return best_rate([&] {
           HWY_DYNAMIC_DISPATCH(triad)(a.data(), b.data(), c.data(), kCount);
           return 12.0 * kCount;
         }) /
         1e9;
}

double l2_read_gbytes() {
  constexpr std::size_t kCount = 131072;
  constexpr int kRepeats = 200;
  const AlignedVector<float> a(kCount, 1.0F);
  return best_rate([&] {
           for (int repeat = 0; repeat < kRepeats; ++repeat) kept = HWY_DYNAMIC_DISPATCH(read)(a.data(), kCount);
           return 4.0 * kCount * kRepeats;
         }) /
         1e9;
}

double row_gather_gbytes(std::size_t row_floats, std::size_t table_bytes) {
  constexpr std::size_t kCount = 100'000;
  constexpr std::size_t kFarthest = 64;
  const std::size_t rows = table_bytes / (row_floats * sizeof(float));
  const AlignedVector<float> table(rows * row_floats, 1.0F);
  std::mt19937_64 random(1);
  std::vector<std::uint32_t> order(kCount + kFarthest);
  for (std::uint32_t& row : order) row = static_cast<std::uint32_t>(random() % rows);
  double best = 0.0;
  for (const std::size_t ahead : {std::size_t{4}, std::size_t{8}, std::size_t{16}, std::size_t{32}, kFarthest}) {
    best = std::max(best, best_rate([&] {
                      kept = HWY_DYNAMIC_DISPATCH(read_rows)(table.data(), row_floats, order.data(), kCount, ahead);
                      return static_cast<double>(kCount * row_floats * sizeof(float));
                    }));
  }
  return best / 1e9;
}

}  // namespace concerto::bench

#endif  // HWY_ONCE
