// See packed_gram.hpp.
#include "packed_gram.hpp"

#include <algorithm>

namespace concerto {
namespace {

constexpr std::size_t kRowsOfGroup = 1024;
constexpr RowIndex kGroupsAtATime = 64;  // bounds the memory of sums

}  // namespace

PackedGram::PackedGram(Backend& backend, const TableShape& shape, std::span<const RowRange> rows)
    : backend_(backend), rank_(shape.rank) {
  groups_.column_count = shape.rows;
  groups_.offsets.push_back(0);
  for (const RowRange range : rows) {
    for (RowIndex r = range.begin; r < range.end; ++r) {
      groups_.columns.push_back(r);
      if (groups_.columns.size() % kRowsOfGroup == 0) groups_.offsets.push_back(groups_.columns.size());
    }
  }
  if (groups_.offsets.back() != groups_.columns.size()) groups_.offsets.push_back(groups_.columns.size());
  groups_.rows = static_cast<RowIndex>(groups_.offsets.size() - 1);
  ratings_ = backend.load_ratings(groups_.view());
}

std::vector<float> PackedGram::of(const Buffer& table) const {
  const SystemLayout layout{rank_, false};
  Objective ones;  // an entry without a value weighs 1
  ones.kind = ObjectiveKind::kImplicitUnobserved;
  std::vector<double> sum(layout.gram_floats(), 0.0);
  std::vector<float> systems;
  for (RowIndex begin = 0; begin < groups_.rows; begin += kGroupsAtATime) {
    const RowRange rows{begin, std::min(groups_.rows, begin + kGroupsAtATime)};
    systems.resize(rows.size() * layout.floats());
    backend_.sum_systems({.ratings = ratings_.get(), .fixed = &table, .rows = rows, .objective = ones}, systems);
    for (std::size_t g = 0; g < rows.size(); ++g) {
      const float* of_group = systems.data() + g * layout.floats();
      for (std::size_t k = 0; k < sum.size(); ++k) sum[k] += static_cast<double>(of_group[k]);
    }
  }
  std::vector<float> gram(sum.size());
  std::ranges::transform(sum, gram.begin(), [](double value) { return static_cast<float>(value); });
  return gram;
}

double inner_product(std::span<const float> a, std::span<const float> b, std::uint32_t rank) {
  double sum = 0.0;
  std::size_t k = 0;
  for (std::uint32_t i = 0; i < rank; ++i) {
    for (std::uint32_t j = i; j < rank; ++j, ++k) {
      sum += (i == j ? 1.0 : 2.0) * static_cast<double>(a[k]) * static_cast<double>(b[k]);
    }
  }
  return sum;
}

}  // namespace concerto
