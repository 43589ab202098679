// Distinct texts numbered in the order of their first occurrence: the ids of a column that are not plain numbers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "concerto/base/thread_pool.hpp"

namespace concerto::data {

class LabelTable {
 public:
  LabelTable();
  /// The number of `label`, a new one if it was not there. Error{kBadInput} beyond kMaxRows labels.
  std::uint32_t insert(std::string_view label);
  [[nodiscard]] std::size_t size() const noexcept { return labels_.size(); }
  /// Valid until `clear`.
  [[nodiscard]] std::string_view label(std::uint32_t number) const noexcept { return labels_[number]; }
  /// Forgets all labels, keeps the memory.
  void clear() noexcept;

  /// The labels in ascending byte order; `ranks[number]` is the place of each. Empties the table.
  [[nodiscard]] std::vector<std::string> take_sorted(std::vector<std::uint32_t>& ranks, ThreadPool& pool);

 private:
  std::string_view store(std::string_view label);
  void grow();

  struct Block {
    std::unique_ptr<char[]> bytes;
    std::size_t size = 0;
  };
  std::vector<std::string_view> labels_;
  std::vector<std::uint32_t> hashes_;
  std::vector<std::uint32_t> slots_;  // open addressing; kFree or a number
  std::vector<Block> blocks_;
  std::size_t block_ = 0;  // the block being filled
  std::size_t used_ = 0;   // bytes of it
};

}  // namespace concerto::data
