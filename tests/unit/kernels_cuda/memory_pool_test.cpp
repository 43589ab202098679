// The pool of device memory: what it counts, what it refuses, and what it says then.
#include <gmock/gmock.h>

#include "concerto/base/error.hpp"

#include "runtime.hpp"

namespace concerto::cuda {
namespace {

using ::testing::HasSubstr;

TEST(MemoryPool, CountsWhatIsInUseAndItsPeak) {
  MemoryPool pool;
  void* a = pool.allocate(1000, "a");
  void* b = pool.allocate(500, "b");
  EXPECT_EQ(pool.used_bytes(), 1500U);
  pool.release(a, 1000);
  EXPECT_EQ(pool.used_bytes(), 500U);
  EXPECT_EQ(pool.peak_bytes(), 1500U);
  pool.reset_peak();
  EXPECT_EQ(pool.peak_bytes(), 500U);
  pool.release(b, 500);
  EXPECT_EQ(pool.used_bytes(), 0U);
}

TEST(MemoryPool, NothingIsGivenForNothing) {
  MemoryPool pool;
  EXPECT_EQ(pool.allocate(0, "nothing"), nullptr);
  pool.release(nullptr, 0);
  EXPECT_EQ(pool.used_bytes(), 0U);
  const DeviceArray<float> array(pool, 0, "nothing");
  EXPECT_TRUE(array.empty());
  EXPECT_EQ(array.bytes(), 0U);
}

TEST(MemoryPool, SizesAreRoundedToFewDifferentOnes) {
  EXPECT_EQ(MemoryPool::rounded(1), 512U);
  EXPECT_EQ(MemoryPool::rounded(512), 512U);
  EXPECT_EQ(MemoryPool::rounded(513), 1024U);
  constexpr std::size_t kLarge = std::size_t{2} << 20;
  EXPECT_EQ(MemoryPool::rounded(kLarge), kLarge);
  EXPECT_EQ(MemoryPool::rounded(kLarge + 1), 2 * kLarge);
  EXPECT_EQ(MemoryPool::rounded((std::size_t{5} << 32) + 1), (std::size_t{5} << 32) + kLarge);
}

TEST(MemoryPool, ALimitRefusesAndSaysWhoAskedForHowMuch) {
  MemoryPool pool;
  pool.set_limit(std::uint64_t{8} << 20);
  EXPECT_EQ(pool.available_bytes(), std::uint64_t{8} << 20);
  const DeviceArray<float> kept(pool, std::size_t{1} << 20, "kept");
  EXPECT_EQ(pool.available_bytes(), std::uint64_t{4} << 20);
  try {
    const DeviceArray<float> refused(pool, (std::size_t{1} << 20) + (std::size_t{1} << 19), "factors of tests");
    FAIL() << "6 MiB fit into 4";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kOutOfMemory);
    const std::string text = error.what();
    EXPECT_THAT(text, HasSubstr("factors of tests"));
    EXPECT_THAT(text, HasSubstr("6.0 MiB"));
    EXPECT_THAT(text, HasSubstr("4.0 MiB are left and 4.0 MiB in use"));
    EXPECT_EQ(text.find('\n'), std::string::npos);
  }
  EXPECT_EQ(pool.used_bytes(), std::uint64_t{4} << 20) << "a refusal must not count";
  const DeviceArray<float> fits(pool, std::size_t{1} << 20, "the rest");
  EXPECT_EQ(pool.available_bytes(), 0U);
}

TEST(MemoryPool, ArraysGiveBackWhatTheyHeldWhenMovedOver) {
  MemoryPool pool;
  DeviceArray<float> a(pool, 100, "a");
  DeviceArray<float> b(pool, 50, "b");
  float* const held = b.data();
  a = std::move(b);
  EXPECT_EQ(a.data(), held);
  EXPECT_EQ(a.size(), 50U);
  EXPECT_EQ(pool.used_bytes(), 200U);
  const DeviceArray<float> c = std::move(a);
  EXPECT_EQ(c.data(), held);
  EXPECT_EQ(pool.used_bytes(), 200U);
}

TEST(MemoryPool, ScratchGrowsAndNeverShrinks) {
  MemoryPool pool;
  {
    Scratch<float> scratch;
    float* const first = scratch.at_least(pool, 100, "scratch");
    EXPECT_EQ(scratch.at_least(pool, 60, "scratch"), first);
    EXPECT_EQ(scratch.bytes(), 400U);
    (void)scratch.at_least(pool, 101, "scratch");
    EXPECT_EQ(scratch.bytes(), 404U);
    EXPECT_EQ(pool.used_bytes(), 404U);
  }
  EXPECT_EQ(pool.used_bytes(), 0U);
  EXPECT_EQ(pool.peak_bytes(), 404U) << "the old scratch must go before the new one comes";
}

TEST(MemoryPool, CopiesComeBack) {
  MemoryPool pool;
  const Stream stream;
  const std::vector<int> values = {3, 1, 4, 1, 5};
  const DeviceArray<int> array(pool, stream, values, "values");
  std::vector<int> back(5);
  copy_to_host(stream, back.data(), array.data(), array.bytes());
  stream.wait();
  EXPECT_EQ(back, values);
}

}  // namespace
}  // namespace concerto::cuda
