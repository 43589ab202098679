// Distinct ids by bit set where they are dense, by sorting pieces where they are not.
#include "id_ranks.hpp"

#include <algorithm>
#include <atomic>
#include <mutex>

namespace concerto {
namespace {

constexpr std::size_t kPiece = std::size_t{1} << 20;

/// Bits for every id up to `largest` are worth it where they stay small beside the ids themselves or in absolute terms.
[[nodiscard]] bool are_dense(std::uint32_t largest, std::size_t count) {
  constexpr std::uint32_t kSmall = std::uint32_t{1} << 26;
  return largest < kSmall || largest / 8 < count;
}

[[nodiscard]] std::vector<std::uint32_t> sorted_distinct(std::span<const std::uint32_t> ids, ThreadPool& pool) {
  std::vector<std::uint32_t> all;
  std::mutex mutex;
  pool.parallel_for(ids.size(), kPiece, [&](std::size_t begin, std::size_t end, unsigned) {
    std::vector<std::uint32_t> piece(ids.begin() + begin, ids.begin() + end);
    std::ranges::sort(piece);
    piece.erase(std::unique(piece.begin(), piece.end()), piece.end());
    const std::lock_guard lock(mutex);
    all.insert(all.end(), piece.begin(), piece.end());
  });
  std::ranges::sort(all);
  all.erase(std::unique(all.begin(), all.end()), all.end());
  all.shrink_to_fit();
  return all;
}

}  // namespace

IdRange id_range(std::span<const std::uint32_t> ids, ThreadPool& pool) {
  IdRange range{ids[0], ids[0]};
  std::mutex mutex;
  pool.parallel_for(ids.size(), kPiece, [&](std::size_t begin, std::size_t end, unsigned) {
    const auto [smallest, largest] = std::ranges::minmax(ids.subspan(begin, end - begin));
    const std::lock_guard lock(mutex);
    range = {std::min(range.smallest, smallest), std::max(range.largest, largest)};
  });
  return range;
}

IdRanks IdRanks::all_below(RowIndex count) {
  IdRanks ranks;
  ranks.size_ = count;
  return ranks;
}

IdRanks IdRanks::of(std::span<const std::uint32_t> ids, ThreadPool& pool) {
  IdRanks ranks;
  if (ids.empty()) return ranks;
  const std::uint32_t largest = id_range(ids, pool).largest;
  if (!are_dense(largest, ids.size())) {
    ranks.form_ = Form::kSorted;
    ranks.sorted_ = sorted_distinct(ids, pool);
    ranks.size_ = static_cast<RowIndex>(ranks.sorted_.size());
    return ranks;
  }
  ranks.form_ = Form::kBits;
  ranks.words_.resize(std::size_t{largest} / 64 + 1);
  pool.parallel_for(ids.size(), kPiece, [&](std::size_t begin, std::size_t end, unsigned) {
    for (const std::uint32_t id : ids.subspan(begin, end - begin)) {
      const std::atomic_ref<std::uint64_t> word(ranks.words_[id / 64]);
      const std::uint64_t bit = std::uint64_t{1} << (id % 64);
      // Most ids have been seen before: look before writing, so that the cache line stays shared.
      if ((word.load(std::memory_order_relaxed) & bit) == 0) word.fetch_or(bit, std::memory_order_relaxed);
    }
  });
  ranks.before_.resize(ranks.words_.size());
  for (std::size_t word = 0; word < ranks.words_.size(); ++word) {
    ranks.before_[word] = ranks.size_;
    ranks.size_ += static_cast<RowIndex>(std::popcount(ranks.words_[word]));
  }
  return ranks;
}

RowIndex IdRanks::sorted_rank(std::uint32_t id) const noexcept {
  const auto place = std::ranges::lower_bound(sorted_, id);
  return place != sorted_.end() && *place == id ? static_cast<RowIndex>(place - sorted_.begin()) : kNoRow;
}

std::vector<std::uint32_t> IdRanks::ids() const {
  if (form_ == Form::kSorted) return sorted_;
  std::vector<std::uint32_t> result;
  result.reserve(size_);
  if (form_ == Form::kAll) {
    for (std::uint32_t id = 0; id < size_; ++id) result.push_back(id);
    return result;
  }
  for (std::size_t word = 0; word < words_.size(); ++word) {
    for (std::uint64_t bits = words_[word]; bits != 0; bits &= bits - 1) {
      result.push_back(static_cast<std::uint32_t>(word * 64 + static_cast<unsigned>(std::countr_zero(bits))));
    }
  }
  return result;
}

}  // namespace concerto
