// What an update of SGD is, whatever holds the rows: which entries a warp walks, the sums over its lanes, rates and
// errors, and what becomes of a row's state. The kernels in sgd.cu add where vectors are kept and how they are written.
#pragma once

#include <cstdint>

#include "device/simt.cuh"
#include "sgd_grid.hpp"

namespace concerto::cuda {

inline constexpr unsigned kAllLanes = 0xffffffffU;
/// All that an update needs to know of a row beside its vector.
struct alignas(16) SgdRowState {
  float accumulator;
  float bias;
  float decay;       ///< lambda n^(nu - 1)
  float bias_decay;  ///< lambda_b n^(nu - 1)
};

struct SgdArguments {
  float* users = nullptr;
  float* items = nullptr;
  SgdRowState* user_states = nullptr;
  SgdRowState* item_states = nullptr;
  const uint2* entries = nullptr;  ///< SgdEntry: item, bits of the value
  const uint2* runs = nullptr;     ///< SgdRun: user, number of entries
  const SgdPart* parts = nullptr;
  unsigned side = 1;
  unsigned parts_per_block = 1;
  unsigned stride = 0;
  float inverse_rank = 1.0F;
  float rate = 0.0F;
  float mean = 0.0F;
  float bias_rate = 0.0F;  ///< `rate`; 0 without biases
  float floor = 0.0F;      ///< what values are projected on or above; minus infinity without projection
};

// -- walking a part --

/// What a warp walks: from one part's begin to another's.
struct SgdWalk {
  SgdPart begin;
  SgdPart end;
};

template <bool kIsSerial>
__device__ __forceinline__ SgdWalk walk_of_warp(const SgdArguments& a, unsigned shift) {
  const unsigned item_block = (blockIdx.x + shift) % a.side;
  const std::uint64_t block = std::uint64_t{blockIdx.x} * a.side + item_block;
  const SgdPart* parts = a.parts + block * a.parts_per_block;
  if (kIsSerial) return {parts[0], parts[a.parts_per_block]};
  const unsigned warp = threadIdx.x / 32;
  return {parts[warp], parts[warp + 1]};
}

/// Pairs read in order, 32 at a time and the next 32 already on their way: a lane holds one of each.
class PairStream {
 public:
  __device__ __forceinline__ PairStream(const uint2* pairs, std::uint64_t begin, std::uint64_t end)
      : pairs_(pairs), base_(begin), end_(end), present_(read(begin)), next_(read(begin + 32)) {}
  /// Indices do not descend and advance by less than 32.
  __device__ __forceinline__ uint2 at(std::uint64_t index) {
    if (index >= base_ + 32) {
      base_ += 32;
      present_ = next_;
      next_ = read(base_ + 32);
    }
    const auto lane = static_cast<unsigned>(index - base_);
    return {__shfl_sync(kAllLanes, present_.x, lane), __shfl_sync(kAllLanes, present_.y, lane)};
  }
  /// The first of the pair at an index less than 32 beyond the last that `at` was asked for.
  __device__ __forceinline__ unsigned first_ahead(std::uint64_t index) const {
    const auto lane = static_cast<unsigned>(index - base_);
    return __shfl_sync(kAllLanes, lane < 32 ? present_.x : next_.x, lane % 32);
  }

 private:
  __device__ __forceinline__ uint2 read(std::uint64_t first) const {
    const std::uint64_t index = first + threadIdx.x % 32;
    return index < end_ ? pairs_[index] : uint2{0, 0};
  }
  const uint2* pairs_;
  std::uint64_t base_;
  std::uint64_t end_;
  uint2 present_;
  uint2 next_;
};

// -- arithmetic of an update --

/// The sums over the lanes of a, b and c, in every lane. Each exchange halves what a lane is responsible for: nine
/// exchanges instead of fifteen.
__device__ __forceinline__ void sum_over_lanes(float& a, float& b, float& c) {
  const unsigned lane = threadIdx.x % 32;
  const bool has_b = (lane & 16) != 0;
  const bool has_c = (lane & 8) != 0;
  const float first = (has_b ? b : a) + __shfl_xor_sync(kAllLanes, has_b ? a : b, 16);
  const float third = c + __shfl_xor_sync(kAllLanes, c, 16);
  float sum = (has_c ? third : first) + __shfl_xor_sync(kAllLanes, has_c ? first : third, 8);
  sum += __shfl_xor_sync(kAllLanes, sum, 4);
  sum += __shfl_xor_sync(kAllLanes, sum, 2);
  sum += __shfl_xor_sync(kAllLanes, sum, 1);
  a = __shfl_sync(kAllLanes, sum, 0);
  b = __shfl_sync(kAllLanes, sum, 16);
  c = __shfl_sync(kAllLanes, sum, 8);
}

/// The error of an entry before its update, and the rates at which its rows move.
struct SgdRates {
  float error;
  float x_rate;
  float y_rate;
};
__device__ __forceinline__ SgdRates update_of(const SgdArguments& a, float value, float xy, const SgdRowState& x,
                                              const SgdRowState& y) {
  return {value - a.mean - x.bias - y.bias - xy, a.rate * rsqrtf(x.accumulator), a.rate * rsqrtf(y.accumulator)};
}

/// A value moved against its gradient, decay * own - error * other, and projected. NaN stays NaN.
__device__ __forceinline__ float moved(float own, float other, float decay, float error, float rate, float floor) {
  const float value = own - rate * (decay * own - error * other);
  return value < floor ? floor : value;
}

/// Moves the bias and lets the accumulator grow by the mean square of decay * own - error * other.
__device__ __forceinline__ void move_state(const SgdArguments& a, SgdRowState& state, float error, float own_square,
                                           float product, float other_square) {
  const float square =
      error * error * other_square - 2.0F * error * state.decay * product + state.decay * state.decay * own_square;
  state.bias -= a.bias_rate * rsqrtf(state.accumulator) * (state.bias_decay * state.bias - error);
  state.accumulator += square < 0.0F ? 0.0F : square * a.inverse_rank;
}

__device__ __forceinline__ SgdRowState load_state(const SgdRowState* state) {
  const float4 v = load_relaxed(reinterpret_cast<const float4*>(state));
  return {v.x, v.y, v.z, v.w};
}

/// Puts the changed half of an item's state in place. Serially, the lanes see it afterwards.
template <bool kIsSerial>
__device__ __forceinline__ void write_state(SgdRowState* place, const SgdRowState& before, const SgdRowState& after) {
  auto* pair = reinterpret_cast<float2*>(place);
  if (threadIdx.x % 32 == 0) {
    if (kIsSerial) {
      *pair = {after.accumulator, after.bias};
    } else {
      add_to(pair, {after.accumulator - before.accumulator, after.bias - before.bias});
    }
  }
  if (kIsSerial) __syncwarp();
}

}  // namespace concerto::cuda
