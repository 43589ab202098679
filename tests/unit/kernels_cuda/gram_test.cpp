// Gram matrices of the cuda backend on the host machine: the sum over chunks is the tree of base/tree_sum.hpp bit for
// bit, whatever the batches and the order in which threads run; padding, both element types, and inner products.
#include "gram.hpp"

#include <bit>
#include <cstring>

#include <gtest/gtest.h>

#include "concerto/base/tree_sum.hpp"
#include "concerto/data/partition.hpp"

#include "conformance/backends_under_test.hpp"
#include "conformance/problems.hpp"
#include "cuda_backend.hpp"
#include "machine.hpp"

namespace concerto::test {
namespace {

using cuda::Dense;
using cuda::DeviceArray;
using cuda::Element;
using cuda::MatrixView;
using cuda::MemoryPool;
using cuda::Stream;

/// Rows of random values with zero padding, as floats or, with `Value` std::uint16_t, as the upper halves of floats.
template <class Value>
std::vector<Value> random_rows(std::size_t rows, std::uint32_t rank) {
  const std::size_t stride = FactorTable::padded(rank);
  std::vector<Value> values(rows * stride);
  Random random(rows, rank);
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t c = 0; c < rank; ++c) {
      const auto value = static_cast<float>(random.normal());
      if constexpr (sizeof(Value) == 2) {
        values[r * stride + c] = static_cast<Value>(std::bit_cast<std::uint32_t>(value) >> 16);
      } else {
        values[r * stride + c] = value;
      }
    }
  }
  return values;
}

template <class Value>
MatrixView view(const std::vector<Value>& values, std::size_t stride) {
  return {values.data(), sizeof(Value) == 2 ? Element::kBf16 : Element::kFp32, stride};
}

/// The sum over chunks [begin, begin + count), written as the tree's definition.
std::vector<float> by_definition(const std::vector<std::vector<float>>& chunks, std::size_t begin, std::size_t count) {
  if (count == 1) return chunks[begin];
  const std::size_t left = tree_split(count);
  std::vector<float> sum = by_definition(chunks, begin, left);
  const std::vector<float> right = by_definition(chunks, begin + left, count - left);
  for (std::size_t k = 0; k < sum.size(); ++k) sum[k] += right[k];
  return sum;
}

template <class Value>
void expect_tree(RowIndex rows, std::uint32_t rank, std::size_t batch_matrices) {
  SCOPED_TRACE(std::to_string(rows) + " rows, rank " + std::to_string(rank) + ", " + std::to_string(batch_matrices) +
               " chunks a batch");
  const std::size_t stride = FactorTable::padded(rank);
  const auto values = random_rows<Value>(rows, rank);
  const Stream stream;
  MemoryPool pool;
  Dense dense(stream);
  std::vector<std::vector<float>> chunks;
  for (RowIndex chunk = 0; chunk < chunk_count(rows); ++chunk) {
    const RowRange range = chunk_range(rows, chunk);
    const std::vector<Value> part(values.begin() + static_cast<std::ptrdiff_t>(range.begin * stride),
                                  values.begin() + static_cast<std::ptrdiff_t>(range.end * stride));
    chunks.emplace_back(stride * stride);
    dense.grams(1, range.size(), stride, view(part, stride), chunks.back().data());
  }
  const auto expected = by_definition(chunks, 0, chunks.size());
  const DeviceArray<float> actual = cuda::gram_of_rows(pool, stream, dense, view(values, stride), rows,
                                                       batch_matrices * stride * stride * sizeof(float));
  ASSERT_EQ(actual.size(), expected.size());
  EXPECT_EQ(std::memcmp(actual.data(), expected.data(), actual.bytes()), 0);
}

TEST(CudaGram, SumsAlongTheTreeForEveryNumberOfChunksAndEveryBatch) {
  for (RowIndex chunks = 1; chunks <= 20; ++chunks) {
    for (const std::size_t batch : {0U, 1U, 3U, 4U, 1000U}) {
      expect_tree<float>(64 * chunks, 3, batch);
      expect_tree<float>(64 * chunks - 63, 3, batch);
    }
  }
}

TEST(CudaGram, SumsAlongTheTreeOfLongTables) {
  expect_tree<float>(1024 * 17 + 5, 7, 1000);  // chunks of 1,024 rows
  expect_tree<float>(64 * 255 + 1, 1, 1000);   // batches of 128, 64, ... chunks
  expect_tree<float>(64 * 128, 2, 1000);
}

TEST(CudaGram, SumsAlongTheTreeOfBf16Rows) {
  for (const RowIndex rows : {1U, 63U, 64U, 65U, 64U * 11 + 9}) expect_tree<std::uint16_t>(rows, 19, 4);
}

TEST(CudaGram, OrderOfThreadsChangesNothing) {
  for (const std::uint64_t schedule : {1U, 2U, 3U}) {
    simt::set_schedule(schedule);
    expect_tree<float>(64 * 19 + 1, 5, 8);
  }
  simt::set_schedule(0);
}

TEST(CudaGram, OfNoRowsIsZero) {
  const Stream stream;
  MemoryPool pool;
  Dense dense(stream);
  const auto gram = cuda::gram_of_rows(pool, stream, dense, {nullptr, Element::kFp32, 16}, 0, 1000);
  for (std::size_t k = 0; k < 256; ++k) EXPECT_EQ(gram.data()[k], 0.0F);
}

TEST(CudaGram, ScratchStaysWithinItsBatch) {
  const std::size_t stride = 16;
  const auto values = random_rows<float>(64 * 40, 16);
  const Stream stream;
  MemoryPool pool;
  Dense dense(stream);
  const std::size_t matrix = stride * stride * sizeof(float);
  const auto gram = cuda::gram_of_rows(pool, stream, dense, view(values, stride), 64 * 40, 4 * matrix);
  EXPECT_LE(pool.peak_bytes(), 4 * matrix + 7 * matrix);  // the batch, and the digits of 40 in whole matrices
  EXPECT_EQ(pool.used_bytes(), matrix);
}

TEST(CudaGram, InnerProductsAreThoseOfTheReference) {
  for (const Gather gather : {Gather::kBf16, Gather::kFp32}) {
    for (const std::uint32_t rank : {1U, 17U, 130U}) {
      const FactorTable a = integer_table({131, rank, false}, 1);  // bf16 holds them
      const FactorTable b = integer_table({70, rank, false}, 2);
      const auto product = [&](Backend& on) {
        return on.inner_product(*on.gram(*upload(on, a)), *on.gram(*upload(on, b)));
      };
      EXPECT_EQ(product(*make_cuda_backend({.gather = gather})), product(*make_reference_backend())) << rank;
    }
  }
}

TEST(CudaGram, InnerProductsSumInDouble) {
  const FactorTable a = random_table({64, 300, false}, 1);
  const auto reference = make_reference_backend();
  const auto cuda = make_cuda_backend({.gather = Gather::kFp32});
  const double expected =
      reference->inner_product(*reference->gram(*upload(*reference, a)), *reference->gram(*upload(*reference, a)));
  EXPECT_NEAR(cuda->inner_product(*cuda->gram(*upload(*cuda, a)), *cuda->gram(*upload(*cuda, a))), expected,
              1e-6 * expected);
}

}  // namespace
}  // namespace concerto::test
