// The distinct ids of a column of numbers and the place of each in ascending order. Rows come later, from an IdMap;
// here is only the fast way from the numbers of a file to dense numbers.
#pragma once

#include <bit>
#include <cstdint>
#include <span>
#include <vector>

#include "concerto/base/ids.hpp"
#include "concerto/base/thread_pool.hpp"

namespace concerto {

/// A set of 32-bit ids that answers "which place has this id?". Dense ids are kept as bits with running counts (0.19
/// bytes for each possible id), sparse ones as a sorted array.
class IdRanks {
 public:
  /// The distinct values of `ids`. Parallel, O(ids).
  [[nodiscard]] static IdRanks of(std::span<const std::uint32_t> ids, ThreadPool& pool);
  /// All of 0..count-1: a place is the id itself.
  [[nodiscard]] static IdRanks all_below(RowIndex count);

  [[nodiscard]] RowIndex size() const noexcept { return size_; }
  /// The place of `id` in ascending order, kNoRow if it is not in the set.
  [[nodiscard]] RowIndex rank(std::uint32_t id) const noexcept {
    if (form_ == Form::kAll) return id < size_ ? id : kNoRow;
    if (form_ == Form::kSorted) return sorted_rank(id);
    const std::size_t word = id / 64;
    if (word >= words_.size()) return kNoRow;
    const std::uint64_t bit = std::uint64_t{1} << (id % 64);
    if ((words_[word] & bit) == 0) return kNoRow;
    return before_[word] + static_cast<RowIndex>(std::popcount(words_[word] & (bit - 1)));
  }
  /// The ids in ascending order.
  [[nodiscard]] std::vector<std::uint32_t> ids() const;

 private:
  enum class Form : std::uint8_t { kAll, kBits, kSorted };
  [[nodiscard]] RowIndex sorted_rank(std::uint32_t id) const noexcept;

  Form form_ = Form::kAll;
  RowIndex size_ = 0;
  std::vector<std::uint64_t> words_;   // kBits: bit id % 64 of word id / 64
  std::vector<RowIndex> before_;       // kBits: ids in earlier words
  std::vector<std::uint32_t> sorted_;  // kSorted
};

/// From the numbers of a file to rows: rows[k] belongs to the k-th of the ids in `ranks`.
struct RowLookup {
  IdRanks ranks;
  std::vector<RowIndex> rows;
  [[nodiscard]] RowIndex row(std::uint32_t id) const noexcept {
    const RowIndex rank = ranks.rank(id);
    return rank == kNoRow ? kNoRow : rows[rank];
  }
};

/// The smallest and the largest of `ids`, which must not be empty.
struct IdRange {
  std::uint32_t smallest;
  std::uint32_t largest;
};
[[nodiscard]] IdRange id_range(std::span<const std::uint32_t> ids, ThreadPool& pool);

}  // namespace concerto
