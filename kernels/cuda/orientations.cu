// Building both orientations: select the entries of a piece in their order, as keys; sort; write rows.
//
// Selection is stable: a warp counts what a tile of entries holds of the piece, a scan over the counts says where each
// tile's entries go, and a second pass writes them there. Atomics count, never place: no result depends on an order of
// threads.
#include <algorithm>
#include <bit>

#include "device/launch.cuh"
#include "orientations.hpp"
#include "shadow.hpp"
#include "sort.hpp"

namespace concerto::cuda {
namespace {

/// What atomics add to on a device: its 64-bit type.
using Count = unsigned long long;
static_assert(sizeof(Count) == sizeof(EntryIndex));

constexpr unsigned kBlock = 256;
constexpr unsigned kWarps = kBlock / 32;
/// Entries that a warp selects from.
constexpr unsigned kTile = 512;

/// The last of rows [low, high) that begins at or before entry k.
__device__ inline RowIndex row_of(const EntryIndex* offsets, RowIndex low, RowIndex high, EntryIndex k) {
  while (high - low > 1) {
    const RowIndex middle = low + (high - low) / 2;
    if (offsets[middle] <= k) {
      low = middle;
    } else {
      high = middle;
    }
  }
  return low;
}

/// A slice of the triples on the device, as a source of the orientation by user. An entry whose item does not exist is
/// in no piece.
struct UploadedSlice {
  const RowIndex* users = nullptr;
  const RowIndex* items = nullptr;
  const float* values = nullptr;
  EntryIndex size = 0;
  RowIndex item_count = 0;

  /// Of a tile: nothing.
  struct Tile {};
  __device__ Tile tile(EntryIndex, EntryIndex) const { return {}; }
  __device__ RowIndex row(EntryIndex k) const { return items[k] < item_count ? users[k] : kNoRow; }
  __device__ RowIndex column(const Tile&, EntryIndex k) const { return items[k]; }
};

/// The orientation by user, as a source of that by item.
struct Transposed {
  const EntryIndex* offsets = nullptr;
  const RowIndex* items = nullptr;
  const float* values = nullptr;
  EntryIndex size = 0;
  RowIndex users = 0;

  /// The rows by user that a tile's entries lie in.
  struct Tile {
    RowIndex begin;
    RowIndex end;
  };
  __device__ Tile tile(EntryIndex begin, EntryIndex end) const {
    const RowIndex first = row_of(offsets, 0, users, begin);
    return {first, row_of(offsets, first, users, end - 1) + 1};
  }
  __device__ RowIndex row(EntryIndex k) const { return items[k]; }
  __device__ RowIndex column(const Tile& t, EntryIndex k) const { return row_of(offsets, t.begin, t.end, k); }
};

/// counts[1 + t]: entries of tile t whose row is in `rows`. A warp a tile.
template <class Source>
__global__ void __launch_bounds__(kBlock) count_selected(Source source, RowRange rows, EntryIndex* counts) {
  const std::uint64_t tile = std::uint64_t{blockIdx.x} * kWarps + threadIdx.x / 32;
  const EntryIndex begin = tile * kTile;
  if (begin >= source.size) return;
  unsigned count = 0;
#pragma unroll 4
  for (unsigned step = 0; step < kTile; step += 32) {
    const EntryIndex k = begin + step + threadIdx.x % 32;
    const RowIndex row = k < source.size ? source.row(k) : kNoRow;
    count += static_cast<unsigned>(__popc(__ballot_sync(0xffffffffU, row >= rows.begin && row < rows.end)));
  }
  if (threadIdx.x % 32 == 0) counts[1 + tile] = count;
}

/// Writes the selected entries of tile t from starts[1 + t] on, in their order.
template <class Source>
__global__ void __launch_bounds__(kBlock) write_selected(Source source, RowRange rows, const EntryIndex* starts,
                                                         int column_bits, std::uint64_t* keys, float* values) {
  const std::uint64_t tile = std::uint64_t{blockIdx.x} * kWarps + threadIdx.x / 32;
  const EntryIndex begin = tile * kTile;
  if (begin >= source.size) return;
  const EntryIndex end = source.size - begin < kTile ? source.size : begin + kTile;
  const auto tile_facts = source.tile(begin, end);
  const unsigned lane = threadIdx.x % 32;
  EntryIndex start = starts[1 + tile];
#pragma unroll 2
  for (unsigned step = 0; step < kTile; step += 32) {
    const EntryIndex k = begin + step + lane;
    const RowIndex row = k < end ? source.row(k) : kNoRow;
    const bool is_selected = row >= rows.begin && row < rows.end;
    const unsigned selected = __ballot_sync(0xffffffffU, is_selected);
    if (is_selected) {
      const EntryIndex place = start + static_cast<unsigned>(__popc(selected & ((1U << lane) - 1)));
      keys[place] = std::uint64_t{row} << column_bits | source.column(tile_facts, k);
      if (values != nullptr) values[place] = source.values[k];
    }
    start += static_cast<unsigned>(__popc(selected));
  }
}

/// Adds the entries of each row to `counts`.
__global__ void __launch_bounds__(kBlock)
    count_rows(const RowIndex* rows, EntryIndex size, RowIndex row_count, Count* counts) {
  const EntryIndex k = EntryIndex{blockIdx.x} * kBlock + threadIdx.x;
  if (k < size && rows[k] < row_count) atomicAdd(counts + rows[k], Count{1});
}

/// Entries of a sorted piece to their places, and the number of values of each row that are not above 0.
__global__ void __launch_bounds__(kBlock)
    write_entries(const std::uint64_t* keys, const float* sorted, EntryIndex size, int column_bits, RowIndex* columns,
                  float* values, Count* not_positive) {
  const EntryIndex k = EntryIndex{blockIdx.x} * kBlock + threadIdx.x;
  if (k >= size) return;
  const std::uint64_t key = keys[k];
  columns[k] = static_cast<RowIndex>(key & ((std::uint64_t{1} << column_bits) - 1));
  if (sorted == nullptr) return;
  const float value = sorted[k];
  values[k] = value;
  if (!(value > 0.0F)) atomicAdd(not_positive + (key >> column_bits), Count{1});
}

/// Where each of `rows`, and the row behind them, begins: `first` and the number of the piece's keys of rows before it.
__global__ void __launch_bounds__(kBlock) write_offsets(const std::uint64_t* keys, EntryIndex size, int column_bits,
                                                        EntryIndex first, RowRange rows, EntryIndex* offsets) {
  const std::uint64_t row = rows.begin + std::uint64_t{blockIdx.x} * kBlock + threadIdx.x;
  if (row > rows.end) return;
  EntryIndex low = 0;
  EntryIndex high = size;
  while (low < high) {
    const EntryIndex middle = low + (high - low) / 2;
    if (keys[middle] >> column_bits < row) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  offsets[row] = first + low;
}

int bits_for(RowIndex count) {
  return count == 0 ? 0 : std::bit_width(count - 1);
}

/// One orientation while it is built, piece by piece in the order of rows.
class SideBuilder {
 public:
  SideBuilder(MemoryPool& pool, const Stream& stream, RowIndex rows, RowIndex columns, EntryIndex entries, bool values)
      : pool_(pool),
        stream_(stream),
        entries_(entries),
        has_values_(values),
        column_bits_(bits_for(columns)),
        key_bits_(column_bits_ + bits_for(rows)),
        result_(std::make_unique<RatingsBuffer>()) {
    result_->rows = rows;
    result_->column_count = columns;
  }

  /// Makes room for the next piece: `size` entries of `rows`.
  void begin_piece(RowRange rows, EntryIndex size) {
    rows_ = rows;
    keys_ = DeviceArray<std::uint64_t>(pool_, size, "ratings to be put in order");
    values_ = DeviceArray<float>(pool_, has_values_ ? size : 0, "ratings to be put in order");
    starts_ = {};
  }

  /// Appends the piece's entries among those of `source`. Each source is at most as large as the first one.
  template <class Source>
  void append(const Source& source) {
    if (source.size == 0) return;
    const std::size_t tiles = (source.size + kTile - 1) / kTile;
    if (starts_.empty()) {
      starts_ = DeviceArray<EntryIndex>(pool_, tiles + 2, "ratings to be put in order");
      fill_zero(stream_, starts_.data(), sizeof(EntryIndex));
    }
    // starts_[0] is how many entries the piece has already: the scan carries it on to every tile.
    const LaunchShape shape{.grid_x = blocks_for(tiles, kWarps), .block = kBlock};
    launch(stream_, "count_selected", count_selected<Source>, shape, source, rows_, starts_.data());
    fill_zero(stream_, starts_.data() + tiles + 1, sizeof(EntryIndex));
    exclusive_sum(stream_, pool_, starts_.data(), tiles + 2);
    launch(stream_, "write_selected", write_selected<Source>, shape, source, rows_, starts_.data(), column_bits_,
           keys_.data(), values_.data());
    copy_on_device(stream_, starts_.data(), starts_.data() + tiles + 1, sizeof(EntryIndex));
  }

  /// How many entries the piece has. Waits.
  [[nodiscard]] EntryIndex appended() const {
    EntryIndex count = 0;
    if (!starts_.empty()) copy_to_host(stream_, &count, starts_.data(), sizeof count);
    stream_.wait();
    return count;
  }

  /// Sorts the piece, which must be full, by key bits from `first_bit` on (what lies below is in order already) and
  /// writes its rows.
  void end_piece(int first_bit) {
    starts_ = {};
    sort_entries(stream_, pool_, keys_, values_, {first_bit, key_bits_});
    if (result_->offsets.empty()) make_room();
    const EntryIndex size = keys_.size();
    if (size > 0) {
      launch(stream_, "write_entries", write_entries, {.grid_x = blocks_for(size, kBlock), .block = kBlock},
             keys_.data(), values_.data(), size, column_bits_, result_->columns.data() + written_,
             has_values_ ? result_->values.data() + written_ : nullptr, not_positive_.data());
    }
    launch(stream_, "write_offsets", write_offsets,
           {.grid_x = blocks_for(std::uint64_t{rows_.size()} + 1, kBlock), .block = kBlock}, keys_.data(), size,
           column_bits_, written_, rows_, result_->offsets.data());
    written_ += size;
    keys_ = {};
    values_ = {};
  }

  /// The orientation, with what the host keeps of it.
  [[nodiscard]] std::unique_ptr<RatingsBuffer> finish() {
    const RowIndex rows = result_->rows;
    std::vector<Count> not_positive(not_positive_.size());
    result_->host_offsets.resize(std::size_t{rows} + 1);
    copy_to_host(stream_, result_->host_offsets.data(), result_->offsets.data(), result_->offsets.bytes());
    copy_to_host(stream_, not_positive.data(), not_positive_.data(), not_positive_.bytes());
    stream_.wait();
    if (has_values_) {
      result_->positive_counts.resize(rows);
      for (RowIndex r = 0; r < rows; ++r) {
        result_->positive_counts[r] = result_->host_offsets[r + 1] - result_->host_offsets[r] - not_positive[r];
      }
    }
    return std::move(result_);
  }

  [[nodiscard]] int column_bits() const noexcept { return column_bits_; }

 private:
  void make_room() {
    const std::size_t rows = result_->rows;
    result_->offsets = DeviceArray<EntryIndex>(pool_, rows + 1, "offsets of the ratings");
    result_->columns = DeviceArray<RowIndex>(pool_, entries_, "the ratings");
    if (!has_values_) return;
    result_->values = DeviceArray<float>(pool_, entries_, "the values of the ratings");
    not_positive_ = DeviceArray<Count>(pool_, rows, "offsets of the ratings");
    fill_zero(stream_, not_positive_.data(), not_positive_.bytes());
  }

  MemoryPool& pool_;
  const Stream& stream_;
  EntryIndex entries_;
  bool has_values_;
  int column_bits_;
  int key_bits_;
  std::unique_ptr<RatingsBuffer> result_;
  DeviceArray<Count> not_positive_;
  RowRange rows_;
  DeviceArray<std::uint64_t> keys_;
  DeviceArray<float> values_;
  DeviceArray<EntryIndex> starts_;
  EntryIndex written_ = 0;
};

/// Space for a slice of the triples.
class Upload {
 public:
  Upload(MemoryPool& pool, const Stream& stream, const TripleArrays& triples, EntryIndex slice)
      : stream_(stream), triples_(triples), slice_(std::min<EntryIndex>(slice, triples.users.size())) {
    users_ = DeviceArray<RowIndex>(pool, slice_, "a slice of the ratings");
    items_ = DeviceArray<RowIndex>(pool, slice_, "a slice of the ratings");
    values_ = DeviceArray<float>(pool, triples.values.empty() ? 0 : slice_, "a slice of the ratings");
  }

  /// Calls use(slice) for each slice in order.
  template <class Use>
  void for_each(Use use) {
    const EntryIndex entries = triples_.users.size();
    for (EntryIndex begin = 0; begin < entries; begin += slice_) {
      const EntryIndex size = std::min(slice_, entries - begin);
      copy_to_device(stream_, users_.data(), triples_.users.data() + begin, size * sizeof(RowIndex));
      copy_to_device(stream_, items_.data(), triples_.items.data() + begin, size * sizeof(RowIndex));
      if (!values_.empty()) {
        copy_to_device(stream_, values_.data(), triples_.values.data() + begin, size * sizeof(float));
      }
      use(UploadedSlice{users_.data(), items_.data(), values_.data(), size, triples_.item_count});
    }
  }

 private:
  const Stream& stream_;
  const TripleArrays& triples_;
  EntryIndex slice_;
  DeviceArray<RowIndex> users_;
  DeviceArray<RowIndex> items_;
  DeviceArray<float> values_;
};

struct Piece {
  RowRange rows;
  EntryIndex size = 0;
};

/// All rows in pieces of at most `most` entries where rows allow it. `count(counts)` adds each row's entries to an
/// array on the device; it is asked only where there is more than one piece.
template <class CountRows>
std::vector<Piece> cut_pieces(MemoryPool& pool, const Stream& stream, RowIndex rows, EntryIndex entries,
                              EntryIndex most, CountRows count) {
  if (most >= entries) return {{{0, rows}, entries}};
  DeviceArray<Count> counts(pool, rows, "counts of ratings");
  fill_zero(stream, counts.data(), counts.bytes());
  count(counts.data());
  std::vector<Count> host(rows);
  copy_to_host(stream, host.data(), counts.data(), counts.bytes());
  stream.wait();
  std::vector<Piece> pieces;
  for (const RowRange& range : cut_rows(host, most)) {
    EntryIndex size = 0;
    for (RowIndex row = range.begin; row < range.end; ++row) size += host[row];
    pieces.push_back({range, size});
  }
  return pieces;
}

void count_rows_of(const Stream& stream, const RowIndex* rows, EntryIndex size, RowIndex row_count, Count* counts) {
  launch(stream, "count_rows", count_rows, {.grid_x = blocks_for(size, kBlock), .block = kBlock}, rows, size, row_count,
         counts);
}

std::unique_ptr<RatingsBuffer> build_by_user(MemoryPool& pool, const Stream& stream, const TripleArrays& triples,
                                             const OrientationPlan& plan) {
  const EntryIndex entries = triples.users.size();
  const auto count = [&](Count* counts) {
    Upload(pool, stream, triples, plan.slice).for_each([&](const UploadedSlice& slice) {
      count_rows_of(stream, slice.users, slice.size, triples.user_count, counts);
    });
  };
  SideBuilder side(pool, stream, triples.user_count, triples.item_count, entries, !triples.values.empty());
  EntryIndex found = 0;
  for (const Piece& piece : cut_pieces(pool, stream, triples.user_count, entries, plan.by_user_piece, count)) {
    side.begin_piece(piece.rows, piece.size);
    Upload(pool, stream, triples, plan.slice).for_each([&](const UploadedSlice& slice) { side.append(slice); });
    const EntryIndex appended = side.appended();
    found += appended;
    if (appended != piece.size) check_found(triples.shape(), found);
    side.end_piece(0);
  }
  check_found(triples.shape(), found);
  return side.finish();
}

std::unique_ptr<RatingsBuffer> build_by_item(MemoryPool& pool, const Stream& stream, const RatingsBuffer& by_user,
                                             const OrientationPlan& plan) {
  const EntryIndex entries = by_user.columns.size();
  const RowIndex items = by_user.column_count;
  const auto count = [&](Count* counts) { count_rows_of(stream, by_user.columns.data(), entries, items, counts); };
  const Transposed source{by_user.offsets.data(), by_user.columns.data(), by_user.values.data(), entries, by_user.rows};
  SideBuilder side(pool, stream, items, by_user.rows, entries, !by_user.values.empty());
  for (const Piece& piece : cut_pieces(pool, stream, items, entries, plan.by_item_piece, count)) {
    side.begin_piece(piece.rows, piece.size);
    side.append(source);
    side.end_piece(side.column_bits());
  }
  return side.finish();
}

}  // namespace

Orientations build_orientations(MemoryPool& pool, const Stream& stream, const TripleArrays& triples,
                                const OrientationPlan& plan) {
  CONCERTO_CHECK(triples.users.size() == triples.items.size() &&
                     (triples.values.empty() || triples.values.size() == triples.users.size()),
                 "arrays of triples differ in length");
  CONCERTO_CHECK(plan.by_user_piece > 0 && plan.by_item_piece > 0 && plan.slice > 0, "a plan of no pieces");
  Orientations built;
  built.by_user = build_by_user(pool, stream, triples, plan);
  built.by_item = build_by_item(pool, stream, *built.by_user, plan);
  return built;
}

Orientations build_orientations(MemoryPool& pool, const Stream& stream, const TripleArrays& triples) {
  return build_orientations(pool, stream, triples, plan_orientations(triples.shape(), pool.available_bytes()));
}

}  // namespace concerto::cuda
