// Storage: tables with their bf16 shadow, and orientations of the ratings.
#include <algorithm>

#include "bf16.cuh"
#include "cuda_backend.hpp"
#include "device/launch.cuh"
#include "shadow.hpp"

namespace concerto::cuda {
namespace {

constexpr unsigned kBlock = 256;

/// Rounds `size` values; two to a thread.
__global__ void round_values(const float* values, std::uint16_t* rounded, std::uint64_t size) {
  const std::uint64_t at = 2 * (std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x);
  if (at + 1 < size) {
    *reinterpret_cast<std::uint32_t*>(rounded + at) = bf16_pair(values[at], values[at + 1]);
  } else if (at < size) {
    rounded[at] = bf16_bits(values[at]);
  }
}

__global__ void fill(float* values, std::uint64_t size, float value) {
  const std::uint64_t at = std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (at < size) values[at] = value;
}

void check_state(const TableBuffer& table, RowRange rows, std::size_t values) {
  CONCERTO_CHECK(rows.begin <= rows.end && rows.end <= table.shape.rows, "rows outside the table");
  CONCERTO_CHECK(values == rows.size(), "optimizer state is one value a row");
}

void check_copy(const TableBuffer& table, RowRange rows, const FactorTable& host) {
  CONCERTO_CHECK(table.shape == host.shape(), "host table and buffer differ in shape");
  CONCERTO_CHECK(rows.begin <= rows.end && rows.end <= table.shape.rows, "rows outside the table");
}

std::vector<EntryIndex> positive_counts(const CompressedRows& ratings) {
  if (ratings.values.empty()) return {};
  std::vector<EntryIndex> counts(ratings.rows);
  for (RowIndex r = 0; r < ratings.rows; ++r) {
    counts[r] = static_cast<EntryIndex>(std::ranges::count_if(ratings.row_values(r), [](float v) { return v > 0.0F; }));
  }
  return counts;
}

}  // namespace

unsigned blocks_for(std::uint64_t threads, unsigned block) {
  return static_cast<unsigned>((threads + block - 1) / block);
}

void refresh_shadow(const Stream& stream, TableBuffer& table, RowRange rows) {
  if (table.shadow.empty() || rows.size() == 0) return;
  const std::uint64_t begin = rows.begin * table.stride;
  const std::uint64_t size = rows.size() * table.stride;
  launch(stream, "round_values", round_values, {.grid_x = blocks_for(size / 2, kBlock), .block = kBlock},
         table.master.data() + begin, table.shadow.data() + begin, size);
}

void reset_accumulators(const Stream& stream, TableBuffer& table, RowRange rows) {
  if (table.accumulators.empty() || rows.size() == 0) return;
  launch(stream, "fill", fill, {.grid_x = blocks_for(rows.size(), kBlock), .block = kBlock},
         table.accumulators.data() + rows.begin, rows.size(), 1.0F);
}

void require_accumulators(MemoryPool& pool, const Stream& stream, TableBuffer& table) {
  if (!table.accumulators.empty()) return;
  table.accumulators = DeviceArray<float>(pool, table.shape.rows, "accumulators of SGD");
  reset_accumulators(stream, table, {0, table.shape.rows});
}

std::unique_ptr<Buffer> CudaBackend::create_table(const TableShape& shape) {
  auto table = std::make_unique<TableBuffer>();
  table->shape = shape;
  table->stride = FactorTable::padded(shape.rank);
  const std::size_t size = std::size_t{shape.rows} * table->stride;
  table->master = DeviceArray<float>(pool_, size, "factors");
  fill_zero(stream_, table->master.data(), table->master.bytes());
  if (options_.gather == Gather::kBf16) {
    table->shadow = DeviceArray<std::uint16_t>(pool_, size, "factors in bf16");
    fill_zero(stream_, table->shadow.data(), table->shadow.bytes());
  }
  if (shape.biases) {
    table->biases = DeviceArray<float>(pool_, shape.rows, "biases");
    fill_zero(stream_, table->biases.data(), table->biases.bytes());
  }
  return table;
}

void CudaBackend::write_rows(Buffer& buffer, RowRange rows, const FactorTable& host) {
  auto& table = buffer_as<TableBuffer>(&buffer);
  check_copy(table, rows, host);
  if (rows.size() == 0) return;
  copy_to_device(stream_, table.master.data() + rows.begin * table.stride, host.data() + rows.begin * table.stride,
                 rows.size() * table.stride * sizeof(float));
  if (table.shape.biases) {
    copy_to_device(stream_, table.biases.data() + rows.begin, host.biases().data() + rows.begin,
                   rows.size() * sizeof(float));
  }
  refresh_shadow(stream_, table, rows);
  reset_accumulators(stream_, table, rows);
}

void CudaBackend::read_rows(const Buffer& buffer, RowRange rows, FactorTable& host) const {
  const auto& table = buffer_as<TableBuffer>(&buffer);
  check_copy(table, rows, host);
  if (rows.size() == 0) return;
  copy_to_host(stream_, host.data() + rows.begin * table.stride, table.master.data() + rows.begin * table.stride,
               rows.size() * table.stride * sizeof(float));
  if (table.shape.biases) {
    copy_to_host(stream_, host.biases().data() + rows.begin, table.biases.data() + rows.begin,
                 rows.size() * sizeof(float));
  }
  stream_.wait();
}

void CudaBackend::write_state(Buffer& buffer, RowRange rows, std::span<const float> state) {
  auto& table = buffer_as<TableBuffer>(&buffer);
  check_state(table, rows, state.size());
  if (rows.size() == 0) return;
  require_accumulators(pool_, stream_, table);
  copy_to_device(stream_, table.accumulators.data() + rows.begin, state.data(), state.size_bytes());
}

void CudaBackend::read_state(const Buffer& buffer, RowRange rows, std::span<float> state) const {
  const auto& table = buffer_as<TableBuffer>(&buffer);
  check_state(table, rows, state.size());
  if (table.accumulators.empty()) {
    std::ranges::fill(state, 1.0F);
    return;
  }
  if (rows.size() == 0) return;
  copy_to_host(stream_, state.data(), table.accumulators.data() + rows.begin, state.size_bytes());
  stream_.wait();
}

std::unique_ptr<Buffer> CudaBackend::load_ratings(const CompressedRows& ratings) {
  auto buffer = std::make_unique<RatingsBuffer>();
  buffer->rows = ratings.rows;
  buffer->column_count = ratings.column_count;
  buffer->host_offsets.assign(ratings.offsets.begin(), ratings.offsets.end());
  buffer->positive_counts = positive_counts(ratings);
  buffer->offsets = DeviceArray<EntryIndex>(pool_, stream_, ratings.offsets, "offsets of the ratings");
  buffer->columns = DeviceArray<RowIndex>(pool_, stream_, ratings.columns, "the ratings");
  if (!ratings.values.empty()) {
    buffer->values = DeviceArray<float>(pool_, stream_, ratings.values, "the values of the ratings");
  }
  return buffer;
}

}  // namespace concerto::cuda
