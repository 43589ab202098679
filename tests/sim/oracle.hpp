// What must be true of a simulated cluster, judged from everything that has happened in it rather than from what
// replicators say of themselves.
//
//   equal versions have equal bytes, everywhere and always; versions held by a process never go back
//   a delta's number and bytes never change; each is merged at most once, in order, without gaps
//   what is reported stable is with the successor; each new owner begins with it; at the end it is in all, exactly once
//   own writes are seen, exactly once, by every step
//   strong: a step reads what the serial schedule shows it; bounded: no block lags by more than max_lag
//   a block that waits to be sent is sent within one round of the queue
// Losing more than one rank at a time may lose what is stable; the oracle then knows from the copies that are left what
// may be missing, and no more may be.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "concerto/base/ids.hpp"
#include "concerto/replication/version.hpp"

#include "contents.hpp"

namespace concerto::sim {

class Oracle {
 public:
  /// The first violation, in one line.
  [[nodiscard]] const std::optional<std::string>& violation() const noexcept { return violation_; }
  void fail(std::string what) {
    if (!violation_) violation_ = std::move(what);
  }

  /// `who` now holds `contents` as `version` of the block; `before` was what it held.
  void held(const std::string& who, BlockId block, const Version& before, const Version& version,
            const Contents& contents);
  /// A version has left its owner: others may have worked with it.
  void seen(BlockId block, const Version& version);
  void sealed(const std::string& who, BlockId block, Rank writer, const FrontierEntry& delta, std::int64_t sum);
  /// Adds the delta to `contents`.
  void merge(const std::string& who, BlockId block, Rank writer, const FrontierEntry& delta, std::int64_t sum,
             Contents& contents);
  /// A writer drops its delta because it is stable.
  void stable(const std::string& who, BlockId block, Rank writer, const FrontierEntry& delta, bool owns_it_itself);
  /// A new owner says that deltas before this one are lost.
  void reported_lost(BlockId block, Rank writer, const FrontierEntry& last);
  /// The copies of a block that members still have: what is stable and in none of them has been lost. Called at each
  /// change of members.
  void copies_left(BlockId block, const std::vector<const Contents*>& copies, const std::vector<Version>& versions);
  /// An owner tells a writer that its delta is stable; `successor` is what the one that is to have it holds,
  /// null where there is none.
  void promised(const std::string& who, BlockId block, Rank writer, const FrontierEntry& delta,
                const Contents* successor);
  /// A new owner begins with these contents.
  void took_over(const std::string& who, BlockId block, const Contents& contents);
  /// At the end, of one copy of the block.
  void ended(const std::string& who, BlockId block, const Contents& contents);

  /// Something was lost that had been seen: recomputing it may give other values.
  [[nodiscard]] bool has_lost() const noexcept { return has_lost_; }
  /// Deltas of the writer's life up to `sequence` may be missing from the block.
  [[nodiscard]] bool may_miss(BlockId block, Rank writer, Incarnation incarnation, std::uint64_t sequence) const;

 private:
  void must_have_stable(const std::string& who, BlockId block, const Contents& contents);
  using DeltaKey = std::tuple<BlockId, Rank, Incarnation, std::uint64_t>;
  using WriterKey = std::tuple<BlockId, Rank, Incarnation>;
  std::optional<std::string> violation_;
  std::map<std::pair<BlockId, Version>, std::uint64_t> hashes_;
  std::map<DeltaKey, std::int64_t> deltas_;
  std::map<WriterKey, std::uint64_t> stable_;  ///< the highest sequence
  std::map<WriterKey, std::uint64_t> promised_;
  std::map<WriterKey, std::uint64_t> reported_lost_;
  std::map<WriterKey, std::uint64_t> lost_;  ///< deltas up to this may be missing
  std::map<BlockId, Version> seen_;
  bool has_lost_ = false;
};

}  // namespace concerto::sim
