// Cholesky factorization A = U^T U of one symmetric positive definite matrix, and the solution of A x = b, for the
// systems of single rows: widths from 16 to about 1,024, in cache, by one thread. Batches come from calling it again.
//
// Left-looking by blocks of eight rows: a block row takes the products with all rows above it at once (outer_tile, the
// register kernel that also forms Gram matrices: U's rows are contiguous, so nothing is transposed), then its diagonal
// block is factored in registers, then the whole block row is solved against it, a vector of columns at a time. Eight
// rows, not a vector's sixteen: the chain through a diagonal block is latency, and small systems wait for it. Blocks
// are factored as L D L^T first, because a division is shorter than a square root and a division. Their inverses are
// kept, so that the solves have no chain of divisions.

#if defined(CONCERTO_KERNELS_CPU_CHOLESKY_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef CONCERTO_KERNELS_CPU_CHOLESKY_INL_H_
#undef CONCERTO_KERNELS_CPU_CHOLESKY_INL_H_
#else
#define CONCERTO_KERNELS_CPU_CHOLESKY_INL_H_
#endif

#include <cmath>

#include "dense-inl.h"

HWY_BEFORE_NAMESPACE();
namespace concerto::cpu::HWY_NAMESPACE {

/// Rows of a block.
inline constexpr std::size_t kBlock = 8;
static_assert(kBlock == kGroup && kBlock % kTileRows == 0);

#if HWY_MAX_BYTES >= 32
/// All lanes of `v` set to lane kIndex.
template <std::size_t kIndex>
HWY_INLINE Vec8 broadcast_lane(Vec8 v) {
  const Tag8 d;
  const hn::RebindToSigned<Tag8> di;
  return hn::TableLookupLanes(v, hn::IndicesFromVec(d, hn::Set(di, static_cast<std::int32_t>(kIndex))));
}

/// Step kStep of factor_diagonal and all later ones.
template <std::size_t kStep>
HWY_INLINE void eliminate(Vec8 (&rows)[kBlock], float* HWY_RESTRICT scaled, float* HWY_RESTRICT pivots) {
  const Vec8 pivot = broadcast_lane<kStep>(rows[kStep]);
  pivots[kStep] = hn::GetLane(pivot);
  if constexpr (kStep + 1 < kBlock) {
    const Tag8 d;
    const Vec8 unit = hn::Div(rows[kStep], pivot);
    // The next pivot's row first, without a detour through memory: everything waits for it.
    rows[kStep + 1] = hn::NegMulAdd(broadcast_lane<kStep + 1>(unit), rows[kStep], rows[kStep + 1]);
    hn::Store(unit, d, scaled + kStep * kBlock);
#pragma GCC unroll 8
    for (std::size_t r = kStep + 2; r < kBlock; ++r) {
      rows[r] = hn::NegMulAdd(hn::Set(d, scaled[kStep * kBlock + r]), rows[kStep], rows[r]);
    }
    eliminate<kStep + 1>(rows, scaled, pivots);
  }
}

/// Factors the block at `a` into u (kBlock x kBlock; below the diagonal without meaning). reciprocals[s] = 1 / u[s][s].
/// False if a pivot is not positive.
HWY_INLINE bool factor_diagonal(const float* HWY_RESTRICT a, std::size_t step, float* HWY_RESTRICT u,
                                float* HWY_RESTRICT reciprocals) {
  const Tag8 d;
  HWY_ALIGN float scaled[kBlock * kBlock];
  HWY_ALIGN float pivots[kBlock];
  Vec8 rows[kBlock];
#pragma GCC unroll 8
  for (std::size_t s = 0; s < kBlock; ++s) rows[s] = hn::Load(d, a + s * step);
  eliminate<0>(rows, scaled, pivots);
  const Vec8 all = hn::Load(d, pivots);
  hn::Store(hn::Div(hn::Set(d, 1.0F), hn::Sqrt(all)), d, reciprocals);
#pragma GCC unroll 8
  for (std::size_t s = 0; s < kBlock; ++s) {
    hn::Store(hn::Mul(rows[s], hn::Set(d, reciprocals[s])), d, u + s * kBlock);
  }
  return hn::AllTrue(d, hn::Gt(all, hn::Zero(d)));
}
#else
HWY_INLINE bool factor_diagonal(const float* a, std::size_t step, float* u, float* reciprocals) {
  bool positive = true;
  for (std::size_t s = 0; s < kBlock; ++s) {
    for (std::size_t j = 0; j < kBlock; ++j) u[s * kBlock + j] = a[s * step + j];
  }
  for (std::size_t s = 0; s < kBlock; ++s) {
    const float pivot = u[s * kBlock + s];
    positive = positive && pivot > 0.0F;
    reciprocals[s] = 1.0F / std::sqrt(pivot);
    for (std::size_t j = s; j < kBlock; ++j) u[s * kBlock + j] *= reciprocals[s];
    for (std::size_t r = s + 1; r < kBlock; ++r) {
      for (std::size_t j = r; j < kBlock; ++j) u[r * kBlock + j] -= u[s * kBlock + r] * u[s * kBlock + j];
    }
  }
  return positive;
}
#endif

/// Solves u^T Z = B in place for one vector of columns: kBlock rows at `b`, `step` apart.
template <class D>
HWY_INLINE void solve_columns(D d, const float* HWY_RESTRICT u, const float* HWY_RESTRICT reciprocals,
                              float* HWY_RESTRICT b, std::size_t step) {
  hn::Vec<D> rows[kBlock];
#pragma GCC unroll 8
  for (std::size_t s = 0; s < kBlock; ++s) rows[s] = hn::Load(d, b + s * step);
#pragma GCC unroll 8
  for (std::size_t s = 0; s < kBlock; ++s) {
    rows[s] = hn::Mul(rows[s], hn::Set(d, reciprocals[s]));
    hn::Store(rows[s], d, b + s * step);
#pragma GCC unroll 8
    for (std::size_t r = s + 1; r < kBlock; ++r) {
      rows[r] = hn::NegMulAdd(hn::Set(d, u[s * kBlock + r]), rows[s], rows[r]);
    }
  }
}

/// Factors the upper triangle of `a` (width x width, rows `step` apart) in place. `inverses` (kBlock x width floats)
/// receives u^-T of each diagonal block, one after the other. Elements below the diagonal must be finite; in the
/// vectors that the diagonal crosses they are overwritten. False if A is not positive definite in float arithmetic.
HWY_INLINE bool factor(float* a, std::size_t width, std::size_t step, float* inverses) {
  HWY_ALIGN float u[kBlock * kBlock];
  HWY_ALIGN float reciprocals[kBlock];
  const Tag8 d8;
  for (std::size_t k = 0; k < width; k += kBlock) {
    const std::size_t first = k / kLanes * kLanes;
    float* block_row = a + k * step;
    if (k != 0) {
      for (std::size_t i = 0; i < kBlock; i += kTileRows) {
        outer_tile_row<kTileRows>(k, a + k + i, step, a + first, step, (width - first) / kLanes, -1.0F,
                                  block_row + i * step + first, step);
      }
    }
    if (!factor_diagonal(block_row + k, step, u, reciprocals)) return false;
    // The diagonal block is among the columns: u^-T A_kk = u.
    for (std::size_t j = first; j < width; j += kLanes) solve_columns(Tag(), u, reciprocals, block_row + j, step);
    float* inverse = inverses + k * kBlock;
    for (std::size_t s = 0; s < kBlock; ++s) {
      for (std::size_t j = 0; j < kBlock; ++j) inverse[s * kBlock + j] = s == j ? 1.0F : 0.0F;
    }
    for (std::size_t j = 0; j < kBlock; j += hn::Lanes(d8)) solve_columns(d8, u, reciprocals, inverse + j, kBlock);
  }
  return true;
}

/// out[r] = row r of `inverse` . b
HWY_INLINE void multiply_block(const float* HWY_RESTRICT inverse, const float* HWY_RESTRICT b,
                               float* HWY_RESTRICT out) {
  const Tag8 d;
  Vec8 sums[kBlock];
#pragma GCC unroll 8
  for (std::size_t r = 0; r < kBlock; ++r) {
    sums[r] = hn::Mul(hn::Load(d, inverse + r * kBlock), hn::Load(d, b));
    for (std::size_t j = hn::Lanes(d); j < kBlock; j += hn::Lanes(d)) {
      sums[r] = hn::MulAdd(hn::Load(d, inverse + r * kBlock + j), hn::Load(d, b + j), sums[r]);
    }
  }
  sum_each(sums, out);
}

/// out = sum over r of b[r] * row r of `inverse`
HWY_INLINE void multiply_block_transposed(const float* HWY_RESTRICT inverse, const float* HWY_RESTRICT b,
                                          float* HWY_RESTRICT out) {
  const Tag8 d;
  for (std::size_t j = 0; j < kBlock; j += hn::Lanes(d)) {
    Vec8 even = hn::Zero(d);
    Vec8 odd = hn::Zero(d);
#pragma GCC unroll 4
    for (std::size_t r = 0; r < kBlock; r += 2) {
      even = hn::MulAdd(hn::Set(d, b[r]), hn::Load(d, inverse + r * kBlock + j), even);
      odd = hn::MulAdd(hn::Set(d, b[r + 1]), hn::Load(d, inverse + (r + 1) * kBlock + j), odd);
    }
    hn::Store(hn::Add(even, odd), d, out + j);
  }
}

/// x <- A^-1 x with the results of factor().
HWY_INLINE void solve_factored(const float* a, std::size_t width, std::size_t step, const float* inverses, float* x) {
  HWY_ALIGN float part[kBlock];
  HWY_ALIGN float solved[kBlock];
  const float* rows[kGroup];
  for (std::size_t k = 0; k < width; k += kBlock) {  // U^T z = b
    multiply_block(inverses + k * kBlock, x + k, solved);
    for (std::size_t r = 0; r < kBlock; ++r) part[r] = -solved[r];
    const std::size_t first = (k + kBlock) / kLanes * kLanes;  // may lie before k + kBlock: x[k...] is set afterwards
    for (std::size_t r = 0; r < kBlock; ++r) rows[r] = a + (k + r) * step + first;
    add_group(rows, part, width - first, x + first);
    for (std::size_t r = 0; r < kBlock; ++r) x[k + r] = solved[r];
  }
  for (std::size_t k = width; k != 0;) {  // U x = z
    k -= kBlock;
    const std::size_t first = (k + kBlock) / kLanes * kLanes;
    for (std::size_t r = 0; r < kBlock; ++r) {
      solved[r] = x[k + r];
      x[k + r] = 0.0F;
      rows[r] = a + (k + r) * step + first;
    }
    dot_group(rows, x + first, width - first, part);
    for (std::size_t r = 0; r < kBlock; ++r) part[r] = solved[r] - part[r];
    multiply_block_transposed(inverses + k * kBlock, part, x + k);
  }
}

}  // namespace concerto::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
