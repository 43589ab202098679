// The host machine itself (support/simt): what a kernel's barrier, warp operations, matrix instructions and
// asynchronous copies do on it, and that it refuses what a device would not survive. Kernels' own tests rest on this.
//
// Fragment layouts are written out here a second time, from the PTX manual's pictures for ldmatrix and mma.m16n8k16.
#include <array>
#include <cmath>
#include <set>
#include <vector>

#include <gtest/gtest.h>

#include "concerto/base/rng.hpp"

#include "bf16.cuh"
#include "device/launch.cuh"
#include "runtime.hpp"

namespace concerto::cuda {
namespace {

/// Orders of threads: ascending, descending, drawn.
constexpr std::array<std::uint64_t, 4> kSchedules = {0, 1, 7, 8};

class HostMachine : public ::testing::Test {
 protected:
  ~HostMachine() override { simt::set_schedule(0); }
  Stream stream_;
};
using HostMachineDeathTest = HostMachine;

__global__ void count_threads(unsigned* places) {
  const unsigned block = blockIdx.y * gridDim.x + blockIdx.x;
  places[block * blockDim.x + threadIdx.x] += 1 + block;
}

TEST_F(HostMachine, EveryThreadOfTheGridRunsOnce) {
  for (const std::uint64_t schedule : kSchedules) {
    simt::set_schedule(schedule);
    std::vector<unsigned> places(3 * 2 * 96);
    launch(stream_, "count_threads", count_threads, {.grid_x = 3, .grid_y = 2, .block = 96}, places.data());
    for (std::size_t k = 0; k < places.size(); ++k) EXPECT_EQ(places[k], 1 + k / 96);
  }
}

__global__ void exchange_in_warp(unsigned* out) {
  const unsigned lane = threadIdx.x % 32;
  const unsigned warp = threadIdx.x / 32;
  unsigned* mine = out + 4 * threadIdx.x;
  mine[0] = __shfl_sync(0xffffffffU, 100 * warp + lane, 5);
  mine[1] = __shfl_xor_sync(0xffffffffU, 100 * warp + lane, 9);
  mine[2] = __ballot_sync(0xffffffffU, lane % 3 == warp);
  mine[3] = 77;
  if (lane < 8) mine[3] = __shfl_sync(0xffU, 100 * warp + lane, lane + 1 < 8 ? lane + 1 : 0);
}

TEST_F(HostMachine, WarpsExchangeWithinThemselves) {
  for (const std::uint64_t schedule : kSchedules) {
    simt::set_schedule(schedule);
    std::vector<unsigned> out(4 * 96);
    launch(stream_, "exchange_in_warp", exchange_in_warp, {.block = 96}, out.data());
    for (unsigned t = 0; t < 96; ++t) {
      const unsigned lane = t % 32;
      const unsigned warp = t / 32;
      unsigned votes = 0;
      for (unsigned l = 0; l < 32; ++l) votes |= l % 3 == warp ? 1U << l : 0U;
      EXPECT_EQ(out[4 * t], 100 * warp + 5);
      EXPECT_EQ(out[4 * t + 1], 100 * warp + (lane ^ 9U));
      EXPECT_EQ(out[4 * t + 2], votes);
      EXPECT_EQ(out[4 * t + 3], lane < 8 ? 100 * warp + (lane + 1) % 8 : 77);
    }
  }
}

/// Rotates values through shared memory; `guarded` without a barrier reads what may not be there yet.
__global__ void rotate(const float* in, float* out, unsigned rounds, bool guarded) {
  auto* shared = reinterpret_cast<float*>(dynamic_shared());
  float value = in[threadIdx.x];
  for (unsigned round = 0; round < rounds; ++round) {
    shared[threadIdx.x] = value;
    if (guarded) __syncthreads();
    value = shared[(threadIdx.x + 1) % blockDim.x];
    if (guarded) __syncthreads();
  }
  out[threadIdx.x] = value;
}

TEST_F(HostMachine, ABarrierSeparatesWritesFromReads) {
  constexpr LaunchShape kShape{.block = 64, .shared_bytes = 64 * sizeof(float)};
  std::vector<float> in(64);
  for (std::size_t k = 0; k < in.size(); ++k) in[k] = static_cast<float>(k);
  for (const std::uint64_t schedule : kSchedules) {
    simt::set_schedule(schedule);
    std::vector<float> out(64);
    launch(stream_, "rotate", rotate, kShape, in.data(), out.data(), 3U, true);
    for (std::size_t k = 0; k < 64; ++k) EXPECT_EQ(out[k], static_cast<float>((k + 3) % 64));
  }
}

TEST_F(HostMachine, AMissingBarrierShowsInTheOrderOfThreads) {
  constexpr LaunchShape kShape{.block = 64, .shared_bytes = 64 * sizeof(float)};
  const std::vector<float> in(64, 1.0F);
  std::set<int> wrong;
  for (const std::uint64_t schedule : kSchedules) {
    simt::set_schedule(schedule);
    std::vector<float> out(64);
    launch(stream_, "rotate", rotate, kShape, in.data(), out.data(), 1U, false);
    int count = 0;
    for (const float value : out) count += std::isnan(value) ? 1 : 0;
    EXPECT_GT(count, 0) << "shared memory that nobody wrote must hold NaN";
    wrong.insert(count);
  }
  EXPECT_GT(wrong.size(), 1U);
}

__global__ void leave_early(unsigned* out) {
  if (threadIdx.x >= 40) return;
  __syncthreads();
  out[threadIdx.x] = 1;
}

TEST_F(HostMachine, ABarrierWaitsForThreadsThatHaveNotEnded) {
  std::vector<unsigned> out(64);
  launch(stream_, "leave_early", leave_early, {.block = 64}, out.data());
  for (std::size_t k = 0; k < 64; ++k) EXPECT_EQ(out[k], k < 40 ? 1U : 0U);
}

/// Loads four 8 x 8 matrices that lie below each other, transposed, and writes what each lane got.
__global__ void load_transposed(const std::uint16_t* in, std::uint32_t* out, unsigned shift) {
  auto* shared = reinterpret_cast<std::uint16_t*>(dynamic_shared());
  for (unsigned k = threadIdx.x; k < 4 * 8 * 8; k += 32) shared[shift + k] = in[k];
  __syncwarp();
  std::uint32_t got[4];
  load_matrices_transposed(got, shared + shift + 8 * threadIdx.x);
  for (unsigned m = 0; m < 4; ++m) out[4 * threadIdx.x + m] = got[m];
}

TEST_F(HostMachine, MatricesAreLoadedTransposed) {
  std::vector<std::uint16_t> in(4 * 64);
  for (std::size_t k = 0; k < in.size(); ++k) in[k] = static_cast<std::uint16_t>(1000 + k);
  const auto element = [&](unsigned matrix, unsigned row, unsigned column) {
    return std::uint32_t{in[64 * matrix + 8 * row + column]};
  };
  for (const std::uint64_t schedule : kSchedules) {
    simt::set_schedule(schedule);
    std::vector<std::uint32_t> out(4 * 32);
    launch(stream_, "load_transposed", load_transposed, {.block = 32, .shared_bytes = 1024}, in.data(), out.data(), 0U);
    for (unsigned lane = 0; lane < 32; ++lane) {
      for (unsigned m = 0; m < 4; ++m) {
        const std::uint32_t low = element(m, 2 * (lane % 4), lane / 4);
        const std::uint32_t high = element(m, 2 * (lane % 4) + 1, lane / 4);
        EXPECT_EQ(out[4 * lane + m], low | high << 16) << "lane " << lane << ", matrix " << m;
      }
    }
  }
}

/// c (16 x 8) += a (16 x 16) b (16 x 8), all row after row in global memory; one warp.
__global__ void multiply_once(const std::uint16_t* a, const std::uint16_t* b, float* c) {
  const unsigned g = threadIdx.x / 4;
  const unsigned t = threadIdx.x % 4;
  const auto pair = [](std::uint16_t low, std::uint16_t high) { return low | std::uint32_t{high} << 16; };
  const auto a_pair = [&](unsigned row, unsigned column) {
    return pair(a[16 * row + column], a[16 * row + column + 1]);
  };
  const auto b_pair = [&](unsigned row) { return pair(b[8 * row + g], b[8 * (row + 1) + g]); };
  const std::uint32_t a_parts[4] = {a_pair(g, 2 * t), a_pair(g + 8, 2 * t), a_pair(g, 2 * t + 8),
                                    a_pair(g + 8, 2 * t + 8)};
  float sums[4] = {c[8 * g + 2 * t], c[8 * g + 2 * t + 1], c[8 * (g + 8) + 2 * t], c[8 * (g + 8) + 2 * t + 1]};
  multiply_bf16(sums, a_parts, b_pair(2 * t), b_pair(2 * t + 8));
  c[8 * g + 2 * t] = sums[0];
  c[8 * g + 2 * t + 1] = sums[1];
  c[8 * (g + 8) + 2 * t] = sums[2];
  c[8 * (g + 8) + 2 * t + 1] = sums[3];
}

TEST_F(HostMachine, MatrixProductsAreThePlainOnes) {
  Random random(5, 1);
  std::vector<float> a(16 * 16);
  std::vector<float> b(16 * 8);
  std::vector<float> c(16 * 8);
  for (auto* values : {&a, &b, &c}) {
    for (float& value : *values) value = static_cast<float>(random.below(41)) - 20.0F;  // exact in bf16, sums in fp32
  }
  std::vector<float> expected = c;
  for (std::size_t i = 0; i < 16; ++i) {
    for (std::size_t j = 0; j < 8; ++j) {
      for (std::size_t k = 0; k < 16; ++k) expected[8 * i + j] += a[16 * i + k] * b[8 * k + j];
    }
  }
  const auto rounded = [](const std::vector<float>& values) {
    std::vector<std::uint16_t> bits;
    for (const float value : values) bits.push_back(bf16_bits(value));
    return bits;
  };
  for (const std::uint64_t schedule : kSchedules) {
    simt::set_schedule(schedule);
    std::vector<float> sums = c;
    launch(stream_, "multiply_once", multiply_once, {.block = 32}, rounded(a).data(), rounded(b).data(), sums.data());
    EXPECT_EQ(sums, expected);
  }
}

TEST_F(HostMachine, RoundingToBf16IsToNearestTiesToEven) {
  EXPECT_EQ(bf16_bits(1.0F), 0x3f80U);
  EXPECT_EQ(bf16_bits(std::bit_cast<float>(0x3f808000U)), 0x3f80U) << "a tie goes to the even one, here down";
  EXPECT_EQ(bf16_bits(std::bit_cast<float>(0x3f818000U)), 0x3f82U) << "a tie goes to the even one, here up";
  EXPECT_EQ(bf16_bits(std::bit_cast<float>(0x3f808001U)), 0x3f81U);
  EXPECT_EQ(bf16_bits(-0.0F), 0x8000U);
  EXPECT_EQ(bf16_bits(std::numeric_limits<float>::max()), 0x7f80U) << "beyond the largest is infinity";
  EXPECT_EQ(bf16_bits(std::numeric_limits<float>::infinity()), 0x7f80U);
  EXPECT_EQ(bf16_bits(std::numeric_limits<float>::quiet_NaN()) & 0x7f80U, 0x7f80U);
  EXPECT_NE(bf16_bits(std::numeric_limits<float>::quiet_NaN()) & 0x7fU, 0U);
  EXPECT_EQ(bf16_pair(1.0F, -2.0F), 0xc0003f80U);
}

/// Copies 16 bytes a thread in two groups and writes what shared memory holds before, between and after the waits.
__global__ void copy_in_groups(const float* in, float* out) {
  auto* shared = reinterpret_cast<float*>(dynamic_shared()) + 8 * threadIdx.x;
  copy_async<16>(shared, in);
  copy_async_commit();
  copy_async<16>(shared + 4, in + 4, 8);  // the second half becomes zero
  copy_async_commit();
  out += 16 * threadIdx.x;
  out[0] = shared[0];
  copy_async_wait<1>();
  for (unsigned k = 0; k < 4; ++k) out[1 + k] = shared[k];
  out[5] = shared[4];
  copy_async_wait<0>();
  for (unsigned k = 0; k < 4; ++k) out[6 + k] = shared[4 + k];
}

TEST_F(HostMachine, AsynchronousCopiesAreThereWhenWaitedForAndNotBefore) {
  alignas(16) const std::array<float, 8> in = {1, 2, 3, 4, 5, 6, 7, 8};
  std::vector<float> out(16 * 32);
  launch(stream_, "copy_in_groups", copy_in_groups, {.block = 32, .shared_bytes = 1024}, in.data(), out.data());
  for (std::size_t thread = 0; thread < 32; ++thread) {
    const float* seen = out.data() + 16 * thread;
    EXPECT_TRUE(std::isnan(seen[0])) << "visible before any wait";
    EXPECT_EQ(std::vector<float>(seen + 1, seen + 5), (std::vector<float>{1, 2, 3, 4}));
    EXPECT_TRUE(std::isnan(seen[5])) << "the second group is visible with the first";
    EXPECT_EQ(std::vector<float>(seen + 6, seen + 10), (std::vector<float>{5, 6, 0, 0}));
  }
}

__global__ void never_written(const float* in, float* out) {
  out[threadIdx.x] = in[threadIdx.x];
}

TEST_F(HostMachine, FreshDeviceMemoryHoldsNaN) {
  MemoryPool pool;
  const DeviceArray<float> fresh(pool, 32, "fresh");
  std::vector<float> out(32);
  launch(stream_, "never_written", never_written, {.block = 32}, fresh.data(), out.data());
  for (const float value : out) EXPECT_TRUE(std::isnan(value));
}

__global__ void barrier_for_some() {
  if (threadIdx.x < 32) __syncthreads();
  if (threadIdx.x >= 32) __syncwarp();
  if (threadIdx.x == 33) __shfl_sync(0xffffffffU, 1, 0);
}

TEST_F(HostMachineDeathTest, WaitingWithoutEndDiesAndSaysWhere) {
  EXPECT_DEATH(launch(stream_, "barrier_for_some", barrier_for_some, {.block = 64}),
               "kernel barrier_for_some, block \\(0, 0\\): threads wait for each other without end");
  EXPECT_DEATH(launch(stream_, "barrier_for_some", barrier_for_some, {.block = 64}),
               "thread 33 waits at __shfl_sync at .*simt_test.cpp");
}

__global__ void meet_in_two_places() {
  if (threadIdx.x < 16) {
    __syncwarp();
  } else {
    __syncwarp();
  }
}

TEST_F(HostMachineDeathTest, LanesThatMeetInDifferentPlacesDie) {
  EXPECT_DEATH(launch(stream_, "meet_in_two_places", meet_in_two_places, {.block = 32}),
               "lanes of one warp meet in different operations");
}

TEST_F(HostMachineDeathTest, UnalignedMatricesDie) {
  const std::vector<std::uint16_t> in(4 * 64);
  std::vector<std::uint32_t> out(4 * 32);
  const LaunchShape shape{.block = 32, .shared_bytes = 1024};
  EXPECT_DEATH(launch(stream_, "load_transposed", load_transposed, shape, in.data(), out.data(), 4U), "16 bytes");
}

__global__ void copy_unaligned(const float* in) {
  copy_async<16>(dynamic_shared(), in + 1);
}

TEST_F(HostMachineDeathTest, UnalignedAsynchronousCopiesDie) {
  alignas(16) const std::array<float, 8> in = {};
  EXPECT_DEATH(launch(stream_, "copy_unaligned", copy_unaligned, {.block = 32, .shared_bytes = 64}, in.data()),
               "source of an asynchronous copy");
}

TEST_F(HostMachineDeathTest, ImpossibleGridsDie) {
  std::vector<unsigned> out(64);
  EXPECT_DEATH(launch(stream_, "leave_early", leave_early, {.grid_x = 0, .block = 64}, out.data()), "no device runs");
  EXPECT_DEATH(launch(stream_, "leave_early", leave_early, {.block = 1056}, out.data()), "no device runs");
  EXPECT_DEATH(launch(stream_, "leave_early", leave_early, {.block = 64, .shared_bytes = 228 << 10}, out.data()),
               "no device runs");
}

}  // namespace
}  // namespace concerto::cuda
