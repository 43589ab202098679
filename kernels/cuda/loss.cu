// Measures: the loss of observed entries, penalties, and errors of predictions, from the fp32 masters of both sides.
//
// A warp scores a piece of entries (chunk_sums.hpp), row by row, 32 entries at a time: eight lanes share an item's row,
// 16 bytes each at a time, so that four items are read at once, and each lane keeps a partial product for the eight
// items that its group reads. The partial products are then added across the group in such a way that each lane ends
// with the score of one entry, whose loss it computes. The user's row stays in registers for all entries of the piece's
// part of it; above rank 256, 128 columns at a time. Products are fp32 sums within a lane; all else is double. There
// are no atomics: every sum is in a fixed order.
#include <algorithm>
#include <span>
#include <vector>

#include "concerto/base/tree_sum.hpp"

#include "chunk_sums.hpp"
#include "cuda_backend.hpp"
#include "device/launch.cuh"
#include "row_terms.hpp"
#include "shadow.hpp"

namespace concerto::cuda {
namespace {

constexpr unsigned kWholeWarp = 0xffffffffU;
constexpr unsigned kBlock = 128;
constexpr unsigned kWarps = kBlock / 32;
constexpr std::uint64_t kPieceEntries = 2048;
constexpr std::uint64_t kPieceRows = 32;
/// Lanes that share an item's row, and entries that a lane forms partial products of.
constexpr unsigned kGroup = 8;
/// Floats of a row that a group reads at a time: four a lane.
constexpr unsigned kGroupFloats = 4 * kGroup;

struct ScoreArguments {
  const ChunkPart* parts = nullptr;
  std::uint64_t part_count = 0;
  std::uint64_t piece_length = 0;
  std::uint64_t first_piece = 0;
  std::uint64_t end_piece = 0;
  const EntryIndex* offsets = nullptr;  ///< of row r: at r - first_row
  RowIndex first_row = 0;
  const RowIndex* columns = nullptr;  ///< of entry k: at k - first_entry
  const float* values = nullptr;      ///< null: every value is 1
  EntryIndex first_entry = 0;
  const float* users = nullptr;
  const float* items = nullptr;
  const float* user_biases = nullptr;  ///< null without biases
  const float* item_biases = nullptr;
  std::uint64_t stride = 0;
  double mean = 0.0;
  double* sums = nullptr;  ///< Measure::kSums a piece, of all pieces
};

/// The loss of an entry.
struct LossMeasure {
  static constexpr unsigned kSums = 1;
  Objective objective;
  __device__ void add(float value, double score, double (&sums)[kSums]) const {
    sums[0] += objective.entry_loss(value, score);
  }
};

/// The squared and the absolute error of a clamped prediction.
struct ErrorMeasure {
  static constexpr unsigned kSums = 2;
  double low = 0.0;
  double high = 0.0;
  __device__ void add(float value, double score, double (&sums)[kSums]) const {
    const double clamped = score < low ? low : (score > high ? high : score);
    const double error = value - clamped;
    sums[0] += error * error;
    sums[1] += error < 0.0 ? -error : error;
  }
};

/// The sum over the warp, the same for all lanes.
__device__ inline double warp_sum(double value) {
  for (unsigned step = 16; step > 0; step /= 2) value += __shfl_xor_sync(kWholeWarp, value, step);
  return value;
}

/// The part that a piece belongs to: the last one whose first piece is not behind it.
__device__ inline ChunkPart part_of(const ChunkPart* parts, std::uint64_t count, std::uint64_t piece) {
  std::uint64_t low = 0;
  std::uint64_t high = count;
  while (high - low > 1) {
    const std::uint64_t middle = low + (high - low) / 2;
    if (parts[middle].first_piece <= piece) {
      low = middle;
    } else {
      high = middle;
    }
  }
  return parts[low];
}

/// The row of entry k among rows [low, high), in which it lies.
__device__ inline RowIndex row_of(const ScoreArguments& a, RowIndex low, RowIndex high, EntryIndex k) {
  while (high - low > 1) {
    const RowIndex middle = low + (high - low) / 2;
    if (a.offsets[middle - a.first_row] <= k) {
      low = middle;
    } else {
      high = middle;
    }
  }
  return low;
}

/// Four floats of a row from column `c` on; zeros beyond its end.
__device__ inline float4 four_floats(const float* row, std::uint64_t c, std::uint64_t stride) {
  if (c < stride) return *reinterpret_cast<const float4*>(row + c);
  return float4{0.0F, 0.0F, 0.0F, 0.0F};
}

template <unsigned kParts>
__device__ __forceinline__ void load_user(const ScoreArguments& a, RowIndex user, std::uint64_t column,
                                          float4 (&x)[kParts]) {
  const float* row = a.users + user * a.stride;
#pragma unroll
  for (unsigned v = 0; v < kParts; ++v) x[v] = four_floats(row, column + v * kGroupFloats, a.stride);
}

/// Adds x.y over the lane's columns for the group's eight entries, entry e * 4 + group of the 32. `count` of the 32
/// exist; with kAll all do.
template <unsigned kParts, bool kAll>
__device__ __forceinline__ void add_products(const ScoreArguments& a, const float4 (&x)[kParts], RowIndex own_item,
                                             unsigned count, std::uint64_t column, float (&partial)[kGroup]) {
  const unsigned group_lane = threadIdx.x % 32 / kGroup * kGroup;
#pragma unroll
  for (unsigned e = 0; e < kGroup; ++e) {
    if (!kAll && e * (32 / kGroup) >= count) continue;  // the same for all lanes
    const float* row = a.items + __shfl_sync(kWholeWarp, own_item, group_lane + e) * a.stride;
#pragma unroll
    for (unsigned v = 0; v < kParts; ++v) {
      const float4 y = four_floats(row, column + v * kGroupFloats, a.stride);
      partial[e] += x[v].x * y.x + x[v].y * y.y + (x[v].z * y.z + x[v].w * y.w);
    }
  }
}

/// The sum over the group of its lanes' partial products for the entry of this lane's number in the group. Each step
/// halves the entries that a lane answers for, and doubles the lanes that a sum covers.
__device__ __forceinline__ double own_product(const float (&partial)[kGroup]) {
  const unsigned member = threadIdx.x % kGroup;
  double four[4];
#pragma unroll
  for (unsigned e = 0; e < 4; ++e) {
    const bool upper = (member & 4U) != 0;
    const float sent = upper ? partial[e] : partial[e + 4];
    const float kept = upper ? partial[e + 4] : partial[e];
    four[e] = static_cast<double>(kept) + static_cast<double>(__shfl_xor_sync(kWholeWarp, sent, 4));
  }
  double two[2];
#pragma unroll
  for (unsigned e = 0; e < 2; ++e) {
    const bool upper = (member & 2U) != 0;
    const double sent = upper ? four[e] : four[e + 2];
    two[e] = (upper ? four[e + 2] : four[e]) + __shfl_xor_sync(kWholeWarp, sent, 2);
  }
  const bool upper = (member & 1U) != 0;
  const double sent = upper ? two[0] : two[1];
  return (upper ? two[1] : two[0]) + __shfl_xor_sync(kWholeWarp, sent, 1);
}

/// Measures entries [k, row_end) of a user's row, 32 at a time. With kWide the row is longer than the registers hold.
template <unsigned kParts, bool kWide, class Measure>
__device__ __forceinline__ void measure_row(const ScoreArguments& a, const Measure& measure, RowIndex user,
                                            EntryIndex k, EntryIndex row_end, double (&sums)[Measure::kSums]) {
  const unsigned lane = threadIdx.x % 32;
  const unsigned own = lane % kGroup * (32 / kGroup) + lane / kGroup;
  const std::uint64_t first_column = 4 * (lane % kGroup);
  const double offset = a.mean + (a.user_biases != nullptr ? a.user_biases[user] : 0.0F);
  float4 x[kParts];
  if (!kWide) load_user(a, user, first_column, x);
  for (; k < row_end; k += 32) {
    const auto count = static_cast<unsigned>(row_end - k < 32 ? row_end - k : 32);
    const EntryIndex at = k - a.first_entry + (own < count ? own : count - 1);
    const RowIndex item = a.columns[at];
    const float value = a.values != nullptr ? a.values[at] : 1.0F;
    const float item_bias = a.item_biases != nullptr ? a.item_biases[item] : 0.0F;
    float partial[kGroup] = {};
    for (std::uint64_t column = first_column; column < a.stride + first_column; column += kParts * kGroupFloats) {
      if (kWide) load_user(a, user, column, x);
      if (!kWide && count == 32) {
        add_products<kParts, true>(a, x, item, count, column, partial);
      } else {
        add_products<kParts, false>(a, x, item, count, column, partial);
      }
      if (!kWide) break;
    }
    const double score = own_product(partial) + offset + item_bias;
    if (own < count) measure.add(value, score, sums);
  }
}

/// A warp a piece of entries.
template <unsigned kParts, bool kWide, class Measure>
__device__ __forceinline__ void score_piece(const ScoreArguments& a, const Measure& measure) {
  const std::uint64_t piece = a.first_piece + std::uint64_t{blockIdx.x} * kWarps + threadIdx.x / 32;
  if (piece >= a.end_piece) return;
  const ChunkPart part = part_of(a.parts, a.part_count, piece);
  EntryIndex k = part.begin + (piece - part.first_piece) * a.piece_length;
  const EntryIndex end = part.end - k < a.piece_length ? part.end : k + a.piece_length;
  double sums[Measure::kSums] = {};
  RowIndex row = row_of(a, part.rows.begin, part.rows.end, k);
  while (k < end) {
    EntryIndex row_end = a.offsets[row + 1 - a.first_row];
    if (row_end == k) {  // rows without entries: past all of them
      row = row_of(a, row + 1, part.rows.end, k);
      row_end = a.offsets[row + 1 - a.first_row];
    }
    if (row_end > end) row_end = end;
    measure_row<kParts, kWide>(a, measure, row, k, row_end, sums);
    k = row_end;
    ++row;
  }
#pragma unroll
  for (unsigned s = 0; s < Measure::kSums; ++s) {
    const double sum = warp_sum(sums[s]);
    if (threadIdx.x % 32 == 0) a.sums[Measure::kSums * piece + s] = sum;
  }
}

template <unsigned kParts, class Measure>
__global__ void __launch_bounds__(kBlock) score_pieces(ScoreArguments a, Measure measure) {
  score_piece<kParts, false>(a, measure);
}

/// For ranks above 256. Two blocks at least: without that number ptxas saves registers until it spills.
template <class Measure>
__global__ void __launch_bounds__(kBlock, 2) score_wide_pieces(ScoreArguments a, Measure measure) {
  score_piece<4, true>(a, measure);
}

struct PenaltyArguments {
  const ChunkPart* parts = nullptr;
  std::uint64_t part_count = 0;
  std::uint64_t pieces = 0;
  const float* table = nullptr;
  const float* biases = nullptr;  ///< null without biases
  std::uint64_t stride = 0;
  const float* penalties = nullptr;
  const float* bias_penalties = nullptr;
  double* sums = nullptr;  ///< one a piece
};

/// A warp a piece of rows, whose floats are read one after another, whatever the rank.
__global__ void __launch_bounds__(kBlock) penalty_pieces(PenaltyArguments a) {
  const std::uint64_t piece = std::uint64_t{blockIdx.x} * kWarps + threadIdx.x / 32;
  if (piece >= a.pieces) return;
  const unsigned lane = threadIdx.x % 32;
  const ChunkPart part = part_of(a.parts, a.part_count, piece);
  const std::uint64_t first = part.begin + (piece - part.first_piece) * kPieceRows;
  const auto rows = static_cast<unsigned>(part.end - first < kPieceRows ? part.end - first : kPieceRows);
  const auto row_fours = static_cast<unsigned>(a.stride / 4);
  const auto* fours = reinterpret_cast<const float4*>(a.table + first * a.stride);
  double sum = 0.0;
#pragma unroll 4
  for (unsigned at = lane; at < rows * row_fours; at += 32) {
    const float4 x = fours[at];
    const float squares = x.x * x.x + x.y * x.y + (x.z * x.z + x.w * x.w);
    sum += static_cast<double>(a.penalties[first + at / row_fours]) * static_cast<double>(squares);
  }
  if (a.biases != nullptr && lane < rows) {
    const double bias = a.biases[first + lane];
    sum += static_cast<double>(a.bias_penalties[first + lane]) * bias * bias;
  }
  sum = warp_sum(sum);
  if (lane == 0) a.sums[piece] = sum;
}

/// A warp a part: each lane adds every 32nd piece, in order. blockIdx.y: which of the sums of a piece.
__global__ void __launch_bounds__(kBlock) sum_parts(const ChunkPart* parts, std::uint64_t part_count,
                                                    std::uint64_t pieces, const double* piece_sums, double* part_sums) {
  const std::uint64_t part = std::uint64_t{blockIdx.x} * kWarps + threadIdx.x / 32;
  if (part >= part_count) return;
  const std::uint64_t end = part + 1 < part_count ? parts[part + 1].first_piece : pieces;
  double sum = 0.0;
  for (std::uint64_t piece = parts[part].first_piece + threadIdx.x % 32; piece < end; piece += 32) {
    sum += piece_sums[piece * gridDim.y + blockIdx.y];
  }
  sum = warp_sum(sum);
  if (threadIdx.x % 32 == 0) part_sums[blockIdx.y * part_count + part] = sum;
}

/// Runs the kernel that fits the rank over pieces [first_piece, end_piece).
template <class Measure>
void score(const Stream& stream, const ScoreArguments& a, const Measure& measure) {
  if (a.first_piece == a.end_piece) return;
  const LaunchShape shape{.grid_x = blocks_for(a.end_piece - a.first_piece, kWarps), .block = kBlock};
  if (a.stride <= kGroupFloats) {
    launch(stream, "score_pieces", score_pieces<1, Measure>, shape, a, measure);
  } else if (a.stride <= 2 * kGroupFloats) {
    launch(stream, "score_pieces", score_pieces<2, Measure>, shape, a, measure);
  } else if (a.stride <= 4 * kGroupFloats) {
    launch(stream, "score_pieces", score_pieces<4, Measure>, shape, a, measure);
  } else if (a.stride <= 8 * kGroupFloats) {
    launch(stream, "score_pieces", score_pieces<8, Measure>, shape, a, measure);
  } else {
    launch(stream, "score_wide_pieces", score_wide_pieces<Measure>, shape, a, measure);
  }
}

/// A sum's parts on the device, with room for its pieces.
struct DeviceSums {
  DeviceSums(MemoryPool& pool, const Stream& stream, const ChunkParts& cut, unsigned sums)
      : count(sums),
        total_pieces(cut.pieces),
        parts(pool, stream, cut.parts, "the parts of a sum"),
        pieces(pool, sums * cut.pieces, "the parts of a sum"),
        part_sums(pool, sums * cut.parts.size(), "the parts of a sum") {}

  /// The whole sums, once all pieces are written.
  [[nodiscard]] std::vector<double> totals(const Stream& stream) {
    launch(stream, "sum_parts", sum_parts,
           {.grid_x = blocks_for(parts.size(), kWarps), .grid_y = count, .block = kBlock}, parts.data(), parts.size(),
           total_pieces, pieces.data(), part_sums.data());
    std::vector<double> leaves(part_sums.size());
    copy_to_host(stream, leaves.data(), part_sums.data(), part_sums.bytes());
    stream.wait();
    std::vector<double> sums(count);
    for (unsigned s = 0; s < count; ++s) {
      sums[s] = tree_sum(std::span<const double>(leaves).subspan(s * parts.size(), parts.size()));
    }
    return sums;
  }

  unsigned count;
  std::uint64_t total_pieces;
  DeviceArray<ChunkPart> parts;
  DeviceArray<double> pieces;
  DeviceArray<double> part_sums;
};

ScoreArguments score_arguments(const TableBuffer& users, const TableBuffer& items, double mean, DeviceSums& sums) {
  ScoreArguments a;
  a.parts = sums.parts.data();
  a.part_count = sums.parts.size();
  a.piece_length = kPieceEntries;
  a.end_piece = sums.total_pieces;
  a.users = users.master.data();
  a.items = items.master.data();
  a.user_biases = users.biases.data();
  a.item_biases = items.biases.data();
  a.stride = users.stride;
  a.mean = mean;
  a.sums = sums.pieces.data();
  return a;
}

void check_shapes(RowIndex rows, RowIndex columns, const TableBuffer& users, const TableBuffer& items) {
  CONCERTO_CHECK(rows <= users.shape.rows && columns <= items.shape.rows && users.shape.rank == items.shape.rank,
                 "the ratings and the tables differ in size");
}

void check_rows(RowRange rows, RowIndex table_rows) {
  CONCERTO_CHECK(rows.begin <= rows.end && rows.end <= table_rows, "rows outside the ratings");
}

/// Batches of a held-out part that leave most of the memory alone.
std::vector<EntryBatch> held_out_batches(const ChunkParts& cut, std::uint64_t available) {
  constexpr std::uint64_t kMostBytes = std::uint64_t{64} << 20;
  const std::uint64_t bytes = std::min(kMostBytes, available / 2);
  const auto rows = static_cast<RowIndex>(bytes / 4 / sizeof(EntryIndex));
  return cut_batches(cut, bytes / 2 / (sizeof(RowIndex) + sizeof(float)), rows);
}

}  // namespace

double CudaBackend::entry_loss(const Buffer& by_user, RowRange rows, const Buffer& users, const Buffer& items,
                               const Objective& objective) {
  const auto& ratings = buffer_as<RatingsBuffer>(&by_user);
  const auto& x = buffer_as<TableBuffer>(&users);
  const auto& y = buffer_as<TableBuffer>(&items);
  check_shapes(ratings.rows, ratings.column_count, x, y);
  check_rows(rows, ratings.rows);
  const ChunkParts cut = cut_chunks(ratings.rows, rows, ratings.host_offsets, kPieceEntries);
  if (cut.pieces == 0) return 0.0;
  DeviceSums sums(pool_, stream_, cut, LossMeasure::kSums);
  ScoreArguments a = score_arguments(x, y, objective.is_implicit() ? 0.0 : objective.mean, sums);
  a.offsets = ratings.offsets.data();
  a.columns = ratings.columns.data();
  a.values = ratings.values.data();
  score(stream_, a, LossMeasure{objective});
  return sums.totals(stream_)[0];
}

double CudaBackend::penalty(const Buffer& buffer, RowRange rows, const Buffer& table_buffer,
                            const Objective& objective) {
  const auto& ratings = buffer_as<RatingsBuffer>(&buffer);
  const auto& table = buffer_as<TableBuffer>(&table_buffer);
  CONCERTO_CHECK(ratings.rows == table.shape.rows, "the ratings and the table differ in rows");
  check_rows(rows, ratings.rows);
  const ChunkParts cut = cut_chunks(ratings.rows, rows, {}, kPieceRows);
  if (cut.pieces == 0) return 0.0;
  const RowTerms& terms = row_terms(pool_, stream_, ratings, objective);
  DeviceSums sums(pool_, stream_, cut, 1);
  PenaltyArguments a;
  a.parts = sums.parts.data();
  a.part_count = sums.parts.size();
  a.pieces = cut.pieces;
  a.table = table.master.data();
  a.stride = table.stride;
  a.penalties = terms.penalties.data();
  if (objective.biases) {
    a.biases = table.biases.data();
    a.bias_penalties = terms.bias_penalties.data();
  }
  a.sums = sums.pieces.data();
  launch(stream_, "penalty_pieces", penalty_pieces, {.grid_x = blocks_for(cut.pieces, kWarps), .block = kBlock}, a);
  return sums.totals(stream_)[0];
}

ErrorSums CudaBackend::prediction_errors(const CompressedRows& held_out, const Buffer& users, const Buffer& items,
                                         double mean, float low, float high) {
  const auto& x = buffer_as<TableBuffer>(&users);
  const auto& y = buffer_as<TableBuffer>(&items);
  check_shapes(held_out.rows, held_out.column_count, x, y);
  const ChunkParts cut = cut_chunks(held_out.rows, {0, held_out.rows}, held_out.offsets, kPieceEntries);
  if (cut.pieces == 0) return {};
  DeviceSums sums(pool_, stream_, cut, ErrorMeasure::kSums);
  const std::vector<EntryBatch> batches = held_out_batches(cut, pool_.available_bytes());
  EntryIndex most_entries = 0;
  RowIndex most_rows = 0;
  for (const EntryBatch& batch : batches) {
    most_entries = std::max(most_entries, batch.end - batch.begin);
    most_rows = std::max(most_rows, batch.rows.size());
  }
  DeviceArray<EntryIndex> offsets(pool_, std::size_t{most_rows} + 1, "held-out entries");
  DeviceArray<RowIndex> columns(pool_, most_entries, "held-out entries");
  DeviceArray<float> values(pool_, held_out.values.empty() ? 0 : most_entries, "held-out entries");
  ScoreArguments a = score_arguments(x, y, mean, sums);
  a.offsets = offsets.data();
  a.columns = columns.data();
  a.values = values.data();
  for (const EntryBatch& batch : batches) {
    const EntryIndex entries = batch.end - batch.begin;
    a.first_piece = batch.first_piece;
    a.end_piece = batch.end_piece;
    a.first_row = batch.rows.begin;
    a.first_entry = batch.begin;
    copy_to_device(stream_, offsets.data(), held_out.offsets.data() + batch.rows.begin,
                   (std::size_t{batch.rows.size()} + 1) * sizeof(EntryIndex));
    copy_to_device(stream_, columns.data(), held_out.columns.data() + batch.begin, entries * sizeof(RowIndex));
    if (!values.empty()) {
      copy_to_device(stream_, values.data(), held_out.values.data() + batch.begin, entries * sizeof(float));
    }
    score(stream_, a, ErrorMeasure{low, high});
  }
  const std::vector<double> totals = sums.totals(stream_);
  return {totals[0], totals[1]};
}

}  // namespace concerto::cuda
