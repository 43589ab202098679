// Gram matrices: Y^T Y per chunk of rows by a batched dense product, chunks along the tree of base/tree_sum.hpp, and
// inner products of two of them.
//
// Why the sum is that tree whatever the batches: the tree over n chunks cuts off the largest power of two below n, so
// it is a row of perfect trees of falling size (the binary digits of n), put together from the last to the first. A
// batch is a power of two of whole chunks and starts at a multiple of its size, hence a perfect tree; its sum goes on a
// stack, where two neighbours of equal size are one perfect tree of the next size, as carries in a binary counter. What
// is left on the stack at the end are the digits of n. Addition of two numbers does not depend on their order. A last
// chunk that is short comes last, by itself.
#include <algorithm>
#include <bit>

#include "concerto/base/tree_sum.hpp"
#include "concerto/data/partition.hpp"

#include "cuda_backend.hpp"
#include "device/launch.cuh"
#include "gram.hpp"
#include "shadow.hpp"

namespace concerto::cuda {
namespace {

constexpr unsigned kBlock = 256;

__device__ inline float4 sum_of(const float4& a, const float4& b) {
  return {a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w};
}

/// Sums groups of `Count` matrices of `quads` x 4 floats along a perfect tree. Matrix m of group g lies at
/// (g * Count + m) * step matrices; its group's sum goes to group g of `to`, `to_step` matrices apart. Writing over the
/// first matrix of each group is allowed: nobody else reads it.
template <unsigned Count>
__global__ void sum_groups(const float4* from, float4* to, std::uint64_t quads, unsigned step, unsigned to_step) {
  const std::uint64_t quad = std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (quad >= quads) return;
  const std::uint64_t group = blockIdx.y;
  float4 values[Count];
#pragma unroll
  for (unsigned m = 0; m < Count; ++m) values[m] = from[(group * Count + m) * step * quads + quad];
#pragma unroll
  for (unsigned half = 1; half < Count; half *= 2) {
#pragma unroll
    for (unsigned m = 0; m + half < Count; m += 2 * half) values[m] = sum_of(values[m], values[m + half]);
  }
  to[group * to_step * quads + quad] = values[0];
}

template <unsigned Count>
void launch_sum(const Stream& stream, const float* from, float* to, std::uint64_t size, unsigned groups, unsigned step,
                unsigned to_step) {
  launch(stream, "sum_groups", sum_groups<Count>,
         {.grid_x = blocks_for(size / 4, kBlock), .grid_y = groups, .block = kBlock},
         reinterpret_cast<const float4*>(from), reinterpret_cast<float4*>(to), size / 4, step, to_step);
}

/// The sum of `count` matrices, a power of two from 2 on, along the perfect tree, to `to`. Destroys `parts`.
void sum_perfect_tree(const Stream& stream, float* parts, unsigned count, float* to, std::uint64_t size) {
  unsigned step = 1;
  for (; count > 8; count /= 8, step *= 8) launch_sum<8>(stream, parts, parts, size, count / 8, step, 8 * step);
  switch (count) {
    case 8:
      return launch_sum<8>(stream, parts, to, size, 1, step, 1);
    case 4:
      return launch_sum<4>(stream, parts, to, size, 1, step, 1);
    default:
      return launch_sum<2>(stream, parts, to, size, 1, step, 1);
  }
}

__global__ void add_matrix(float4* to, const float4* from, std::uint64_t quads) {
  const std::uint64_t quad = std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (quad < quads) to[quad] = sum_of(to[quad], from[quad]);
}

/// The stack of perfect trees, as the file's opening explains.
class TreeStack {
 public:
  TreeStack(const Stream& stream, std::uint64_t size) : stream_(stream), size_(size) {}

  void push(DeviceArray<float> sum, std::size_t chunks) {
    while (!trees_.empty() && trees_.back().chunks == chunks) {
      sum = joined(std::move(sum));
      chunks *= 2;
    }
    trees_.push_back({std::move(sum), chunks});
  }

  [[nodiscard]] DeviceArray<float> total() {
    DeviceArray<float> sum = std::move(trees_.back().sum);
    trees_.pop_back();
    while (!trees_.empty()) sum = joined(std::move(sum));
    return sum;
  }

 private:
  struct Tree {
    DeviceArray<float> sum;
    std::size_t chunks = 0;
  };

  /// The topmost tree and `right`, its neighbour, as one.
  [[nodiscard]] DeviceArray<float> joined(const DeviceArray<float>& right) {
    DeviceArray<float> left = std::move(trees_.back().sum);
    trees_.pop_back();
    launch(stream_, "add_matrix", add_matrix, {.grid_x = blocks_for(size_ / 4, kBlock), .block = kBlock},
           reinterpret_cast<float4*>(left.data()), reinterpret_cast<const float4*>(right.data()), size_ / 4);
    return left;
  }

  const Stream& stream_;
  std::uint64_t size_;
  std::vector<Tree> trees_;
};

MatrixView from_row(const MatrixView& matrix, std::uint64_t row) {
  const std::size_t element_bytes = matrix.element == Element::kBf16 ? sizeof(std::uint16_t) : sizeof(float);
  return {static_cast<const std::byte*>(matrix.data) + row * matrix.stride * element_bytes, matrix.element,
          matrix.stride};
}

constexpr unsigned kProductBlocks = 256;  // whatever the device, so that the order of the sum does not depend on it

/// Each block's share of <a, b> in double: every thread its elements in ascending order, threads by halves.
__global__ void multiply_elements(const float* a, const float* b, std::uint64_t size, double* sums) {
  double sum = 0.0;
  for (std::uint64_t at = std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x; at < size;
       at += std::uint64_t{gridDim.x} * blockDim.x) {
    sum += static_cast<double>(a[at]) * static_cast<double>(b[at]);
  }
  auto* shared = reinterpret_cast<double*>(dynamic_shared());
  shared[threadIdx.x] = sum;
  for (unsigned half = blockDim.x / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) shared[threadIdx.x] += shared[threadIdx.x + half];
  }
  if (threadIdx.x == 0) sums[blockIdx.x] = shared[0];
}

}  // namespace

DeviceArray<float> gram_of_rows(MemoryPool& pool, const Stream& stream, Dense& dense, const MatrixView& matrix,
                                RowIndex rows, std::size_t batch_bytes) {
  constexpr const char* kWhat = "Gram matrices";
  const std::size_t size = matrix.stride * matrix.stride;
  if (rows == 0) {
    DeviceArray<float> zero(pool, size, kWhat);
    fill_zero(stream, zero.data(), zero.bytes());
    return zero;
  }
  const RowIndex chunk = chunk_rows(rows);
  const std::size_t whole = rows / chunk;
  const std::size_t fitting = std::max<std::size_t>(1, batch_bytes / (size * sizeof(float)));
  const std::size_t largest = std::bit_floor(std::min(fitting, std::max<std::size_t>(1, whole)));
  DeviceArray<float> parts(pool, largest > 1 ? largest * size : 0, kWhat);
  TreeStack stack(stream, size);
  for (std::size_t done = 0; done < whole;) {
    const std::size_t count = std::min(largest, std::bit_floor(whole - done));
    const MatrixView batch = from_row(matrix, done * chunk);
    DeviceArray<float> sum(pool, size, kWhat);
    if (count == 1) {
      dense.grams(1, chunk, matrix.stride, batch, sum.data());
    } else {
      dense.grams(count, chunk, matrix.stride, batch, parts.data());
      sum_perfect_tree(stream, parts.data(), static_cast<unsigned>(count), sum.data(), size);
    }
    stack.push(std::move(sum), count);
    done += count;
  }
  if (rows % chunk != 0) {
    DeviceArray<float> sum(pool, size, kWhat);
    dense.grams(1, rows % chunk, matrix.stride, from_row(matrix, whole * chunk), sum.data());
    stack.push(std::move(sum), 1);
  }
  return stack.total();
}

std::unique_ptr<Buffer> CudaBackend::gram(const Buffer& buffer) {
  const auto& table = buffer_as<TableBuffer>(&buffer);
  auto gram = std::make_unique<GramBuffer>();
  gram->rank = table.shape.rank;
  gram->stride = table.stride;
  gram->values = gram_of_rows(pool_, stream_, dense_, table.gathered(), table.shape.rows, kGramBatchBytes);
  return gram;
}

double CudaBackend::inner_product(const Buffer& gram_a, const Buffer& gram_b) {
  const auto& a = buffer_as<GramBuffer>(&gram_a);
  const auto& b = buffer_as<GramBuffer>(&gram_b);
  CONCERTO_CHECK(a.rank == b.rank, "Gram matrices of different ranks");
  DeviceArray<double> sums(pool_, kProductBlocks, "an inner product");
  launch(stream_, "multiply_elements", multiply_elements,
         {.grid_x = kProductBlocks, .block = kBlock, .shared_bytes = kBlock * sizeof(double)}, a.values.data(),
         b.values.data(), a.values.size(), sums.data());
  std::vector<double> leaves(kProductBlocks);
  copy_to_host(stream_, leaves.data(), sums.data(), sums.bytes());
  stream_.wait();
  return tree_sum(leaves);
}

}  // namespace concerto::cuda
