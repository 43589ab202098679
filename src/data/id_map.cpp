// The two-way map between ids and rows. Which ids exist is decided by the builder of a data set, not here.
#include "concerto/data/id_map.hpp"

#include <algorithm>
#include <charconv>
#include <utility>

#include "concerto/base/check.hpp"
#include "concerto/base/rng.hpp"

#include "byte_image.hpp"

namespace concerto {
namespace {

constexpr std::uint32_t kImageMagic = 0x4d444943;  // "CIDM"
constexpr std::uint32_t kImageVersion = 1;

template <class T>
[[nodiscard]] bool ascends(const std::vector<T>& values) {
  return std::ranges::adjacent_find(values, std::greater_equal<>{}) == values.end();
}

/// The number that `text` spells with decimal digits only, if it fits.
[[nodiscard]] std::optional<std::uint64_t> parse_number(std::string_view text) {
  std::uint64_t number = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc{} || stop != end) return std::nullopt;
  return number;
}

/// The inverse of a permutation; empty if `order` is none.
[[nodiscard]] std::vector<RowIndex> inverse(const std::vector<RowIndex>& order) {
  std::vector<RowIndex> result(order.size(), kNoRow);
  for (std::size_t k = 0; k < order.size(); ++k) {
    if (order[k] >= order.size() || result[order[k]] != kNoRow) return {};
    result[order[k]] = static_cast<RowIndex>(k);
  }
  return result;
}

}  // namespace

void IdMap::set_order(RowIndex count, std::uint64_t seed, std::uint64_t stream) {
  row_of_rank_ = random_permutation(count, seed, stream);
  rank_of_row_ = inverse(row_of_rank_);
}

IdMap IdMap::indices(RowIndex count, std::uint64_t seed, std::uint64_t stream) {
  IdMap map;
  map.kind_ = IdKind::kIndex;
  map.set_order(count, seed, stream);
  return map;
}

IdMap IdMap::integers(std::vector<std::uint64_t> ids, std::uint64_t seed, std::uint64_t stream) {
  CONCERTO_CHECK(ids.size() < kMaxRows && ascends(ids), "integer ids are distinct and ascend");
  IdMap map;
  map.kind_ = IdKind::kInteger;
  map.integers_ = std::move(ids);
  map.set_order(static_cast<RowIndex>(map.integers_.size()), seed, stream);
  return map;
}

IdMap IdMap::labels(std::vector<std::string> labels, std::uint64_t seed, std::uint64_t stream) {
  CONCERTO_CHECK(labels.size() < kMaxRows && ascends(labels), "labels are distinct and ascend");
  IdMap map;
  map.kind_ = IdKind::kLabel;
  map.set_labels(labels);
  map.set_order(static_cast<RowIndex>(labels.size()), seed, stream);
  return map;
}

void IdMap::set_labels(const std::vector<std::string>& labels) {
  label_ends_.reserve(labels.size());
  for (const std::string& label : labels) {
    label_bytes_ += label;
    label_ends_.push_back(label_bytes_.size());
  }
}

std::string_view IdMap::label(RowIndex rank) const noexcept {
  const std::uint64_t begin = rank == 0 ? 0 : label_ends_[rank - 1];
  return std::string_view(label_bytes_).substr(begin, label_ends_[rank] - begin);
}

std::optional<RowIndex> IdMap::find_label(std::string_view wanted) const {
  RowIndex begin = 0;
  RowIndex end = size();
  while (begin < end) {
    const RowIndex middle = begin + (end - begin) / 2;
    if (label(middle) < wanted) {
      begin = middle + 1;
    } else {
      end = middle;
    }
  }
  if (begin == size() || label(begin) != wanted) return std::nullopt;
  return row_of_rank_[begin];
}

std::optional<RowIndex> IdMap::find(std::string_view id) const {
  if (kind_ == IdKind::kLabel) return find_label(id);
  const std::optional<std::uint64_t> number = parse_number(id);
  return number ? find(*number) : std::nullopt;
}

std::optional<RowIndex> IdMap::find(std::uint64_t id) const {
  switch (kind_) {
    case IdKind::kIndex:
      if (id >= size()) return std::nullopt;
      return row_of_rank_[id];
    case IdKind::kInteger: {
      const auto place = std::ranges::lower_bound(integers_, id);
      if (place == integers_.end() || *place != id) return std::nullopt;
      return row_of_rank_[static_cast<std::size_t>(place - integers_.begin())];
    }
    case IdKind::kLabel:
      return find_label(std::to_string(id));
  }
  return std::nullopt;
}

std::string IdMap::text(RowIndex row) const {
  CONCERTO_CHECK(row < size(), "a row of the table");
  const RowIndex rank = rank_of_row_[row];
  if (kind_ == IdKind::kLabel) return std::string(label(rank));
  return std::to_string(kind_ == IdKind::kInteger ? integers_[rank] : rank);
}

std::vector<std::byte> IdMap::serialize() const {
  ImageWriter image;
  image.value(kImageMagic);
  image.value(kImageVersion);
  image.value(static_cast<std::uint32_t>(kind_));
  image.value(size());
  image.array<RowIndex>(row_of_rank_);
  if (kind_ == IdKind::kInteger) image.array<std::uint64_t>(integers_);
  if (kind_ == IdKind::kLabel) {
    image.array<std::uint64_t>(label_ends_);
    image.array<char>(label_bytes_);
  }
  return image.take();
}

IdMap IdMap::deserialize(std::span<const std::byte> bytes, std::string_view where) {
  ImageReader image(bytes, where);
  if (image.value<std::uint32_t>() != kImageMagic) image.fail("is not an id map");
  if (image.value<std::uint32_t>() != kImageVersion) image.fail("is an id map of an unknown version");
  const auto kind = image.value<std::uint32_t>();
  if (kind > static_cast<std::uint32_t>(IdKind::kLabel)) image.fail("has an unknown kind of ids");
  IdMap map;
  map.kind_ = static_cast<IdKind>(kind);
  const auto count = image.value<RowIndex>();
  map.row_of_rank_ = image.array<RowIndex>(count);
  map.rank_of_row_ = inverse(map.row_of_rank_);
  if (map.rank_of_row_.size() != count) image.fail("has rows that are not a permutation");
  if (map.kind_ == IdKind::kInteger) {
    map.integers_ = image.array<std::uint64_t>(count);
    if (!ascends(map.integers_)) image.fail("has ids that do not ascend");
  }
  if (map.kind_ == IdKind::kLabel) {
    map.label_ends_ = image.array<std::uint64_t>(count);
    if (!std::ranges::is_sorted(map.label_ends_)) image.fail("has label ends that do not ascend");
    map.label_bytes_ = image.text(count == 0 ? 0 : map.label_ends_.back());
    for (RowIndex rank = 1; rank < count; ++rank) {
      if (map.label(rank - 1) >= map.label(rank)) image.fail("has labels that do not ascend");
    }
  }
  image.expect_end();
  return map;
}

}  // namespace concerto
