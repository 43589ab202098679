// Drawing entries, sorting them as one 64-bit key a pair, and cutting the sorted keys into rows.
#include <bit>
#include <cmath>
#include <vector>

#include "device/launch.cuh"
#include "device_ratings.hpp"
#include "random.cuh"
#include "sort.hpp"

namespace concerto::bench {
namespace {

using cuda::DeviceArray;
using cuda::launch;
using cuda::MemoryPool;
using cuda::RatingsBuffer;
using cuda::Stream;

constexpr unsigned kBlock = 256;

unsigned blocks_of(std::uint64_t threads) {
  return static_cast<unsigned>((threads + kBlock - 1) / kBlock);
}
__device__ __forceinline__ std::uint64_t thread_place() {
  return std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x;
}

/// Draws rows of one side.
struct Draw {
  double low;
  double width;
  double inverse_power;
  RowIndex rows;
  std::uint64_t seed;
};
constexpr double kShift = 50.0;

Draw make_draw(RowIndex rows, double exponent, std::uint64_t seed) {
  const double power = 1.0 - exponent;
  const double low = std::pow(kShift, power);
  return {low, std::pow(kShift + rows, power) - low, 1.0 / power, rows, seed};
}

/// The k-th draw: a place by popularity, scattered over the rows by a multiplication without common divisors.
__device__ __forceinline__ RowIndex drawn_row(const Draw& draw, std::uint64_t k) {
  constexpr std::uint64_t kPrime = 2654435761U;
  const double place = pow(draw.low + uniform(word_at(draw.seed, k)) * draw.width, draw.inverse_power) - kShift;
  std::uint64_t at = place <= 0.0 ? 0 : static_cast<std::uint64_t>(place);
  if (at >= draw.rows) at = draw.rows - 1U;
  return static_cast<RowIndex>((at * kPrime + draw.seed) % draw.rows);
}
/// 1 to 5, a function of the pair.
__device__ __forceinline__ float rating_of(RowIndex user, RowIndex item) {
  return static_cast<float>(1 + (word_at(item, user) >> 32) % 5);
}

__global__ void draw_keys(std::uint64_t* keys, std::uint64_t entries, Draw users, Draw items, unsigned item_bits) {
  const std::uint64_t k = thread_place();
  if (k < entries) keys[k] = std::uint64_t{drawn_row(users, k)} << item_bits | drawn_row(items, k);
}

__global__ void draw_ratings(Rating* ratings, std::uint64_t entries, Draw users, Draw items) {
  const std::uint64_t k = thread_place();
  if (k >= entries) return;
  const RowIndex user = drawn_row(users, k);
  const RowIndex item = drawn_row(items, k);
  ratings[k] = {user, item, rating_of(user, item)};
}

/// (row, column) -> (column, row).
__global__ void turn_keys(std::uint64_t* keys, std::uint64_t entries, unsigned column_bits, unsigned row_bits) {
  const std::uint64_t k = thread_place();
  if (k >= entries) return;
  const std::uint64_t key = keys[k];
  const std::uint64_t column = key & ((std::uint64_t{1} << column_bits) - 1);
  keys[k] = column << row_bits | key >> column_bits;
}

__global__ void unpack(const std::uint64_t* keys, std::uint64_t entries, unsigned column_bits, bool rows_are_users,
                       RowIndex* columns, float* values) {
  const std::uint64_t k = thread_place();
  if (k >= entries) return;
  const auto row = static_cast<RowIndex>(keys[k] >> column_bits);
  const auto column = static_cast<RowIndex>(keys[k] & ((std::uint64_t{1} << column_bits) - 1));
  columns[k] = column;
  values[k] = rows_are_users ? rating_of(row, column) : rating_of(column, row);
}

/// offsets[r] = the first key of row r or above, for r in [0, rows].
__global__ void cut_rows(const std::uint64_t* keys, std::uint64_t entries, unsigned column_bits, RowIndex rows,
                         EntryIndex* offsets) {
  const std::uint64_t row = thread_place();
  if (row > rows) return;
  std::uint64_t low = 0;
  std::uint64_t high = entries;
  while (low < high) {
    const std::uint64_t middle = low + (high - low) / 2;
    if (keys[middle] >> column_bits < row) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  offsets[row] = low;
}

unsigned bits_of(RowIndex rows) {
  return static_cast<unsigned>(std::bit_width(rows));
}

std::unique_ptr<RatingsBuffer> cut(const Stream& stream, MemoryPool& pool, const DeviceArray<std::uint64_t>& keys,
                                   RowIndex rows, RowIndex columns, bool rows_are_users) {
  const std::uint64_t entries = keys.size();
  auto ratings = std::make_unique<RatingsBuffer>();
  ratings->rows = rows;
  ratings->column_count = columns;
  ratings->offsets = DeviceArray<EntryIndex>(pool, std::size_t{rows} + 1, "offsets of the ratings");
  ratings->columns = DeviceArray<RowIndex>(pool, entries, "the ratings");
  ratings->values = DeviceArray<float>(pool, entries, "the values of the ratings");
  launch(stream, "cut_rows", cut_rows, {.grid_x = blocks_of(std::uint64_t{rows} + 1), .block = kBlock}, keys.data(),
         entries, bits_of(columns), rows, ratings->offsets.data());
  launch(stream, "unpack", unpack, {.grid_x = blocks_of(entries), .block = kBlock}, keys.data(), entries,
         bits_of(columns), rows_are_users, ratings->columns.data(), ratings->values.data());
  ratings->host_offsets.resize(std::size_t{rows} + 1);
  cuda::copy_to_host(stream, ratings->host_offsets.data(), ratings->offsets.data(), ratings->offsets.bytes());
  stream.wait();
  for (RowIndex r = 0; r < rows; ++r) {
    ratings->positive_counts.push_back(ratings->host_offsets[r + 1] - ratings->host_offsets[r]);
  }
  return ratings;
}

constexpr std::uint64_t kUserSeed = 11;
constexpr std::uint64_t kItemSeed = 12;

}  // namespace

DeviceRatings make_ratings(const Stream& stream, MemoryPool& pool, const RatingsShape& shape) {
  const unsigned user_bits = bits_of(shape.users);
  const unsigned item_bits = bits_of(shape.items);
  const auto bits = static_cast<int>(user_bits + item_bits);
  DeviceArray<std::uint64_t> keys(pool, shape.entries, "the entries that are drawn");
  launch(stream, "draw_keys", draw_keys, {.grid_x = blocks_of(shape.entries), .block = kBlock}, keys.data(),
         shape.entries, make_draw(shape.users, shape.user_exponent, shape.seed * 100 + kUserSeed),
         make_draw(shape.items, shape.item_exponent, shape.seed * 100 + kItemSeed), item_bits);
  DeviceRatings ratings;
  cuda::sort_keys(stream, pool, keys.data(), keys.size(), bits);
  ratings.by_user = cut(stream, pool, keys, shape.users, shape.items, true);
  launch(stream, "turn_keys", turn_keys, {.grid_x = blocks_of(shape.entries), .block = kBlock}, keys.data(),
         shape.entries, item_bits, user_bits);
  cuda::sort_keys(stream, pool, keys.data(), keys.size(), bits);
  ratings.by_item = cut(stream, pool, keys, shape.items, shape.users, false);
  return ratings;
}

DeviceArray<Rating> make_shuffled(const Stream& stream, MemoryPool& pool, const RatingsShape& shape) {
  DeviceArray<Rating> ratings(pool, shape.entries, "shuffled ratings");
  launch(stream, "draw_ratings", draw_ratings, {.grid_x = blocks_of(shape.entries), .block = kBlock}, ratings.data(),
         shape.entries, make_draw(shape.users, shape.user_exponent, shape.seed * 100 + kUserSeed),
         make_draw(shape.items, shape.item_exponent, shape.seed * 100 + kItemSeed));
  return ratings;
}

CompressedMatrix copy_to_host(const Stream& stream, const RatingsBuffer& ratings) {
  CompressedMatrix host{ratings.rows, ratings.column_count, ratings.host_offsets, {}, {}};
  host.columns.resize(ratings.columns.size());
  host.values.resize(ratings.values.size());
  cuda::copy_to_host(stream, host.columns.data(), ratings.columns.data(), ratings.columns.bytes());
  cuda::copy_to_host(stream, host.values.data(), ratings.values.data(), ratings.values.bytes());
  stream.wait();
  return host;
}

}  // namespace concerto::bench
