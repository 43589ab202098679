// How top_k cuts its queries, and the order of candidates with equal scores (top_k.hpp). From shapes alone; no device.
#include <algorithm>
#include <bit>
#include <numeric>

#include "top_k.hpp"

namespace concerto::cuda {
namespace {

constexpr std::size_t kMiB = std::size_t{1} << 20;
constexpr std::size_t kMostPieceQueries = 65536;
constexpr std::size_t kMostFactorBytes = 32 * kMiB;
constexpr std::size_t kMostListBytes = 16 * kMiB;
constexpr std::size_t kMostExcludedBytes = 16 * kMiB;
constexpr std::size_t kFewQueries = 64;
constexpr std::size_t kMostFewQueriesBytes = 128 * kMiB;
constexpr std::size_t kMostKeyBytes = 64 * kMiB;
constexpr std::size_t kMostGridRows = 65535;

bool is_permutation_of_rows(std::span<const RowIndex> places) {
  std::vector<bool> is_taken(places.size(), false);
  for (const RowIndex place : places) {
    if (place >= places.size() || is_taken[place]) return false;
    is_taken[place] = true;
  }
  return true;
}

}  // namespace

std::size_t queries_per_batch(const DeviceFacts& facts, RowIndex candidates) noexcept {
  const std::size_t row_bytes = std::max<std::size_t>(score_stride(candidates), 1) * sizeof(float);
  std::size_t queries = facts.l2_bytes / 2 / row_bytes;
  if (facts.multiprocessors > 0 && queries >= facts.multiprocessors) queries -= queries % facts.multiprocessors;
  queries = std::max(queries, std::min(kFewQueries, kMostFewQueriesBytes / row_bytes));
  return std::clamp<std::size_t>(queries, 1, kMostPieceQueries);
}

std::size_t queries_per_sort(RowIndex candidates) noexcept {
  const int place_bits = std::bit_width(candidates == 0 ? 0U : candidates - 1);
  const std::size_t by_bits = std::size_t{1} << (32 - place_bits);
  const std::size_t by_bytes = kMostKeyBytes / sizeof(std::uint64_t) / std::max<std::size_t>(candidates, 1);
  return std::max<std::size_t>(std::min({by_bits, by_bytes, kMostGridRows}), 1);
}

std::size_t piece_end(std::span<const RowIndex> rows, std::size_t begin, std::size_t factor_row_bytes,
                      std::uint32_t places, const CompressedRows* exclude) noexcept {
  const std::size_t list_bytes = std::size_t{places} * (sizeof(RowIndex) + sizeof(float));
  const std::size_t most = std::min({kMostPieceQueries, kMostFactorBytes / std::max<std::size_t>(factor_row_bytes, 1),
                                     kMostListBytes / std::max<std::size_t>(list_bytes, 1)});
  const std::size_t end = std::min(rows.size(), begin + std::max<std::size_t>(most, 1));
  if (exclude == nullptr) return end;
  std::size_t excluded_bytes = 0;
  for (std::size_t at = begin; at < end; ++at) {
    excluded_bytes += exclude->count(rows[at]) * sizeof(RowIndex);
    if (excluded_bytes > kMostExcludedBytes && at > begin) return at;
  }
  return end;
}

PlaceOrder place_order(std::span<const RowIndex> tie_order) {
  PlaceOrder order;
  if (tie_order.empty()) return order;
  order.places.resize(tie_order.size());
  order.rows.resize(tie_order.size());
  if (is_permutation_of_rows(tie_order)) {
    std::ranges::copy(tie_order, order.places.begin());
    for (std::size_t row = 0; row < tie_order.size(); ++row) order.rows[tie_order[row]] = static_cast<RowIndex>(row);
    return order;
  }
  std::iota(order.rows.begin(), order.rows.end(), RowIndex{0});
  std::ranges::stable_sort(order.rows, [&](RowIndex a, RowIndex b) { return tie_order[a] < tie_order[b]; });
  for (std::size_t place = 0; place < order.rows.size(); ++place) {
    order.places[order.rows[place]] = static_cast<RowIndex>(place);
  }
  return order;
}

}  // namespace concerto::cuda
