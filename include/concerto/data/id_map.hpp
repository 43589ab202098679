// The two-way map between a user's or an item's id as the input names it and its row in a factor table.
//
// Three kinds. `index`: integer ids counted from 0 (the smallest id seen is 0, or the number of rows is declared); rows
// exist for every index up to the highest. `integer`: other non-negative integers, one row for each distinct id.
// `label`: anything else, as text. In all kinds the rows are a seeded permutation of the ids in ascending order, so
// that popular rows, which often have low ids, spread over chunks.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "concerto/base/ids.hpp"

namespace concerto {

enum class IdKind : std::uint8_t { kIndex = 0, kInteger = 1, kLabel = 2 };

class IdMap {
 public:
  IdMap() = default;
  /// Rows for the indices 0..count-1, in the order of `random_permutation(count, seed, stream)`: row = order[index].
  [[nodiscard]] static IdMap indices(RowIndex count, std::uint64_t seed, std::uint64_t stream);
  /// Rows for distinct ascending `ids`: ids[k] has row order[k]. Bugs in the order end the process.
  [[nodiscard]] static IdMap integers(std::vector<std::uint64_t> ids, std::uint64_t seed, std::uint64_t stream);
  /// Rows for distinct labels in ascending byte order.
  [[nodiscard]] static IdMap labels(std::vector<std::string> labels, std::uint64_t seed, std::uint64_t stream);

  [[nodiscard]] IdKind kind() const noexcept { return kind_; }
  [[nodiscard]] RowIndex size() const noexcept { return static_cast<RowIndex>(row_of_rank_.size()); }

  /// The row of an id given as text ("17", "tt0111161"), or nothing if it is not known. Numbers may have leading zeros,
  /// as readers take them. O(log size).
  [[nodiscard]] std::optional<RowIndex> find(std::string_view id) const;
  /// The same for an integer id; of kind kLabel it is looked up by its decimal text.
  [[nodiscard]] std::optional<RowIndex> find(std::uint64_t id) const;
  /// The id of a row as text. row < size().
  [[nodiscard]] std::string text(RowIndex row) const;

  /// The row of the k-th id in ascending order, for every k: a whole column of ids is mapped through it at once.
  [[nodiscard]] std::span<const RowIndex> row_order() const noexcept { return row_of_rank_; }

  /// The inverse: of each row, the place of its id in ascending order.
  [[nodiscard]] std::span<const RowIndex> rank_order() const noexcept { return rank_of_row_; }

  /// A self-contained byte image (little-endian, versioned) and back; Error{kCorrupt} naming `where` on a bad image.
  [[nodiscard]] std::vector<std::byte> serialize() const;
  [[nodiscard]] static IdMap deserialize(std::span<const std::byte> image, std::string_view where);

 private:
  void set_order(RowIndex count, std::uint64_t seed, std::uint64_t stream);
  void set_labels(const std::vector<std::string>& labels);
  [[nodiscard]] std::string_view label(RowIndex rank) const noexcept;
  [[nodiscard]] std::optional<RowIndex> find_label(std::string_view label) const;

  IdKind kind_ = IdKind::kIndex;
  std::vector<RowIndex> row_of_rank_;  // rank = position of the id in ascending order
  std::vector<RowIndex> rank_of_row_;
  std::vector<std::uint64_t> integers_;    // kInteger: by rank
  std::vector<std::uint64_t> label_ends_;  // kLabel: by rank, end in label_bytes_
  std::string label_bytes_;
};

/// The seed of row orders: one constant, so that training from text and from a prepared directory store rows alike.
inline constexpr std::uint64_t kRowOrderSeed = 1;

}  // namespace concerto
