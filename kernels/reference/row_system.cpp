// Building, applying and solving the system of one row.
#include "row_system.hpp"

#include <algorithm>
#include <cmath>

namespace concerto::reference {
namespace {

double dot_double(std::span<const double> x, std::span<const double> y) noexcept {
  double sum = 0.0;
  for (std::size_t c = 0; c < x.size(); ++c) sum += x[c] * y[c];
  return sum;
}

double square(std::span<const double> x) noexcept {
  double sum = 0.0;
  for (const double value : x) sum += value * value;
  return sum;
}

}  // namespace

RowSystem::RowSystem(const CompressedRows& matrix, RowIndex row, const FactorTable& fixed, const Gram* gram,
                     const Objective& objective)
    : fixed_(&fixed), gram_(gram), columns_(matrix.row_columns(row)), right_(fixed.rank(), 0.0) {
  CONCERTO_CHECK(gram != nullptr || !objective.is_implicit(), "implicit objectives need the Gram matrix");
  CONCERTO_CHECK(matrix.column_count == fixed.rows(), "the ratings and the fixed side differ in size");
  count_ = counted_entries(matrix, row, objective);
  base_ = objective.base_weight();
  penalty_ = objective.penalty(static_cast<double>(count_), matrix.column_count);
  if (objective.biases) {
    sum_.assign(fixed.rank(), 0.0);
    bias_divisor_ = static_cast<double>(count_) + objective.bias_penalty(static_cast<double>(count_));
  }
  for (EntryIndex k = 0; k < columns_.size(); ++k) {
    const RowIndex column = columns_[k];
    const auto weights = objective.entry_weights(matrix.value(matrix.offsets[row] + k), fixed.bias(column));
    const auto y = fixed.row(column);
    gram_weights_.push_back(weights.gram);
    for (std::size_t c = 0; c < y.size(); ++c) right_[c] += double{weights.right} * y[c];
    for (std::size_t c = 0; c < sum_.size(); ++c) sum_[c] += y[c];
    residual_sum_ += weights.right;
  }
  for (std::size_t c = 0; c < sum_.size(); ++c) right_[c] -= sum_[c] * residual_sum_ / bias_divisor_;
}

std::vector<double> RowSystem::apply(std::span<const double> x) const {
  const std::size_t rank = x.size();
  std::vector<double> result(rank);
  for (std::size_t c = 0; c < rank; ++c) {
    result[c] = penalty_ * x[c];
    if (base_ != 0.0) result[c] += base_ * dot_double({gram_->values.data() + c * rank, rank}, x);
  }
  for (std::size_t k = 0; k < columns_.size(); ++k) {
    const auto y = fixed_->row(columns_[k]);
    double score = 0.0;
    for (std::size_t c = 0; c < rank; ++c) score += x[c] * y[c];
    for (std::size_t c = 0; c < rank; ++c) result[c] += gram_weights_[k] * score * y[c];
  }
  if (!sum_.empty()) {
    const double share = dot_double(sum_, x) / bias_divisor_;
    for (std::size_t c = 0; c < rank; ++c) result[c] -= sum_[c] * share;
  }
  return result;
}

std::vector<double> RowSystem::matrix(std::size_t begin, std::size_t end) const {
  const std::size_t size = end - begin;
  std::vector<double> a(size * size, 0.0);
  for (const RowIndex& column : columns_) {
    const double weight = gram_weights_[static_cast<std::size_t>(&column - columns_.data())];
    const auto y = fixed_->row(column).subspan(begin, size);
    for (std::size_t i = 0; i < size; ++i) {
      for (std::size_t j = 0; j < size; ++j) a[i * size + j] += weight * y[i] * y[j];
    }
  }
  for (std::size_t i = 0; i < size; ++i) {
    a[i * size + i] += penalty_;
    for (std::size_t j = 0; j < size; ++j) {
      if (base_ != 0.0) a[i * size + j] += base_ * gram_->at(begin + i, begin + j);
      if (!sum_.empty()) a[i * size + j] -= sum_[begin + i] * sum_[begin + j] / bias_divisor_;
    }
  }
  return a;
}

double RowSystem::bias(std::span<const double> x) const noexcept {
  return sum_.empty() ? 0.0 : (residual_sum_ - dot_double(sum_, x)) / bias_divisor_;
}

void solve_symmetric(std::vector<double>& a, std::vector<double>& b) {
  const std::size_t size = b.size();
  double largest = 0.0;
  for (std::size_t i = 0; i < size; ++i) largest = std::max(largest, a[i * size + i]);
  const double floor = largest * 1e-12;
  std::vector<double> inverse_pivots(size, 0.0);
  for (std::size_t j = 0; j < size; ++j) {
    double* row_j = a.data() + j * size;
    const double pivot = row_j[j] - dot_double({row_j, j}, {row_j, j});
    inverse_pivots[j] = pivot > floor ? 1.0 / std::sqrt(pivot) : 0.0;
    for (std::size_t i = j + 1; i < size; ++i) {
      double* row_i = a.data() + i * size;
      row_i[j] = (row_i[j] - dot_double({row_i, j}, {row_j, j})) * inverse_pivots[j];
    }
  }
  for (std::size_t i = 0; i < size; ++i) {
    b[i] = (b[i] - dot_double({a.data() + i * size, i}, {b.data(), i})) * inverse_pivots[i];
  }
  for (std::size_t i = size; i-- > 0;) {
    for (std::size_t k = i + 1; k < size; ++k) b[i] -= a[k * size + i] * b[k];
    b[i] *= inverse_pivots[i];
  }
}

std::vector<double> solve_by_cg(const LinearMap& apply, std::span<const double> right, std::vector<double> x,
                                std::uint32_t steps) {
  std::vector<double> residual(right.begin(), right.end());
  const double negligible = kCgNegligible * square(residual);
  const std::vector<double> start = apply(x);
  for (std::size_t c = 0; c < x.size(); ++c) residual[c] -= start[c];
  std::vector<double> direction = residual;
  double norm = square(residual);
  for (std::uint32_t step = 0; step < steps && norm > negligible; ++step) {
    const std::vector<double> image = apply(direction);
    double curvature = 0.0;
    for (std::size_t c = 0; c < x.size(); ++c) curvature += direction[c] * image[c];
    if (!(curvature > 0.0)) break;
    const double length = norm / curvature;
    for (std::size_t c = 0; c < x.size(); ++c) {
      x[c] += length * direction[c];
      residual[c] -= length * image[c];
    }
    const double next = square(residual);
    for (std::size_t c = 0; c < x.size(); ++c) direction[c] = residual[c] + next / norm * direction[c];
    norm = next;
  }
  return x;
}

std::vector<double> row_as_double(const FactorTable& table, RowIndex row) {
  const auto values = table.row(row);
  return {values.begin(), values.end()};
}

void store_row(FactorTable& table, RowIndex row, std::span<const double> x, double bias) {
  const auto values = table.row(row);
  for (std::size_t c = 0; c < x.size(); ++c) values[c] = static_cast<float>(x[c]);
  if (table.shape().biases) table.biases()[row] = static_cast<float>(bias);
}

}  // namespace concerto::reference
