// Measures: the loss of observed entries, penalties, and errors of predictions, from the fp32 masters of both sides.
//
// A warp scores a piece of entries row by row (score_row.cuh). A piece is some entries of an orientation
// (chunk_sums.hpp), or a part of a block of SGD's grid, whose rows are its runs. There are no atomics: every sum is in
// a fixed order.
#include <algorithm>
#include <span>
#include <vector>

#include "concerto/base/tree_sum.hpp"

#include "chunk_sums.hpp"
#include "cuda_backend.hpp"
#include "device/launch.cuh"
#include "row_terms.hpp"
#include "score_row.cuh"
#include "sgd_buffer.cuh"
#include "shadow.hpp"

namespace concerto::cuda {
namespace {

constexpr unsigned kBlock = 128;
constexpr unsigned kWarps = kBlock / 32;
constexpr std::uint64_t kPieceEntries = 2048;
constexpr std::uint64_t kPieceRows = 32;

/// Entries of an orientation, or of a batch of it.
struct OrientationEntries {
  static constexpr bool kHasLongRows = true;
  const RowIndex* columns = nullptr;  ///< of entry k: at k - first
  const float* values = nullptr;      ///< null: every value is 1
  EntryIndex first = 0;
  __device__ ScoredEntry at(EntryIndex k) const {
    return {columns[k - first], values != nullptr ? values[k - first] : 1.0F};
  }
};

/// Pieces of an orientation.
struct ScoreArguments {
  ScoreTables tables;
  OrientationEntries entries;
  const ChunkPart* parts = nullptr;
  std::uint64_t part_count = 0;
  std::uint64_t piece_length = 0;
  std::uint64_t first_piece = 0;
  std::uint64_t end_piece = 0;
  const EntryIndex* offsets = nullptr;  ///< of row r: at r - first_row
  RowIndex first_row = 0;
  double* sums = nullptr;  ///< Measure::kSums a piece, of all pieces
};

struct GridEntries {
  static constexpr bool kHasLongRows = false;
  const uint2* pairs = nullptr;  ///< SgdEntry: item, bits of the value
  __device__ ScoredEntry at(EntryIndex k) const {
    const uint2 pair = pairs[k];
    return {pair.x, __uint_as_float(pair.y)};
  }
};

/// Parts of a grid: each is a piece.
struct GridScoreArguments {
  ScoreTables tables;
  GridEntries entries;
  const uint2* runs = nullptr;     ///< SgdRun: user, number of entries
  const SgdPart* parts = nullptr;  ///< and the end
  std::uint64_t first_piece = 0;
  std::uint64_t end_piece = 0;
  double* sums = nullptr;
};

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

/// Calls visit(user, begin, end) for the rows' shares of a piece, in order.
template <class Visit>
__device__ __forceinline__ void for_each_row(const ScoreArguments& a, std::uint64_t piece, const Visit& visit) {
  const ChunkPart part = part_of(a.parts, a.part_count, piece);
  EntryIndex k = part.begin + (piece - part.first_piece) * a.piece_length;
  const EntryIndex end = part.end - k < a.piece_length ? part.end : k + a.piece_length;
  RowIndex row = row_of(a, part.rows.begin, part.rows.end, k);
  while (k < end) {
    EntryIndex row_end = a.offsets[row + 1 - a.first_row];
    if (row_end == k) {  // rows without entries: past all of them
      row = row_of(a, row + 1, part.rows.end, k);
      row_end = a.offsets[row + 1 - a.first_row];
    }
    if (row_end > end) row_end = end;
    visit(row, k, row_end);
    k = row_end;
    ++row;
  }
}

template <class Visit>
__device__ __forceinline__ void for_each_row(const GridScoreArguments& a, std::uint64_t piece, const Visit& visit) {
  const SgdPart begin = a.parts[piece];
  const SgdPart end = a.parts[piece + 1];
  EntryIndex k = begin.entry;
  for (std::uint64_t r = begin.run; r < end.run; ++r) {
    const uint2 run = a.runs[r];
    visit(run.x, k, k + run.y);
    k += run.y;
  }
}

/// A warp a piece.
template <unsigned kParts, bool kWide, class Source, class Measure>
__device__ __forceinline__ void score_piece(const Source& a, const Measure& measure) {
  const std::uint64_t piece = a.first_piece + std::uint64_t{blockIdx.x} * kWarps + threadIdx.x / 32;
  if (piece >= a.end_piece) return;
  double sums[Measure::kSums] = {};
  for_each_row(a, piece, [&](RowIndex user, EntryIndex begin, EntryIndex end) {
    measure_row<kParts, kWide>(a.tables, a.entries, measure, user, begin, end, sums);
  });
#pragma unroll
  for (unsigned s = 0; s < Measure::kSums; ++s) {
    const double sum = warp_sum(sums[s]);
    if (threadIdx.x % 32 == 0) a.sums[Measure::kSums * piece + s] = sum;
  }
}

template <unsigned kParts, class Source, class Measure>
__global__ void __launch_bounds__(kBlock) score_pieces(Source a, Measure measure) {
  score_piece<kParts, false>(a, measure);
}

/// For ranks above 256. Two blocks at least: without that number ptxas saves registers until it spills.
template <class Source, class Measure>
__global__ void __launch_bounds__(kBlock, 2) score_wide_pieces(Source a, Measure measure) {
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
template <class Source, class Measure>
void score(const Stream& stream, const Source& a, const Measure& measure) {
  if (a.first_piece == a.end_piece) return;
  const LaunchShape shape{.grid_x = blocks_for(a.end_piece - a.first_piece, kWarps), .block = kBlock};
  const std::uint64_t stride = a.tables.stride;
  if (stride <= kGroupFloats) {
    launch(stream, "score_pieces", score_pieces<1, Source, Measure>, shape, a, measure);
  } else if (stride <= 2 * kGroupFloats) {
    launch(stream, "score_pieces", score_pieces<2, Source, Measure>, shape, a, measure);
  } else if (stride <= 4 * kGroupFloats) {
    launch(stream, "score_pieces", score_pieces<4, Source, Measure>, shape, a, measure);
  } else if (stride <= 8 * kGroupFloats) {
    launch(stream, "score_pieces", score_pieces<8, Source, Measure>, shape, a, measure);
  } else {
    launch(stream, "score_wide_pieces", score_wide_pieces<Source, Measure>, shape, a, measure);
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

ScoreTables score_tables(const TableBuffer& users, const TableBuffer& items, double mean) {
  return {users.master.data(), items.master.data(), users.biases.data(), items.biases.data(), users.stride, mean};
}

ScoreArguments score_arguments(const ScoreTables& tables, DeviceSums& sums) {
  ScoreArguments a;
  a.tables = tables;
  a.parts = sums.parts.data();
  a.part_count = sums.parts.size();
  a.piece_length = kPieceEntries;
  a.end_piece = sums.total_pieces;
  a.sums = sums.pieces.data();
  return a;
}

/// The sum over rows [rows.begin, rows.end) of a table.
double penalty_of(MemoryPool& pool, const Stream& stream, const TableBuffer& table, RowRange rows,
                  const RowTerms& terms) {
  const ChunkParts cut = cut_chunks(table.shape.rows, rows, {}, kPieceRows);
  if (cut.pieces == 0) return 0.0;
  DeviceSums sums(pool, stream, cut, 1);
  PenaltyArguments a;
  a.parts = sums.parts.data();
  a.part_count = sums.parts.size();
  a.pieces = cut.pieces;
  a.table = table.master.data();
  a.stride = table.stride;
  a.penalties = terms.penalties.data();
  if (terms.objective.biases) {
    a.biases = table.biases.data();
    a.bias_penalties = terms.bias_penalties.data();
  }
  a.sums = sums.pieces.data();
  launch(stream, "penalty_pieces", penalty_pieces, {.grid_x = blocks_for(cut.pieces, kWarps), .block = kBlock}, a);
  return sums.totals(stream)[0];
}

const GridTerms& grid_terms(MemoryPool& pool, const Stream& stream, const GridBuffer& grid,
                            const Objective& objective) {
  for (const GridTerms& known : grid.terms) {
    if (same_terms(known.users.objective, objective)) return known;
  }
  const auto users = static_cast<RowIndex>(grid.user_counts.size());
  const auto items = static_cast<RowIndex>(grid.item_counts.size());
  return grid.terms.emplace_back(GridTerms{make_row_terms(pool, stream, grid.user_counts, items, objective),
                                           make_row_terms(pool, stream, grid.item_counts, users, objective)});
}

/// The parts of a grid as the pieces of its user blocks' sums.
ChunkParts grid_pieces(const GridBuffer& grid) {
  ChunkParts cut;
  cut.parts.resize(grid.side);
  const std::uint64_t parts_of_users = std::uint64_t{grid.side} * grid.parts_per_block;
  for (std::size_t p = 0; p < cut.parts.size(); ++p) cut.parts[p].first_piece = p * parts_of_users;
  cut.pieces = grid.side * parts_of_users;
  return cut;
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
  ScoreArguments a = score_arguments(score_tables(x, y, objective.is_implicit() ? 0.0 : objective.mean), sums);
  a.offsets = ratings.offsets.data();
  a.entries = {ratings.columns.data(), ratings.values.data(), 0};
  score(stream_, a, LossMeasure{objective});
  return sums.totals(stream_)[0];
}

double CudaBackend::penalty(const Buffer& buffer, RowRange rows, const Buffer& table_buffer,
                            const Objective& objective) {
  const auto& ratings = buffer_as<RatingsBuffer>(&buffer);
  const auto& table = buffer_as<TableBuffer>(&table_buffer);
  CONCERTO_CHECK(ratings.rows == table.shape.rows, "the ratings and the table differ in rows");
  check_rows(rows, ratings.rows);
  return penalty_of(pool_, stream_, table, rows, row_terms(pool_, stream_, ratings, objective));
}

double CudaBackend::grid_loss(const Buffer& buffer, const Buffer& users, const Buffer& items,
                              const Objective& objective) {
  CONCERTO_CHECK(!objective.is_implicit(), "SGD serves explicit objectives only");
  const auto& grid = buffer_as<GridBuffer>(&buffer);
  const auto& x = buffer_as<TableBuffer>(&users);
  const auto& y = buffer_as<TableBuffer>(&items);
  check_grid(grid, x, y);
  const GridTerms& terms = grid_terms(pool_, stream_, grid, objective);
  const double penalties = penalty_of(pool_, stream_, x, {0, x.shape.rows}, terms.users) +
                           penalty_of(pool_, stream_, y, {0, y.shape.rows}, terms.items);
  if (grid.entries.empty()) return penalties;
  const ChunkParts cut = grid_pieces(grid);
  DeviceSums sums(pool_, stream_, cut, LossMeasure::kSums);
  GridScoreArguments a;
  a.tables = score_tables(x, y, objective.mean);
  a.entries.pairs = reinterpret_cast<const uint2*>(grid.entries.data());
  a.runs = reinterpret_cast<const uint2*>(grid.runs.data());
  a.parts = grid.parts.data();
  a.end_piece = cut.pieces;
  a.sums = sums.pieces.data();
  score(stream_, a, LossMeasure{objective});
  return sums.totals(stream_)[0] + penalties;
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
  ScoreArguments a = score_arguments(score_tables(x, y, mean), sums);
  a.offsets = offsets.data();
  a.entries = {columns.data(), values.data(), 0};
  for (const EntryBatch& batch : batches) {
    const EntryIndex entries = batch.end - batch.begin;
    a.first_piece = batch.first_piece;
    a.end_piece = batch.end_piece;
    a.first_row = batch.rows.begin;
    a.entries.first = batch.begin;
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
