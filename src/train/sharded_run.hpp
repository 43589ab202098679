// What the parts of a rank's training share: its tables, its entries, what it was asked for. The parts are the way in
// which factors move and travel (sharded_way.hpp), measuring (shard_measures.hpp), and what is decided and kept
// (sharded.cpp).
#pragma once

#include <atomic>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <vector>

#include "concerto/compute/backend.hpp"
#include "concerto/train/sharded.hpp"

#include "packed_gram.hpp"
#include "packed_rows.hpp"
#include "start.hpp"

namespace concerto {

/// A table: in the backend, on the host, and its rows on their way; with the entries of the rows that this rank owns.
struct ShardedTable {
  const TableShards* shards = nullptr;
  std::vector<RowRange> own;
  CompressedMatrix entries;  ///< of own rows
  std::unique_ptr<Buffer> ratings;
  std::unique_ptr<Buffer> table;
  HostRows host;
  PackedRows packed;
  bool is_finite = true;  ///< all own rows that were solved so far

  [[nodiscard]] bool has_state() const noexcept { return !host.state.empty(); }
  /// Rows with all that they are, from the backend to the host, and back.
  void read(const Backend& backend, RowRange rows) {
    backend.read_rows(*table, rows, host.factors);
    if (has_state()) backend.read_state(*table, rows, std::span(host.state).subspan(rows.begin, rows.size()));
  }
  /// Own rows that were solved.
  void read_solved(const Backend& backend, RowRange rows) {
    read(backend, rows);
    is_finite = is_finite && all_finite(host.factors, rows);
  }
  void write(Backend& backend, RowRange rows) {
    backend.write_rows(*table, rows, host.factors);
    if (has_state()) backend.write_state(*table, rows, std::span(host.state).subspan(rows.begin, rows.size()));
  }
};

struct ShardedRun {
  ShardedRun(Backend& its_backend, const TrainOptions& its_options, const ShardedOptions& its_sharding)
      : backend(its_backend), options(its_options), sharding(its_sharding), objective(its_options.objective) {}

  ShardedTable& table(Side side) noexcept { return side == Side::kUsers ? users : items; }
  ShardedTable& other(Side side) noexcept { return table(side == Side::kUsers ? Side::kItems : Side::kUsers); }
  /// Work was done, for those who watch whether this rank is stalled.
  void advance(std::uint64_t by) noexcept { progress.fetch_add(by, std::memory_order_relaxed); }

  Backend& backend;
  TrainOptions options;
  ShardedOptions sharding;
  Objective objective;  ///< with the mean, once facts are taken up
  float low = std::numeric_limits<float>::lowest();
  float high = std::numeric_limits<float>::max();
  ShardPlan plan;
  ShardedTable users;
  ShardedTable items;
  double momentum = 0.0;         ///< of the present epoch
  bool are_users_apart = false;  ///< users' rows are current on their owners only
  /// Where users are apart and the objective is implicit: the Gram matrices of own users, and of all items.
  std::optional<PackedGram> own_users_gram;
  std::optional<PackedGram> items_gram;
  std::atomic<std::uint64_t> progress{0};
};

}  // namespace concerto
