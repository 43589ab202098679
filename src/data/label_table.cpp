// A hash table with linear probing over labels kept in blocks, and a parallel merge sort of what it holds.
#include "label_table.hpp"

#include <algorithm>
#include <functional>
#include <limits>
#include <numeric>

#include "concerto/base/error.hpp"
#include "concerto/base/ids.hpp"

namespace concerto::data {
namespace {

constexpr std::uint32_t kFree = std::numeric_limits<std::uint32_t>::max();
constexpr std::size_t kFirstSlots = 1024;
constexpr std::size_t kBlockBytes = std::size_t{1} << 16U;

std::uint32_t hash_of(std::string_view label) noexcept {
  const std::uint64_t hash = std::hash<std::string_view>{}(label);
  return static_cast<std::uint32_t>(hash ^ (hash >> 32U));
}

}  // namespace

LabelTable::LabelTable() : slots_(kFirstSlots, kFree) {}

std::uint32_t LabelTable::insert(std::string_view label) {
  const std::uint32_t hash = hash_of(label);
  const std::size_t mask = slots_.size() - 1;
  std::size_t slot = hash & mask;
  for (; slots_[slot] != kFree; slot = (slot + 1) & mask) {
    const std::uint32_t number = slots_[slot];
    if (hashes_[number] == hash && labels_[number] == label) return number;
  }
  if (labels_.size() >= kMaxRows) throw Error(ErrorCode::kBadInput, "more than 4294967295 different ids");
  const auto number = static_cast<std::uint32_t>(labels_.size());
  labels_.push_back(store(label));
  hashes_.push_back(hash);
  slots_[slot] = number;
  if (2 * labels_.size() > slots_.size()) grow();
  return number;
}

std::string_view LabelTable::store(std::string_view label) {
  while (block_ < blocks_.size() && blocks_[block_].size - used_ < label.size()) {
    ++block_;
    used_ = 0;
  }
  if (block_ == blocks_.size()) {
    const std::size_t size = std::max(kBlockBytes, label.size());
    blocks_.push_back({std::make_unique_for_overwrite<char[]>(size), size});
    used_ = 0;
  }
  char* const into = blocks_[block_].bytes.get() + used_;
  std::copy(label.begin(), label.end(), into);
  used_ += label.size();
  return {into, label.size()};
}

void LabelTable::grow() {
  slots_.assign(slots_.size() * 2, kFree);
  const std::size_t mask = slots_.size() - 1;
  for (std::uint32_t number = 0; number < labels_.size(); ++number) {
    std::size_t slot = hashes_[number] & mask;
    while (slots_[slot] != kFree) slot = (slot + 1) & mask;
    slots_[slot] = number;
  }
}

void LabelTable::clear() noexcept {
  if (!labels_.empty()) std::fill(slots_.begin(), slots_.end(), kFree);
  labels_.clear();
  hashes_.clear();
  block_ = 0;
  used_ = 0;
}

std::vector<std::string> LabelTable::take_sorted(std::vector<std::uint32_t>& ranks, ThreadPool& pool) {
  const std::size_t count = labels_.size();
  slots_ = std::vector<std::uint32_t>();
  hashes_ = std::vector<std::uint32_t>();
  std::vector<std::uint32_t> order(count);
  std::iota(order.begin(), order.end(), 0U);
  const auto before = [&](std::uint32_t left, std::uint32_t right) { return labels_[left] < labels_[right]; };
  const auto at = [&](std::size_t index) {
    return order.begin() + static_cast<std::ptrdiff_t>(std::min(index, count));
  };
  std::size_t run = std::max<std::size_t>(4096, count / pool.size() + 1);
  pool.parallel_for((count + run - 1) / run, 1, [&](std::size_t begin, std::size_t, unsigned) {
    std::sort(at(begin * run), at((begin + 1) * run), before);
  });
  for (; run < count; run *= 2) {
    pool.parallel_for((count + 2 * run - 1) / (2 * run), 1, [&](std::size_t begin, std::size_t, unsigned) {
      std::inplace_merge(at(2 * begin * run), at((2 * begin + 1) * run), at((2 * begin + 2) * run), before);
    });
  }
  ranks.resize(count);
  std::vector<std::string> sorted(count);
  pool.parallel_for(count, 65536, [&](std::size_t begin, std::size_t end, unsigned) {
    for (std::size_t rank = begin; rank < end; ++rank) {
      sorted[rank] = labels_[order[rank]];
      ranks[order[rank]] = static_cast<std::uint32_t>(rank);
    }
  });
  labels_ = std::vector<std::string_view>();
  blocks_.clear();
  slots_.assign(kFirstSlots, kFree);
  block_ = used_ = 0;
  return sorted;
}

}  // namespace concerto::data
