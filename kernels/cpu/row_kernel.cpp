// See row_kernel.hpp.
#include "row_kernel.hpp"

#include <algorithm>

#include <hwy/cache_control.h>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "row_kernel.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace concerto::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using Tag = hn::ScalableTag<float>;
constexpr std::size_t kLanes = hn::MaxLanes(Tag());
/// Rows ahead of the present one that are fetched into the cache.
constexpr std::size_t kPrefetchDistance = 8;

HWY_INLINE float dot(const float* a, const float* b, std::size_t stride) {
  constexpr Tag d;
  auto even = hn::Zero(d);
  auto odd = hn::Zero(d);
  std::size_t c = 0;
  for (; c + 2 * kLanes <= stride; c += 2 * kLanes) {
    even = hn::MulAdd(hn::Load(d, a + c), hn::Load(d, b + c), even);
    odd = hn::MulAdd(hn::Load(d, a + c + kLanes), hn::Load(d, b + c + kLanes), odd);
  }
  if (c < stride) even = hn::MulAdd(hn::Load(d, a + c), hn::Load(d, b + c), even);
  return hn::GetLane(hn::SumOfLanes(d, hn::Add(even, odd)));
}

float norm(const float* row, std::size_t stride) {
  return dot(row, row, stride);
}

void gather(const float* x, const float* table, std::size_t stride, std::span<const RowIndex> rows, float* products) {
  for (std::size_t k = 0; k < rows.size(); ++k) {
    if (k + kPrefetchDistance < rows.size()) {
      const float* const next = table + rows[k + kPrefetchDistance] * stride;
      for (std::size_t c = 0; c < stride; c += kCacheLine / sizeof(float)) hwy::Prefetch(next + c);
    }
    products[k] = dot(x, table + rows[k] * stride, stride);
  }
}

void transform(std::span<float> scores, const float* scales, const float* shifts) {
  constexpr Tag d;
  std::size_t c = 0;
  for (; c + kLanes <= scores.size(); c += kLanes) {
    const auto scaled = hn::MulAdd(hn::LoadU(d, scores.data() + c), hn::LoadU(d, scales + c), hn::LoadU(d, shifts + c));
    hn::StoreU(scaled, d, scores.data() + c);
  }
  for (; c < scores.size(); ++c) scores[c] = scores[c] * scales[c] + shifts[c];
}

std::size_t find(std::span<const float> scores, std::size_t from, float threshold) {
  constexpr Tag d;
  const auto limit = hn::Set(d, threshold);
  std::size_t c = from;
  for (; c + kLanes <= scores.size(); c += kLanes) {
    const auto above = hn::Gt(hn::LoadU(d, scores.data() + c), limit);
    if (const auto lane = hn::FindFirstTrue(d, above); lane >= 0) return c + static_cast<std::size_t>(lane);
  }
  while (c < scores.size() && !(scores[c] > threshold)) ++c;
  return c;
}

}  // namespace concerto::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace concerto::cpu {

HWY_EXPORT(norm);
HWY_EXPORT(gather);
HWY_EXPORT(transform);
HWY_EXPORT(find);

float squared_norm(const float* row, std::size_t stride) {
  return HWY_DYNAMIC_DISPATCH(norm)(row, stride);
}

void gathered_products(const float* x, const float* table, std::size_t stride, std::span<const RowIndex> rows,
                       float* products) {
  HWY_DYNAMIC_DISPATCH(gather)(x, table, stride, rows, products);
}

void scale_and_shift(std::span<float> scores, const float* scales, const float* shifts) {
  HWY_DYNAMIC_DISPATCH(transform)(scores, scales, shifts);
}

std::size_t find_above(std::span<const float> scores, std::size_t from, float threshold) {
  return HWY_DYNAMIC_DISPATCH(find)(scores, from, threshold);
}

}  // namespace concerto::cpu
#endif  // HWY_ONCE
