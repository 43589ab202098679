// The linear system of one row, as ALS and subspace share it.
//
//   A = base Y^T Y + sum_k g_k y_k y_k^T + penalty I - s s^T / d       right = sum_k h_k y_k - s q / d
//   bias = (q - s.x) / d
// where g_k and h_k come from Objective::entry_weights and, with biases, s = sum y_k, q = sum h_k and d = n + w (w the
// row's bias penalty): the bias is the minimizer for any x, and has been eliminated. Without biases the terms in s are
// absent. Derived from setting the derivative by the bias to zero: d b = q - s.x.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "reference_backend.hpp"

namespace concerto::reference {

class RowSystem {
 public:
  /// `gram` may be null for explicit objectives only.
  RowSystem(const CompressedRows& matrix, RowIndex row, const FactorTable& fixed, const Gram* gram,
            const Objective& objective);

  /// Does any entry count? If none does, the row is zero.
  [[nodiscard]] bool has_entries() const noexcept { return count_ > 0; }
  /// A x; rank values.
  [[nodiscard]] std::vector<double> apply(std::span<const double> x) const;
  /// The right side.
  [[nodiscard]] const std::vector<double>& right() const noexcept { return right_; }
  /// The rows and columns [begin, end) of A, row-major.
  [[nodiscard]] std::vector<double> matrix(std::size_t begin, std::size_t end) const;
  /// The bias that goes with x; 0 without biases.
  [[nodiscard]] double bias(std::span<const double> x) const noexcept;

 private:
  const FactorTable* fixed_;
  const Gram* gram_;
  std::span<const RowIndex> columns_;
  std::vector<double> gram_weights_;
  std::vector<double> right_;
  std::vector<double> sum_;    ///< s; empty without biases
  double residual_sum_ = 0.0;  ///< q
  double bias_divisor_ = 1.0;  ///< d
  double base_ = 0.0;
  double penalty_ = 0.0;
  EntryIndex count_ = 0;
};

/// Solves the symmetric positive definite system a x = b in place (x replaces b) by Cholesky's decomposition.
/// Directions that `a` does not determine (a pivot not above rounding) get 0, so that singular systems give finite
/// rows.
void solve_symmetric(std::vector<double>& a, std::vector<double>& b);

using LinearMap = std::function<std::vector<double>(std::span<const double>)>;
/// Hestenes and Stiefel's method from `x` for apply(x) = right: at most `steps` steps, none once |residual|^2 is
/// negligible beside |right|^2 or the direction is not one of positive curvature.
[[nodiscard]] std::vector<double> solve_by_cg(const LinearMap& apply, std::span<const double> right,
                                              std::vector<double> x, std::uint32_t steps);

/// The row of `table` in double.
[[nodiscard]] std::vector<double> row_as_double(const FactorTable& table, RowIndex row);
/// Stores a row, and its bias where the table has biases.
void store_row(FactorTable& table, RowIndex row, std::span<const double> x, double bias);

}  // namespace concerto::reference
