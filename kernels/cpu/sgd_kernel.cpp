// See sgd_kernel.hpp.
#include "sgd_kernel.hpp"

#include <algorithm>
#include <cmath>

#include <hwy/cache_control.h>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "sgd_kernel.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace concerto::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using Tag = hn::ScalableTag<float>;
using Vector = hn::Vec<Tag>;
constexpr std::size_t kLanes = hn::MaxLanes(Tag());
/// Entries ahead of the present one whose item rows are fetched into the cache.
constexpr std::size_t kPrefetchDistance = 6;

HWY_INLINE float sum_lanes(Vector v) {
  return hn::GetLane(hn::SumOfLanes(Tag(), v));
}

HWY_INLINE float dot_product(const float* a, const float* b, std::size_t stride) {
  constexpr Tag d;
  Vector sum = hn::Zero(d);
  for (std::size_t c = 0; c < stride; c += kLanes) sum = hn::MulAdd(hn::Load(d, a + c), hn::Load(d, b + c), sum);
  return sum_lanes(sum);
}

/// One side's part in an update: new = keep * own + pull * other, and what that does to the row's state.
struct Move {
  float keep;
  float pull;
};

/// The factors that move a row, given e, x.y and the other vector's norm; advances the row's state by the same step.
HWY_INLINE Move advance(const SgdPass& pass, SgdRowState& state, float error, float dot, float other_norm) {
  const float step = pass.rate / std::sqrt(state.accumulator);
  const float decay = pass.regularization * state.weight;
  const float own_gradient = decay * state.norm - error * dot;
  const float square = error * (error * other_norm - decay * dot) + decay * own_gradient;
  if (pass.biases) state.bias += step * (error - pass.bias_regularization * state.weight * state.bias);
  state.norm += step * (step * square - 2.0F * own_gradient);
  state.accumulator += square * pass.inverse_rank;
  return {1.0F - step * decay, step * error};
}

/// Asks for the item row of an entry to come.
HWY_INLINE void prefetch_item(const SgdPass& pass, const SgdEntry& entry) {
  const float* row = pass.items + std::size_t{entry.item} * pass.stride;
  for (std::size_t c = 0; c < pass.stride; c += 16) hwy::Prefetch(row + c);
}

/// All runs, the user's vector in kVectors registers.
template <std::size_t kVectors, bool kNonnegative>
void block_in_registers(const SgdPass& pass, std::span<const SgdRun> runs, const SgdEntry* entry, const SgdEntry* end) {
  constexpr Tag d;
  constexpr std::size_t kStride = kVectors * kLanes;
  const SgdEntry* const prefetch_end =
      end - std::min<std::size_t>(kPrefetchDistance, static_cast<std::size_t>(end - entry));
  for (const SgdRun& run : runs) {
    float* const user = pass.users + std::size_t{run.user} * kStride;
    SgdRowState user_state = pass.user_states[run.user];
    Vector x[kVectors];
#pragma GCC unroll 16
    for (std::size_t v = 0; v < kVectors; ++v) x[v] = hn::Load(d, user + v * kLanes);
    for (const SgdEntry* const run_end = entry + run.count; entry < run_end; ++entry) {
      if (entry < prefetch_end) prefetch_item(pass, entry[kPrefetchDistance]);
      float* const item = pass.items + std::size_t{entry->item} * kStride;
      SgdRowState& item_state = pass.item_states[entry->item];
      Vector y[kVectors];
      Vector even = hn::Zero(d);
      Vector odd = hn::Zero(d);
#pragma GCC unroll 16
      for (std::size_t v = 0; v < kVectors; ++v) {
        y[v] = hn::Load(d, item + v * kLanes);
        if (v % 2 == 0) {
          even = hn::MulAdd(x[v], y[v], even);
        } else {
          odd = hn::MulAdd(x[v], y[v], odd);
        }
      }
      const float dot = sum_lanes(hn::Add(even, odd));
      const float error = entry->value - pass.mean - item_state.bias - user_state.bias - dot;
      const float user_norm = user_state.norm;
      const Move user_move = advance(pass, user_state, error, dot, item_state.norm);
      const Move item_move = advance(pass, item_state, error, dot, user_norm);
      const Vector user_keep = hn::Set(d, user_move.keep);
      const Vector user_pull = hn::Set(d, user_move.pull);
      const Vector item_keep = hn::Set(d, item_move.keep);
      const Vector item_pull = hn::Set(d, item_move.pull);
      Vector user_square = hn::Zero(d);
      Vector item_square = hn::Zero(d);
#pragma GCC unroll 16
      for (std::size_t v = 0; v < kVectors; ++v) {
        Vector moved = hn::MulAdd(item_pull, x[v], hn::Mul(item_keep, y[v]));
        x[v] = hn::MulAdd(user_pull, y[v], hn::Mul(user_keep, x[v]));
        if constexpr (kNonnegative) {
          moved = hn::Max(moved, hn::Zero(d));
          x[v] = hn::Max(x[v], hn::Zero(d));
          item_square = hn::MulAdd(moved, moved, item_square);
          user_square = hn::MulAdd(x[v], x[v], user_square);
        }
        hn::Store(moved, d, item + v * kLanes);
      }
      if constexpr (kNonnegative) {
        user_state.norm = sum_lanes(user_square);
        item_state.norm = sum_lanes(item_square);
      }
    }
#pragma GCC unroll 16
    for (std::size_t v = 0; v < kVectors; ++v) hn::Store(x[v], d, user + v * kLanes);
    pass.user_states[run.user] = user_state;
  }
}

/// All runs, for any stride; both vectors stay in memory (the first-level cache).
template <bool kNonnegative>
void block_in_memory(const SgdPass& pass, std::span<const SgdRun> runs, const SgdEntry* entry) {
  constexpr Tag d;
  for (const SgdRun& run : runs) {
    float* const user = pass.users + std::size_t{run.user} * pass.stride;
    SgdRowState& user_state = pass.user_states[run.user];
    for (const SgdEntry* const run_end = entry + run.count; entry < run_end; ++entry) {
      float* const item = pass.items + std::size_t{entry->item} * pass.stride;
      SgdRowState& item_state = pass.item_states[entry->item];
      const float dot = dot_product(user, item, pass.stride);
      const float error = entry->value - pass.mean - item_state.bias - user_state.bias - dot;
      const float user_norm = user_state.norm;
      const Move user_move = advance(pass, user_state, error, dot, item_state.norm);
      const Move item_move = advance(pass, item_state, error, dot, user_norm);
      const Vector zero = hn::Zero(d);
      for (std::size_t c = 0; c < pass.stride; c += kLanes) {
        const Vector x = hn::Load(d, user + c);
        const Vector y = hn::Load(d, item + c);
        Vector x_moved = hn::MulAdd(hn::Set(d, user_move.pull), y, hn::Mul(hn::Set(d, user_move.keep), x));
        Vector y_moved = hn::MulAdd(hn::Set(d, item_move.pull), x, hn::Mul(hn::Set(d, item_move.keep), y));
        if constexpr (kNonnegative) {
          x_moved = hn::Max(x_moved, zero);
          y_moved = hn::Max(y_moved, zero);
        }
        hn::Store(x_moved, d, user + c);
        hn::Store(y_moved, d, item + c);
      }
      if constexpr (kNonnegative) {
        user_state.norm = dot_product(user, user, pass.stride);
        item_state.norm = dot_product(item, item, pass.stride);
      }
    }
  }
}

/// Picks the loop for this stride.
template <bool kNonnegative>
void run_block(const SgdPass& pass, std::span<const SgdRun> runs, const SgdEntry* entry, const SgdEntry* end) {
  if (kLanes >= 8 && pass.stride % kLanes == 0) {
    switch (pass.stride / kLanes) {
      case 1:
        return block_in_registers<1, kNonnegative>(pass, runs, entry, end);
      case 2:
        return block_in_registers<2, kNonnegative>(pass, runs, entry, end);
      case 3:
        return block_in_registers<3, kNonnegative>(pass, runs, entry, end);
      case 4:
        return block_in_registers<4, kNonnegative>(pass, runs, entry, end);
      case 5:
        return block_in_registers<5, kNonnegative>(pass, runs, entry, end);
      case 6:
        return block_in_registers<6, kNonnegative>(pass, runs, entry, end);
      case 7:
        return block_in_registers<7, kNonnegative>(pass, runs, entry, end);
      case 8:
        return block_in_registers<8, kNonnegative>(pass, runs, entry, end);
      default:
        break;
    }
  }
  block_in_memory<kNonnegative>(pass, runs, entry);
}

void block(const SgdPass& pass, std::span<const SgdRun> runs, const SgdEntry* entry, const SgdEntry* end) {
  if (pass.nonnegative) {
    run_block<true>(pass, runs, entry, end);
  } else {
    run_block<false>(pass, runs, entry, end);
  }
}

}  // namespace concerto::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace concerto::cpu {

HWY_EXPORT(block);

void sgd_block(const SgdPass& pass, std::span<const SgdRun> runs, std::span<const SgdEntry> entries) {
  HWY_DYNAMIC_DISPATCH(block)(pass, runs, entries.data(), entries.data() + entries.size());
}

}  // namespace concerto::cpu
#endif  // HWY_ONCE
