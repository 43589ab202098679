// The hot loop: gathers the factor vectors of a row's entries and sums their weighted outer products, right side and
// plain sum, in registers.
//
// Stages of 32 entries go through a ring of shared-memory buffers by asynchronous copies of 16 bytes, so that the next
// rows are on their way while the present ones are multiplied; columns and weights of a stage are read one stage ahead
// of its copies. bf16 rows are multiplied by tensor cores (mma.sync m16n8k16, fp32 accumulation), fp32 rows by fp32
// multiply-adds in the same layout.
//
// The lower triangle of the Gram matrix is cut into squares of 32 x 32 (2 x 2 blocks of 16), three squares a warp. One
// transposed ldmatrix of 16 entries x 16 columns gives the fragment of these columns both as the left and as the right
// operand, so a square costs four loads for eight products, one on the diagonal two for six.
//
// Exactness: an unweighted left operand is the row itself. A weight is signed and not rounded: w y is split into a bf16
// and the bf16 of what that leaves out, two products. The right side is one more column: h_k split into three bf16,
// which together are h_k, and a column of ones for s.
#pragma once

#include <type_traits>

#include "row_system.cuh"

namespace concerto::cuda {

enum class Weights : std::uint8_t { kEqual, kSigned };

/// The shape of the work of one thread block for rows of `Width` columns, a multiple of 32.
template <unsigned Width, class Element>
struct TileShape {
  static constexpr bool kIsBf16 = std::is_same_v<Element, std::uint16_t>;
  static constexpr unsigned kBands = Width / 32;
  static constexpr unsigned kSquares = kBands * (kBands + 1) / 2;
  static constexpr unsigned kSlots = kSquares == 1 ? 1 : 3;  ///< squares a warp
  static constexpr unsigned kWarps = (kSquares + kSlots - 1) / kSlots;
  static constexpr unsigned kThreads = 32 * kWarps;
  /// Blocks that a multiprocessor is to hold: what 168 registers a thread allow; 128 for the narrowest; three bands
  /// spill at 168, and the next step, two warps in each quarter of a multiprocessor, leaves them what they want.
  static constexpr unsigned kResidentBlocks = kBands == 1 ? 16 : kBands == 3 ? 4 : kWarps >= 7 ? 1 : 12 / kWarps;
  static constexpr unsigned kRounds = (2 * kBands + kWarps - 1) / kWarps;  ///< blocks of the right side a warp
  static constexpr unsigned kEntries = 32;                                 ///< a stage
  static constexpr unsigned kStages = 3;
  static constexpr unsigned kPitch = Width * sizeof(Element) + 16;  ///< bytes; odd in units of 16: no bank conflicts
  static constexpr unsigned kStageBytes = kEntries * kPitch;
  static constexpr unsigned kRingBytes = kStages * kStageBytes;
};

/// Columns and weights of the entries of a stage.
struct StageFacts {
  RowIndex columns[32];
  float gram[32];
  float right[32];
  std::uint16_t right_parts[4][32];  ///< right as three bf16, and 1: the extra columns of the tensor product
};

/// Sums in registers: C fragments of the squares, and of the right side's blocks.
template <class Shape>
struct Accumulators {
  float squares[Shape::kSlots][2][2][2][4] = {};  ///< [square][row block][column block][8 columns][fragment]
  float right[Shape::kRounds][4] = {};
  float residual_sum = 0.0F;  ///< of this thread's entries
};

struct Square {
  unsigned row;     ///< in units of 32 columns
  unsigned column;  ///< at most row
};
/// The square with this number, counted along the rows of the triangle.
__host__ __device__ constexpr Square square_at(unsigned number) {
  unsigned row = 0;
  while ((row + 1) * (row + 2) / 2 <= number) ++row;
  return {row, number - row * (row + 1) / 2};
}

/// One row's entries on their way through the block.
template <unsigned Width, class Element, Weights kWeights>
class Gatherer {
 public:
  using Shape = TileShape<Width, Element>;

  __device__ Gatherer(const SystemArguments& arguments, EntryIndex begin, std::uint32_t length, std::byte* ring,
                      StageFacts* facts)
      : a_(arguments), begin_(begin), length_(length), ring_(ring), facts_(facts) {}

  /// Adds all entries to `sums`. Returns synchronized: the ring may be used for something else.
  __device__ void run(Accumulators<Shape>& sums) {
    const unsigned stages = (length_ + Shape::kEntries - 1) / Shape::kEntries;
    for (unsigned stage = 0; stage < Shape::kStages; ++stage) {
      load_facts(stage, sums);
      store_facts(stage);
    }
    __syncthreads();
    for (unsigned stage = 0; stage + 1 < Shape::kStages; ++stage) copy_stage(stage, stages);
    for (unsigned stage = 0; stage < stages; ++stage) {
      load_facts(stage + Shape::kStages, sums);
      copy_async_wait<Shape::kStages - 2>();
      __syncthreads();  // everybody's copies of this stage are there, and everybody has left the stage before it
      copy_stage(stage + Shape::kStages - 1, stages);
      multiply(stage, sums);
      store_facts(stage + Shape::kStages);
    }
    copy_async_wait<0>();
    __syncthreads();
  }

 private:
  static constexpr unsigned kFacts = Shape::kStages + 1;

  /// Columns and weights of a stage into registers of the first warp: two dependent reads, needed a stage later.
  __device__ void load_facts(unsigned stage, Accumulators<Shape>& sums) {
    if (threadIdx.x >= Shape::kEntries) return;
    const std::uint32_t k = stage * Shape::kEntries + threadIdx.x;
    column_ = 0;
    gram_ = 0.0F;
    right_ = 0.0F;
    if (k >= length_) return;
    const EntryIndex entry = begin_ + k;
    column_ = a_.columns[entry];
    const float value = a_.values != nullptr ? a_.values[entry] : 1.0F;
    const float bias = a_.column_biases != nullptr ? a_.column_biases[column_] : 0.0F;
    const auto weights = a_.objective.entry_weights(value, bias);
    gram_ = weights.gram;
    right_ = weights.right;
    if (a_.scores != nullptr) right_ -= weights.gram * a_.scores[entry - a_.first_entry];
    sums.residual_sum += right_;
  }

  __device__ void store_facts(unsigned stage) {
    if (threadIdx.x >= Shape::kEntries) return;
    StageFacts& facts = facts_[stage % kFacts];
    facts.columns[threadIdx.x] = column_;
    facts.gram[threadIdx.x] = gram_;
    if constexpr (Shape::kIsBf16) {
      constexpr std::uint16_t kOne = 0x3f80;
      const std::uint16_t high = bf16_bits(right_);
      const float rest = right_ - bf16_value(high);
      const std::uint16_t middle = bf16_bits(rest);
      facts.right_parts[0][threadIdx.x] = high;
      facts.right_parts[1][threadIdx.x] = middle;
      facts.right_parts[2][threadIdx.x] = bf16_bits(rest - bf16_value(middle));
      facts.right_parts[3][threadIdx.x] = kOne;  // rows beyond the last entry are zero
    } else {
      facts.right[threadIdx.x] = right_;
    }
  }

  /// Starts the copies of a stage's rows, or, where a slice begins between two 16 bytes, copies them. One group of
  /// copies a call, whether or not there is such a stage.
  __device__ void copy_stage(unsigned stage, unsigned stages) {
    if (stage < stages) {
      constexpr unsigned kPerCopy = 16 / sizeof(Element);
      std::byte* buffer = ring_ + stage % Shape::kStages * Shape::kStageBytes;
      const StageFacts& facts = facts_[stage % kFacts];
      const std::uint32_t left = length_ - stage * Shape::kEntries;
      const auto* fixed = static_cast<const Element*>(a_.fixed) + a_.column_begin;
      const std::uint64_t there = a_.fixed_stride - a_.column_begin;  // columns that a row still has
      if (a_.column_begin % kPerCopy == 0) {
        constexpr unsigned kCopies = Width / kPerCopy;
        for (unsigned copy = threadIdx.x; copy < Shape::kEntries * kCopies; copy += Shape::kThreads) {
          const unsigned entry = copy / kCopies;
          const unsigned column = copy % kCopies * kPerCopy;
          const bool is_there = entry < left && column < there;
          const Element* from = is_there ? fixed + facts.columns[entry] * a_.fixed_stride + column : fixed;
          copy_async<16>(buffer + entry * Shape::kPitch + column * sizeof(Element), from, is_there ? 16U : 0U);
        }
      } else {
        for (unsigned at = threadIdx.x; at < Shape::kEntries * Width; at += Shape::kThreads) {
          const unsigned entry = at / Width;
          const unsigned column = at % Width;
          const bool is_there = entry < left && column < there;
          reinterpret_cast<Element*>(buffer + entry * Shape::kPitch)[column] =
              is_there ? fixed[facts.columns[entry] * a_.fixed_stride + column] : Element{};
        }
      }
    }
    copy_async_commit();
  }

  __device__ void multiply(unsigned stage, Accumulators<Shape>& sums) {
    const std::byte* buffer = ring_ + stage % Shape::kStages * Shape::kStageBytes;
    const StageFacts& facts = facts_[stage % kFacts];
    const std::uint32_t left = length_ - stage * Shape::kEntries;
#pragma unroll
    for (unsigned half = 0; half < Shape::kEntries / 16; ++half) {
      if (half * 16 >= left) break;
      if constexpr (Shape::kIsBf16) {
        multiply_by_tensor(buffer + half * 16 * Shape::kPitch, facts, half * 16, sums);
      } else {
        multiply_by_fma(reinterpret_cast<const float*>(buffer + half * 16 * Shape::kPitch), facts, half * 16, sums);
      }
    }
  }

  /// The fragment of 16 entries x 16 columns, columns as rows of the left operand.
  __device__ static void load_block(std::uint32_t (&fragment)[4], const std::byte* rows, unsigned block) {
    const unsigned lane = threadIdx.x % 32;
    const unsigned entry = lane % 8 + lane / 16 * 8;
    const unsigned column = block * 16 + lane / 8 % 2 * 8;
    load_matrices_transposed(fragment, rows + entry * Shape::kPitch + column * 2);
  }

  __device__ void multiply_by_tensor(const std::byte* rows, const StageFacts& facts, unsigned first,
                                     Accumulators<Shape>& sums) {
    const unsigned lane = threadIdx.x % 32;
    const unsigned warp = threadIdx.x / 32;
    const unsigned g = lane / 4;
    const unsigned t = lane % 4;
#pragma unroll
    for (unsigned slot = 0; slot < Shape::kSlots; ++slot) {
      const unsigned number = warp + slot * Shape::kWarps;
      if (number >= Shape::kSquares) break;
      const Square square = square_at(number);
      std::uint32_t low[2][4];  // of the square's rows
      std::uint32_t other[2][4];
      load_block(low[0], rows, 2 * square.row);
      load_block(low[1], rows, 2 * square.row + 1);
      if (square.row != square.column) {
        load_block(other[0], rows, 2 * square.column);
        load_block(other[1], rows, 2 * square.column + 1);
      } else {
#pragma unroll
        for (unsigned r = 0; r < 4; ++r) {
          other[0][r] = low[0][r];
          other[1][r] = low[1][r];
        }
      }
      const bool is_diagonal = square.row == square.column;
      if constexpr (kWeights == Weights::kSigned) {
        const float4 weights = {facts.gram[first + 2 * t], facts.gram[first + 2 * t + 1], facts.gram[first + 2 * t + 8],
                                facts.gram[first + 2 * t + 9]};
#pragma unroll
        for (unsigned block = 0; block < 2; ++block) {
          std::uint32_t rest[4];
          weigh(low[block], rest, weights);
          multiply_blocks(sums.squares[slot][block], rest, other, is_diagonal && block == 0);
        }
      }
      multiply_blocks(sums.squares[slot][0], low[0], other, is_diagonal);
      multiply_blocks(sums.squares[slot][1], low[1], other, false);
    }
#pragma unroll
    for (unsigned round = 0; round < Shape::kRounds; ++round) {
      const unsigned block = warp + round * Shape::kWarps;
      if (block >= 2 * Shape::kBands) break;
      std::uint32_t fragment[4];
      load_block(fragment, rows, block);
      std::uint32_t upper = 0;
      std::uint32_t lower = 0;
      if (g < 4) {
        upper = *reinterpret_cast<const std::uint32_t*>(&facts.right_parts[g][first + 2 * t]);
        lower = *reinterpret_cast<const std::uint32_t*>(&facts.right_parts[g][first + 2 * t + 8]);
      }
      multiply_bf16(sums.right[round], fragment, upper, lower);
    }
  }

  /// Replaces a fragment by the bf16 of its product with the entries' weights, and writes the bf16 of what that leaves
  /// out to `rest`.
  __device__ static void weigh(std::uint32_t (&fragment)[4], std::uint32_t (&rest)[4], const float4& weights) {
#pragma unroll
    for (unsigned r = 0; r < 4; ++r) {
      const float first = bf16_low(fragment[r]) * (r < 2 ? weights.x : weights.z);
      const float second = bf16_high(fragment[r]) * (r < 2 ? weights.y : weights.w);
      fragment[r] = bf16_pair(first, second);
      rest[r] = bf16_pair(first - bf16_low(fragment[r]), second - bf16_high(fragment[r]));
    }
  }

  /// 16 rows of a square: two blocks, or, where the second lies above the diagonal, one.
  __device__ static void multiply_blocks(float (&sums)[2][2][4], const std::uint32_t (&rows)[4],
                                         const std::uint32_t (&columns)[2][4], bool is_first_only) {
    multiply_bf16(sums[0][0], rows, columns[0][0], columns[0][2]);
    multiply_bf16(sums[0][1], rows, columns[0][1], columns[0][3]);
    if (is_first_only) return;
    multiply_bf16(sums[1][0], rows, columns[1][0], columns[1][2]);
    multiply_bf16(sums[1][1], rows, columns[1][1], columns[1][3]);
  }

  /// The same sums in fp32: a thread holds the elements that it would hold of the tensor product.
  __device__ void multiply_by_fma(const float* rows, const StageFacts& facts, unsigned first,
                                  Accumulators<Shape>& sums) {
    constexpr unsigned kPitch = Shape::kPitch / sizeof(float);
    const unsigned lane = threadIdx.x % 32;
    const unsigned warp = threadIdx.x / 32;
    const unsigned g = lane / 4;
    const unsigned t = lane % 4;
#pragma unroll
    for (unsigned slot = 0; slot < Shape::kSlots; ++slot) {
      const unsigned number = warp + slot * Shape::kWarps;
      if (number >= Shape::kSquares) break;
      const Square square = square_at(number);
      for (unsigned k = 0; k < 16; ++k) {
        const float* row = rows + k * kPitch;
        const float weight = kWeights == Weights::kSigned ? facts.gram[first + k] : 1.0F;
        float left[2][2];
        float2 right[2][2];
#pragma unroll
        for (unsigned b = 0; b < 2; ++b) {
#pragma unroll
          for (unsigned h = 0; h < 2; ++h) {
            left[b][h] = weight * row[square.row * 32 + b * 16 + h * 8 + g];
            right[b][h] = *reinterpret_cast<const float2*>(row + square.column * 32 + b * 16 + h * 8 + 2 * t);
          }
        }
#pragma unroll
        for (unsigned i = 0; i < 2; ++i) {
#pragma unroll
          for (unsigned j = 0; j < 2; ++j) {
#pragma unroll
            for (unsigned n = 0; n < 2; ++n) {
              float(&sum)[4] = sums.squares[slot][i][j][n];
              sum[0] += left[i][0] * right[j][n].x;
              sum[1] += left[i][0] * right[j][n].y;
              sum[2] += left[i][1] * right[j][n].x;
              sum[3] += left[i][1] * right[j][n].y;
            }
          }
        }
      }
    }
    // Right side: threads t = 0 hold h y of rows g and g + 8 in [0] and [2], threads t = 1 hold y in [1] and [3].
#pragma unroll
    for (unsigned round = 0; round < Shape::kRounds; ++round) {
      const unsigned block = warp + round * Shape::kWarps;
      if (block >= 2 * Shape::kBands || t > 1) break;
      for (unsigned k = 0; k < 16; ++k) {
        const float weight = t == 0 ? facts.right[first + k] : 1.0F;
        const float upper = weight * rows[k * kPitch + block * 16 + g];
        const float lower = weight * rows[k * kPitch + block * 16 + g + 8];
        if (t == 0) {
          sums.right[round][0] += upper;
          sums.right[round][2] += lower;
        } else {
          sums.right[round][1] += upper;
          sums.right[round][3] += lower;
        }
      }
    }
  }

  const SystemArguments& a_;
  EntryIndex begin_;
  std::uint32_t length_;
  std::byte* ring_;
  StageFacts* facts_;
  RowIndex column_ = 0;
  float gram_ = 0.0F;
  float right_ = 0.0F;
};

/// Writes the sums to the parts of a system: packed triangle (scaled), right side, s, q. Returns synchronized.
template <unsigned Width, class Element>
__device__ void store_sums(const Accumulators<TileShape<Width, Element>>& sums, const SystemArguments& a,
                           const RowSystemView& system) {
  using Shape = TileShape<Width, Element>;
  const unsigned lane = threadIdx.x % 32;
  const unsigned warp = threadIdx.x / 32;
  const unsigned g = lane / 4;
  const unsigned t = lane % 4;
#pragma unroll
  for (unsigned slot = 0; slot < Shape::kSlots; ++slot) {
    const unsigned number = warp + slot * Shape::kWarps;
    if (number >= Shape::kSquares) break;
    const Square square = square_at(number);
#pragma unroll
    for (unsigned i = 0; i < 2; ++i) {
#pragma unroll
      for (unsigned j = 0; j < 2; ++j) {
#pragma unroll
        for (unsigned n = 0; n < 2; ++n) {
#pragma unroll
          for (unsigned e = 0; e < 4; ++e) {
            const unsigned r = square.row * 32 + i * 16 + e / 2 * 8 + g;
            const unsigned c = square.column * 32 + j * 16 + n * 8 + 2 * t + e % 2;
            if (r < a.width && c <= r) system.matrix[packed_floats(r) + c] = a.scale * sums.squares[slot][i][j][n][e];
          }
        }
      }
    }
  }
#pragma unroll
  for (unsigned round = 0; round < Shape::kRounds; ++round) {
    const unsigned block = warp + round * Shape::kWarps;
    if (block >= 2 * Shape::kBands) break;
    // Columns of the extra product: the three parts of h in t = 0 ([0], [1]) and t = 1 ([0]), the ones in t = 1 ([1]).
    float upper = sums.right[round][0];
    float lower = sums.right[round][2];
    if constexpr (Shape::kIsBf16) {
      const float upper_rest = __shfl_xor_sync(0xffffffffU, upper, 1);
      const float lower_rest = __shfl_xor_sync(0xffffffffU, lower, 1);
      upper += sums.right[round][1] + upper_rest;
      lower += sums.right[round][3] + lower_rest;
    }
    const unsigned r = block * 16 + g;
    if (t == 0 && r < a.width) system.right[r] = upper;
    if (t == 0 && r + 8 < a.width) system.right[r + 8] = lower;
    if (t == 1 && r < a.width) system.sum[r] = sums.right[round][1];
    if (t == 1 && r + 8 < a.width) system.sum[r + 8] = sums.right[round][3];
  }
  if (warp == 0) {
    float residual_sum = sums.residual_sum;
    for (unsigned step = 16; step > 0; step /= 2) residual_sum += __shfl_xor_sync(0xffffffffU, residual_sum, step);
    if (lane == 0) system.scalars[0] = residual_sum;
  }
  __syncthreads();
}

}  // namespace concerto::cuda
