// The half-gradient of the explicit objective at one entry, in double.
//
// Summed over all entries these are half the derivatives of the whole objective: the penalty of a row with n entries is
// shared out as lambda n^(nu - 1) an entry. Apart from sgd.cpp so that a test can hold it against finite differences.
#pragma once

#include <cstddef>
#include <span>

#include "concerto/model/objective.hpp"

namespace concerto::reference {

/// What the update of an entry needs to know of one of its two rows.
struct SgdDecay {
  double factors = 0.0;  ///< lambda n^(nu - 1)
  double bias = 0.0;     ///< lambda_b n^(nu - 1)
};

/// The decay of a row with `count` >= 1 entries.
[[nodiscard]] inline SgdDecay sgd_decay(const Objective& objective, double count) noexcept {
  return {objective.penalty(count, 0.0) / count, objective.bias_penalty(count) / count};
}

/// r - mean - b_u - b_i - x.y
[[nodiscard]] inline double sgd_error(const Objective& objective, double value, std::span<const double> x,
                                      double user_bias, std::span<const double> y, double item_bias) noexcept {
  double score = objective.mean + user_bias + item_bias;
  for (std::size_t c = 0; c < x.size(); ++c) score += x[c] * y[c];
  return value - score;
}

/// The half-gradient by a row: -error * other + decay * own.
inline void sgd_gradient(double error, double decay, std::span<const double> own, std::span<const double> other,
                         std::span<double> gradient) noexcept {
  for (std::size_t c = 0; c < own.size(); ++c) gradient[c] = -error * other[c] + decay * own[c];
}

/// The half-gradient by a row's bias.
[[nodiscard]] inline double sgd_bias_gradient(double error, double decay, double bias) noexcept {
  return -error + decay * bias;
}

}  // namespace concerto::reference
