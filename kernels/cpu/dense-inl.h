// Dense building blocks in registers: sums of outer products, products of few vectors with a matrix, dot products and
// weighted sums of rows. Compiled once for each instruction set (Highway's foreach_target); included by the files of
// kernels/cpu that need them and by nothing else. Nothing here allocates, branches on data or knows the model.
//
// Matrices are row-major; every row length named `width` is a multiple of 16 floats and rows start on cache lines.
// Each output element is summed in one fixed order, whatever the tile that computes it, so that results do not depend
// on how rows are grouped.

#if defined(CONCERTO_KERNELS_CPU_DENSE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef CONCERTO_KERNELS_CPU_DENSE_INL_H_
#undef CONCERTO_KERNELS_CPU_DENSE_INL_H_
#else
#define CONCERTO_KERNELS_CPU_DENSE_INL_H_
#endif

#include <cstddef>
#include <cstdint>

#include <hwy/cache_control.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace concerto::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using Tag = hn::CappedTag<float, 16>;
using Vec = hn::Vec<Tag>;
/// For blocks of eight: eight lanes, or one in portable code.
using Tag8 = hn::CappedTag<float, 8>;
using Vec8 = hn::Vec<Tag8>;
/// Floats in a vector: 16, 8 or 1.
inline constexpr std::size_t kLanes = hn::MaxLanes(Tag());
/// A register tile is kTileRows x (up to kTileVectors vectors) of accumulators: 24 of 32 registers, or 12 of 16.
inline constexpr std::size_t kTileRows = kLanes == 16 ? 8 : 4;
inline constexpr std::size_t kTileVectors = kLanes == 1 ? 2 : 3;
/// Rows that dot products and weighted sums take at a time.
inline constexpr std::size_t kGroup = 8;

/// c[i][v] += scale * sum over k < depth of a[k * a_step + i] * b[k * b_step + v], for kRows rows i and kVectors
/// vectors v. 2 * depth * kRows * kVectors * kLanes flops.
template <std::size_t kRows, std::size_t kVectors>
HWY_INLINE void outer_tile(std::size_t depth, const float* HWY_RESTRICT a, std::size_t a_step,
                           const float* HWY_RESTRICT b, std::size_t b_step, float scale, float* HWY_RESTRICT c,
                           std::size_t c_step) {
  const Tag d;
  Vec sums[kRows][kVectors];
#pragma GCC unroll 16
  for (std::size_t i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
    for (std::size_t v = 0; v < kVectors; ++v) sums[i][v] = hn::Zero(d);
  }
  for (std::size_t k = 0; k < depth; ++k) {
    Vec right[kVectors];
#pragma GCC unroll 4
    for (std::size_t v = 0; v < kVectors; ++v) right[v] = hn::Load(d, b + v * kLanes);
#pragma GCC unroll 16
    for (std::size_t i = 0; i < kRows; ++i) {
      const Vec left = hn::Set(d, a[i]);
#pragma GCC unroll 4
      for (std::size_t v = 0; v < kVectors; ++v) sums[i][v] = hn::MulAdd(left, right[v], sums[i][v]);
    }
    a += a_step;
    b += b_step;
  }
  const Vec factor = hn::Set(d, scale);
#pragma GCC unroll 16
  for (std::size_t i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
    for (std::size_t v = 0; v < kVectors; ++v) {
      float* to = c + i * c_step + v * kLanes;
      hn::Store(hn::MulAdd(factor, sums[i][v], hn::Load(d, to)), d, to);
    }
  }
}

/// outer_tile over any number of vectors: the row of tiles that starts at column vector 0 of b and c.
template <std::size_t kRows>
HWY_INLINE void outer_tile_row(std::size_t depth, const float* a, std::size_t a_step, const float* b,
                               std::size_t b_step, std::size_t vectors, float scale, float* c, std::size_t c_step) {
  while (vectors != 0) {
    // 4 = 2 + 2 rather than 3 + 1: narrow tiles wait for loads.
    const std::size_t take = vectors == 4 ? 2 : vectors < kTileVectors ? vectors : kTileVectors;
    if (take == 3) {
      if constexpr (kTileVectors >= 3) outer_tile<kRows, 3>(depth, a, a_step, b, b_step, scale, c, c_step);
    } else if (take == 2) {
      outer_tile<kRows, 2>(depth, a, a_step, b, b_step, scale, c, c_step);
    } else {
      outer_tile<kRows, 1>(depth, a, a_step, b, b_step, scale, c, c_step);
    }
    b += take * kLanes;
    c += take * kLanes;
    vectors -= take;
  }
}

/// Upper triangle (whole vectors: some elements left of the diagonal are written too, and mean nothing) of
/// c += scale * sum over k of left_k^T right_k, where left and right are `depth` rows of `width` floats, `step` apart.
/// left == right, or left is right with weighted rows.
/// between(i) is called before the tiles of rows [i, i + kTileRows): a place to ask for memory that is needed next.
template <class Between>
HWY_INLINE void add_outer_products(std::size_t depth, const float* left, const float* right, std::size_t step,
                                   std::size_t width, float scale, float* c, std::size_t c_step,
                                   const Between& between) {
  for (std::size_t i = 0; i < width; i += kTileRows) {
    between(i);
    const std::size_t j = i / kLanes * kLanes;
    outer_tile_row<kTileRows>(depth, left + i, step, right + j, step, (width - j) / kLanes, scale, c + i * c_step + j,
                              c_step);
  }
}

HWY_INLINE void add_outer_products(std::size_t depth, const float* left, const float* right, std::size_t step,
                                   std::size_t width, float scale, float* c, std::size_t c_step) {
  add_outer_products(depth, left, right, step, width, scale, c, c_step, [](std::size_t) {});
}

/// out_u[v] = sum over k < depth of p_u[k] * m[k * m_step + v] for kRows vectors p_u = p + u * p_step. `m` may have any
/// alignment.
template <std::size_t kRows, std::size_t kVectors>
HWY_INLINE void product_tile(std::size_t depth, const float* HWY_RESTRICT p, std::size_t p_step,
                             const float* HWY_RESTRICT m, std::size_t m_step, float* HWY_RESTRICT out,
                             std::size_t out_step) {
  const Tag d;
  Vec sums[kRows][kVectors];
#pragma GCC unroll 16
  for (std::size_t u = 0; u < kRows; ++u) {
#pragma GCC unroll 4
    for (std::size_t v = 0; v < kVectors; ++v) sums[u][v] = hn::Zero(d);
  }
  for (std::size_t k = 0; k < depth; ++k) {
    Vec right[kVectors];
#pragma GCC unroll 4
    for (std::size_t v = 0; v < kVectors; ++v) right[v] = hn::LoadU(d, m + v * kLanes);
#pragma GCC unroll 16
    for (std::size_t u = 0; u < kRows; ++u) {
      const Vec left = hn::Set(d, p[u * p_step + k]);
#pragma GCC unroll 4
      for (std::size_t v = 0; v < kVectors; ++v) sums[u][v] = hn::MulAdd(left, right[v], sums[u][v]);
    }
    m += m_step;
  }
#pragma GCC unroll 16
  for (std::size_t u = 0; u < kRows; ++u) {
#pragma GCC unroll 4
    for (std::size_t v = 0; v < kVectors; ++v) hn::Store(sums[u][v], d, out + u * out_step + v * kLanes);
  }
}

template <std::size_t kRows>
HWY_INLINE void product_tile_row(std::size_t depth, const float* p, std::size_t p_step, const float* m,
                                 std::size_t m_step, std::size_t vectors, float* out, std::size_t out_step) {
  while (vectors != 0) {
    const std::size_t take = vectors == 4 ? 2 : vectors < kTileVectors ? vectors : kTileVectors;
    if (take == 3) {
      if constexpr (kTileVectors >= 3) product_tile<kRows, 3>(depth, p, p_step, m, m_step, out, out_step);
    } else if (take == 2) {
      product_tile<kRows, 2>(depth, p, p_step, m, m_step, out, out_step);
    } else {
      product_tile<kRows, 1>(depth, p, p_step, m, m_step, out, out_step);
    }
    m += take * kLanes;
    out += take * kLanes;
    vectors -= take;
  }
}

/// out_u = p_u * m for `count` row vectors p_u of `depth` floats and m of depth x width; any count.
HWY_INLINE void multiply_rows(std::size_t count, const float* p, std::size_t p_step, std::size_t depth, const float* m,
                              std::size_t m_step, std::size_t width, float* out, std::size_t out_step) {
  const std::size_t vectors = width / kLanes;
  while (count >= kTileRows) {
    product_tile_row<kTileRows>(depth, p, p_step, m, m_step, vectors, out, out_step);
    p += kTileRows * p_step;
    out += kTileRows * out_step;
    count -= kTileRows;
  }
  for (; count >= 2; count -= 2, p += 2 * p_step, out += 2 * out_step) {
    product_tile_row<2>(depth, p, p_step, m, m_step, vectors, out, out_step);
  }
  if (count == 1) product_tile_row<1>(depth, p, p_step, m, m_step, vectors, out, out_step);
}

#if HWY_MAX_BYTES >= 32
/// The sum of a vector's halves; a vector of eight is itself.
HWY_INLINE Vec8 fold_to_eight(Vec8 v) {
  return v;
}
#if HWY_MAX_BYTES >= 64
HWY_INLINE Vec8 fold_to_eight(Vec v) {
  const Tag8 d8;
  return hn::Add(hn::LowerHalf(d8, v), hn::UpperHalf(d8, v));
}
#endif

/// The eight sums of eight vectors, of eight or sixteen lanes.
template <class V>
HWY_INLINE void sum_each(const V (&sums)[kGroup], float* HWY_RESTRICT totals) {
  const Tag8 d8;
  const hn::Repartition<double, Tag8> d64;
  Vec8 pairs[4];
#pragma GCC unroll 4
  for (std::size_t r = 0; r < 4; ++r) {
    const Vec8 first = fold_to_eight(sums[2 * r]);
    const Vec8 second = fold_to_eight(sums[2 * r + 1]);
    pairs[r] = hn::Add(hn::InterleaveLower(d8, first, second), hn::InterleaveUpper(d8, first, second));
  }
  Vec8 fours[2];
#pragma GCC unroll 2
  for (std::size_t r = 0; r < 2; ++r) {
    const auto first = hn::BitCast(d64, pairs[2 * r]);
    const auto second = hn::BitCast(d64, pairs[2 * r + 1]);
    fours[r] = hn::Add(hn::BitCast(d8, hn::InterleaveLower(d64, first, second)),
                       hn::BitCast(d8, hn::InterleaveUpper(d64, first, second)));
  }
  hn::Store(hn::Add(hn::ConcatLowerLower(d8, fours[1], fours[0]), hn::ConcatUpperUpper(d8, fours[1], fours[0])), d8,
            totals);
}
#else
/// The eight sums of eight vectors.
template <class V>
HWY_INLINE void sum_each(const V (&sums)[kGroup], float* HWY_RESTRICT totals) {
  const Tag d;
  for (std::size_t r = 0; r < kGroup; ++r) totals[r] = hn::GetLane(hn::SumOfLanes(d, sums[r]));
}
#endif

/// dots[r] = rows[r] . x for eight rows.
HWY_INLINE void dot_group(const float* const (&rows)[kGroup], const float* HWY_RESTRICT x, std::size_t width,
                          float* HWY_RESTRICT dots) {
  const Tag d;
  Vec sums[kGroup];
#pragma GCC unroll 8
  for (std::size_t r = 0; r < kGroup; ++r) sums[r] = hn::Zero(d);
  for (std::size_t j = 0; j < width; j += kLanes) {
    const Vec part = hn::Load(d, x + j);
#pragma GCC unroll 8
    for (std::size_t r = 0; r < kGroup; ++r) sums[r] = hn::MulAdd(hn::Load(d, rows[r] + j), part, sums[r]);
  }
  sum_each(sums, dots);
}

/// dot_group on rows that are not in cache, eight of which are `ahead`: asks for those while it works and, if kCopy,
/// leaves the rows in `panel`, one after the other.
template <bool kCopy>
HWY_INLINE void dot_group_gathered(const float* const (&rows)[kGroup], const float* const (&ahead)[kGroup],
                                   const float* HWY_RESTRICT x, std::size_t width, float* HWY_RESTRICT dots,
                                   float* HWY_RESTRICT panel) {
  const Tag d;
  Vec sums[kGroup];
#pragma GCC unroll 8
  for (std::size_t r = 0; r < kGroup; ++r) sums[r] = hn::Zero(d);
  for (std::size_t j = 0; j < width; j += kLanes) {
    const Vec part = hn::Load(d, x + j);
#pragma GCC unroll 8
    for (std::size_t r = 0; r < kGroup; ++r) {
      if (j % 16 == 0) hwy::Prefetch(ahead[r] + j);
      const Vec row = hn::Load(d, rows[r] + j);
      if constexpr (kCopy) hn::Store(row, d, panel + r * width + j);
      sums[r] = hn::MulAdd(row, part, sums[r]);
    }
  }
  sum_each(sums, dots);
}

/// out += sum over eight rows of coefficients[r] * rows[r].
HWY_INLINE void add_group(const float* const (&rows)[kGroup], const float* HWY_RESTRICT coefficients, std::size_t width,
                          float* HWY_RESTRICT out) {
  const Tag d;
  Vec factors[kGroup];
#pragma GCC unroll 8
  for (std::size_t r = 0; r < kGroup; ++r) factors[r] = hn::Set(d, coefficients[r]);
  for (std::size_t j = 0; j < width; j += kLanes) {
    Vec even = hn::Load(d, out + j);
    Vec odd = hn::Mul(factors[1], hn::Load(d, rows[1] + j));
#pragma GCC unroll 4
    for (std::size_t r = 0; r < kGroup; r += 2) even = hn::MulAdd(factors[r], hn::Load(d, rows[r] + j), even);
#pragma GCC unroll 4
    for (std::size_t r = 3; r < kGroup; r += 2) odd = hn::MulAdd(factors[r], hn::Load(d, rows[r] + j), odd);
    hn::Store(hn::Add(even, odd), d, out + j);
  }
}

#if HWY_MAX_BYTES >= 64
/// The sums of the lanes of sixteen vectors, in their order.
HWY_INLINE Vec sum_sixteen(const Vec (&v)[16]) {
  const Tag d;
  const hn::Repartition<double, Tag> d64;
  Vec fours[4];  // four rows each: in every block of four lanes, a part of each row's sum
#pragma GCC unroll 4
  for (std::size_t q = 0; q < 4; ++q) {
    const Vec* four = v + 4 * q;
    const auto first = hn::BitCast(d64, hn::Add(hn::InterleaveLower(d, four[0], four[1]),
                                                hn::InterleaveUpper(d, four[0], four[1])));
    const auto second = hn::BitCast(d64, hn::Add(hn::InterleaveLower(d, four[2], four[3]),
                                                 hn::InterleaveUpper(d, four[2], four[3])));
    fours[q] = hn::Add(hn::BitCast(d, hn::InterleaveLower(d64, first, second)),
                       hn::BitCast(d, hn::InterleaveUpper(d64, first, second)));
  }
  // Blocks: rows 0-3, 0-3, 8-11, 8-11 in `even`, rows 4-7, 4-7, 12-15, 12-15 in `odd`.
  Vec even = hn::Add(hn::ConcatLowerLower(d, fours[2], fours[0]), hn::ConcatUpperUpper(d, fours[2], fours[0]));
  Vec odd = hn::Add(hn::ConcatLowerLower(d, fours[3], fours[1]), hn::ConcatUpperUpper(d, fours[3], fours[1]));
  even = hn::Add(even, hn::SwapAdjacentBlocks(even));
  odd = hn::Add(odd, hn::SwapAdjacentBlocks(odd));
  return hn::OddEvenBlocks(odd, even);
}

/// out += sum over sixteen panel rows r of weights[r] * (row r . x) row r, for a width that is known to the compiler:
/// sixteen at a time spend fewer instructions on sums and on `out` than two times eight.
template <std::size_t kWidth>
HWY_INLINE void panel_block(const float* HWY_RESTRICT panel, const float* HWY_RESTRICT weights,
                            const float* HWY_RESTRICT x, float* HWY_RESTRICT out) {
  constexpr std::size_t kRows = 16;
  const Tag d;
  Vec sums[kRows];
#pragma GCC unroll 16
  for (std::size_t r = 0; r < kRows; ++r) sums[r] = hn::Zero(d);
  for (std::size_t j = 0; j < kWidth; j += kLanes) {
    const Vec part = hn::Load(d, x + j);
#pragma GCC unroll 16
    for (std::size_t r = 0; r < kRows; ++r) sums[r] = hn::MulAdd(hn::Load(d, panel + r * kWidth + j), part, sums[r]);
  }
  HWY_ALIGN float coefficients[kRows];
  hn::Store(hn::Mul(sum_sixteen(sums), hn::LoadU(d, weights)), d, coefficients);
  Vec factors[kRows];
#pragma GCC unroll 16
  for (std::size_t r = 0; r < kRows; ++r) factors[r] = hn::Set(d, coefficients[r]);
  for (std::size_t j = 0; j < kWidth; j += kLanes) {
    Vec even = hn::Load(d, out + j);
    Vec odd = hn::Mul(factors[1], hn::Load(d, panel + kWidth + j));
#pragma GCC unroll 8
    for (std::size_t r = 0; r < kRows; r += 2) {
      even = hn::MulAdd(factors[r], hn::Load(d, panel + r * kWidth + j), even);
    }
#pragma GCC unroll 8
    for (std::size_t r = 3; r < kRows; r += 2) {
      odd = hn::MulAdd(factors[r], hn::Load(d, panel + r * kWidth + j), odd);
    }
    hn::Store(hn::Add(even, odd), d, out + j);
  }
}
#endif

/// out += sum over the panel's rows of weights[k] * (row k . x) row k. The panel has whole groups of rows; those behind
/// the last one that counts have weight 0.
HWY_INLINE void panel_pass(const float* panel, std::size_t count, std::size_t width, const float* weights,
                           const float* x, float* out) {
  HWY_ALIGN float dots[kGroup];
  const float* rows[kGroup];
  std::size_t k = 0;
#if HWY_MAX_BYTES >= 64
  if (width == 64) {
    for (; k + kGroup < count; k += 2 * kGroup) panel_block<64>(panel + k * width, weights + k, x, out);
  } else if (width == 128) {
    for (; k + kGroup < count; k += 2 * kGroup) panel_block<128>(panel + k * width, weights + k, x, out);
  }
#endif
  for (; k < count; k += kGroup) {
    for (std::size_t r = 0; r < kGroup; ++r) rows[r] = panel + (k + r) * width;
    dot_group(rows, x, width, dots);
    for (std::size_t r = 0; r < kGroup; ++r) dots[r] *= weights[k + r];
    add_group(rows, dots, width, out);
  }
}

/// a . b
HWY_INLINE float dot(const float* HWY_RESTRICT a, const float* HWY_RESTRICT b, std::size_t width) {
  const Tag d;
  Vec first = hn::Zero(d);
  Vec second = hn::Zero(d);
  std::size_t j = 0;
  for (; j + 2 * kLanes <= width; j += 2 * kLanes) {
    first = hn::MulAdd(hn::Load(d, a + j), hn::Load(d, b + j), first);
    second = hn::MulAdd(hn::Load(d, a + j + kLanes), hn::Load(d, b + j + kLanes), second);
  }
  for (; j < width; j += kLanes) first = hn::MulAdd(hn::Load(d, a + j), hn::Load(d, b + j), first);
  return hn::GetLane(hn::SumOfLanes(d, hn::Add(first, second)));
}

/// y = a * x + b * y
HWY_INLINE void scale_add(float a, const float* HWY_RESTRICT x, float b, float* HWY_RESTRICT y, std::size_t width) {
  const Tag d;
  const Vec va = hn::Set(d, a);
  const Vec vb = hn::Set(d, b);
  for (std::size_t j = 0; j < width; j += kLanes) {
    hn::Store(hn::MulAdd(va, hn::Load(d, x + j), hn::Mul(vb, hn::Load(d, y + j))), d, y + j);
  }
}

/// Asks for the cache lines of one row.
HWY_INLINE void prefetch_row(const float* row, std::size_t width) {
  for (std::size_t j = 0; j < width; j += 16) hwy::Prefetch(row + j);
}

}  // namespace concerto::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
