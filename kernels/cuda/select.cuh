// Choosing and sorting the best of scored candidates by one thread block, without sorting the rest.
//
// An entry is 64 bits whose order as a number is the order of the list: the score's key above, the candidate's place
// among equal scores, inverted, below; a larger entry is better, and no two are equal. The key 0 belongs to no score,
// so that the entry 0 is an empty place. limit_of_best finds the entry that the wanted number of entries reach, digit
// by digit from the top (a radix selection: Alabi, Blanchard, Gordon and Steinbach 2012): each pass counts one byte of
// the entries that agree with the digits found so far, in a histogram in shared memory. Ties of scores need no rule of
// their own: their places are the last four digits. Nothing here knows where entries come from.
#pragma once

#include <cstdint>

#include "device/simt.cuh"

namespace concerto::cuda {

inline constexpr unsigned kRadixBins = 256;

/// Of the score -infinity at the last place: every score's entry reaches it. A score that is not a number has no key.
inline constexpr std::uint64_t kLeastEntry = std::uint64_t{0x007fffffU} << 32;

/// Grows with the score; -0 and 0 have the same.
__device__ __forceinline__ std::uint32_t score_key(float score) {
  const std::uint32_t bits = __float_as_uint(score);
  if (bits == 0x80000000U) return bits;
  return bits ^ ((bits >> 31) != 0 ? 0xffffffffU : 0x80000000U);
}
__device__ __forceinline__ float key_score(std::uint32_t key) {
  return __uint_as_float((key >> 31) != 0 ? key ^ 0x80000000U : ~key);
}

__device__ __forceinline__ std::uint64_t entry_of(std::uint32_t key, std::uint32_t place) {
  return std::uint64_t{key} << 32 | static_cast<std::uint32_t>(~place);
}
__device__ __forceinline__ std::uint32_t entry_key(std::uint64_t entry) {
  return static_cast<std::uint32_t>(entry >> 32);
}
__device__ __forceinline__ std::uint32_t entry_place(std::uint64_t entry) {
  return ~static_cast<std::uint32_t>(entry);
}

/// What the threads of a block tell each other while they select; in shared memory.
struct SelectState {
  std::uint32_t held;      ///< entries in the list being filled
  std::uint32_t consumed;  ///< for the caller
  std::uint32_t digit;     ///< found by choose_digit; kRadixBins: there are fewer entries than wanted
  std::uint32_t wanted;    ///< how many of the digit's entries are still wanted
  std::uint32_t is_whole;  ///< all of them
};

/// By the first warp: in which bin, counted from the highest, lies the wanted-th entry.
__device__ inline void choose_digit(const std::uint32_t* bins, std::uint32_t wanted, SelectState* state) {
  constexpr unsigned kBinsOfLane = kRadixBins / 32;
  const unsigned lane = threadIdx.x;
  const unsigned highest = kRadixBins - 1 - kBinsOfLane * lane;
  std::uint32_t counts[kBinsOfLane];
  std::uint32_t mine = 0;
#pragma unroll
  for (unsigned i = 0; i < kBinsOfLane; ++i) {
    counts[i] = bins[highest - i];
    mine += counts[i];
  }
  std::uint32_t reached = mine;
#pragma unroll
  for (unsigned distance = 1; distance < 32; distance *= 2) {
    const std::uint32_t other = __shfl_sync(0xffffffffU, reached, lane - distance);
    if (lane >= distance) reached += other;
  }
  if (lane == 31 && reached < wanted) state->digit = kRadixBins;
  std::uint32_t above = reached - mine;
#pragma unroll
  for (unsigned i = 0; i < kBinsOfLane; ++i) {
    if (above < wanted && wanted <= above + counts[i]) {
      state->digit = highest - i;
      state->wanted = wanted - above;
      state->is_whole = counts[i] == wanted - above ? 1 : 0;
    }
    above += counts[i];
  }
}

/// The limit that the best `wanted` (>= 1) entries reach and no other does; 0 if there are fewer. With kLastShift = 32
/// only keys are looked at: at least `wanted` entries reach the limit. `visit(limit, fixed, count)` calls count(entry)
/// for each of this thread's entries, or for those that agree with `limit` in the bits of `fixed`; while not all of the
/// key is fixed, the place may be left out. Called by the whole block, which is synchronized on return. Between 1 and 8
/// passes; 256 counters of shared memory.
template <int kLastShift, class Visit>
__device__ std::uint64_t limit_of_best(std::uint32_t wanted, const Visit& visit, std::uint32_t* bins,
                                       SelectState* state) {
  std::uint64_t limit = 0;
  std::uint64_t fixed = 0;
  for (int shift = 56;; shift -= 8) {
    for (unsigned bin = threadIdx.x; bin < kRadixBins; bin += blockDim.x) bins[bin] = 0;
    __syncthreads();
    visit(limit, fixed, [&](std::uint64_t entry) {
      if (((entry ^ limit) & fixed) == 0) atomicAdd(&bins[entry >> shift & (kRadixBins - 1)], 1U);
    });
    __syncthreads();
    if (threadIdx.x < 32) choose_digit(bins, wanted, state);
    __syncthreads();
    const std::uint32_t digit = state->digit;
    if (digit == kRadixBins) return 0;
    wanted = state->wanted;
    limit |= std::uint64_t{digit} << shift;
    fixed |= std::uint64_t{kRadixBins - 1} << shift;
    if (state->is_whole != 0 || shift == kLastShift) return limit;
  }
}

/// Copies those of `count` entries that reach `limit`, in no order, and returns their number, the block synchronized.
__device__ inline std::uint32_t copy_reaching(const std::uint64_t* entries, std::uint32_t count, std::uint64_t limit,
                                              std::uint64_t* out, SelectState* state) {
  __syncthreads();
  if (threadIdx.x == 0) state->held = 0;
  __syncthreads();
  for (std::uint32_t i = threadIdx.x; i < count; i += blockDim.x) {
    const std::uint64_t entry = entries[i];
    if (entry >= limit) out[atomicAdd(&state->held, 1U)] = entry;
  }
  __syncthreads();
  return state->held;
}

/// Sorts `size` entries (a power of two) in shared memory, the best first: a bitonic network. The block is synchronized
/// on return; the caller synchronizes before. Where a step and the next one stay within the 64 entries of a warp's 32
/// pairs, the warp alone waits.
__device__ inline void sort_best_first(std::uint64_t* entries, std::uint32_t size) {
  for (std::uint32_t run = 2; run <= size; run *= 2) {
    for (std::uint32_t stride = run / 2; stride > 0; stride /= 2) {
      for (std::uint32_t pair = threadIdx.x; pair < size / 2; pair += blockDim.x) {
        const std::uint32_t at = 2 * pair - (pair & (stride - 1));
        const std::uint64_t first = entries[at];
        const std::uint64_t second = entries[at + stride];
        const bool is_descending = (at & run) == 0;
        if ((first < second) == is_descending) {
          entries[at] = second;
          entries[at + stride] = first;
        }
      }
      const std::uint32_t next = stride > 1 ? stride / 2 : run;
      if (stride > 32 || next > 32) {
        __syncthreads();
      } else {
        __syncwarp();
      }
    }
  }
  __syncthreads();
}

}  // namespace concerto::cuda
