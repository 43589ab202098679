// The three objectives as one: what an observed entry adds to its row's system, what a row is penalized with, what a
// score costs. Every backend and the loss read the weights from here, so they cannot disagree.
//
// In each case the system of a row with entries k (value r_k, other side's vector y_k and bias b_k) is
//   (base * Y^T Y + sum_k gram_k y_k y_k^T + penalty I) x = sum_k right_k y_k.
//   explicit              base 0    gram 1          right r - mean - b_k        (own bias eliminated, see solvers)
//   implicit, unobserved  base a0   gram w          right w                     w = r, or 1 with values ignored
//   implicit, alpha       base 1    gram c - 1      right c p                   p = r > 0; c = 1 + alpha |r| or alpha
//   |r|
// What an entry adds is constexpr, so that kernels on a device call the same functions.
// Sources: Zhou et al. 2008 (ALS-WR); Rendle et al. 2022 (unobserved weight, frequency-scaled regularization); Hu,
// Koren and Volinsky 2008 (confidence).
#pragma once

#include <cmath>
#include <cstdint>

namespace concerto {

enum class ObjectiveKind : std::uint8_t { kExplicit, kImplicitUnobserved, kImplicitAlpha };
enum class Confidence : std::uint8_t { kOnePlus, kProduct };

struct Objective {
  ObjectiveKind kind = ObjectiveKind::kExplicit;
  double regularization = 0.05;          ///< lambda
  double regularization_exponent = 1.0;  ///< nu
  bool biases = false;                   ///< explicit only
  double bias_regularization = 0.05;
  double mean = 0.0;               ///< mu; 0 unless explicit
  double unobserved_weight = 0.1;  ///< a0
  double alpha = 1.0;
  Confidence confidence = Confidence::kOnePlus;

  struct EntryWeights {
    float gram;  ///< may be negative
    float right;
  };

  [[nodiscard]] constexpr bool is_implicit() const noexcept { return kind != ObjectiveKind::kExplicit; }

  /// The weight of Y^T Y in every row's system, and of (x.y)^2 over all pairs in the loss.
  [[nodiscard]] constexpr double base_weight() const noexcept {
    switch (kind) {
      case ObjectiveKind::kImplicitUnobserved:
        return unobserved_weight;
      case ObjectiveKind::kImplicitAlpha:
        return 1.0;
      case ObjectiveKind::kExplicit:
        break;
    }
    return 0.0;
  }

  /// c of the alpha form for an observed value.
  [[nodiscard]] constexpr float observed_confidence(float value) const noexcept {
    const float scaled = static_cast<float>(alpha) * (value < 0.0F ? -value : value);
    return confidence == Confidence::kOnePlus ? 1.0F + scaled : scaled;
  }

  /// What an entry adds to its row's system; `other_bias` is the bias of the column (0 without biases).
  [[nodiscard]] constexpr EntryWeights entry_weights(float value, float other_bias) const noexcept {
    switch (kind) {
      case ObjectiveKind::kImplicitUnobserved:
        return {value, value};
      case ObjectiveKind::kImplicitAlpha: {
        const float c = observed_confidence(value);
        return {c - 1.0F, value > 0.0F ? c : 0.0F};
      }
      case ObjectiveKind::kExplicit:
        break;
    }
    return {1.0F, value - static_cast<float>(mean) - other_bias};
  }

  /// What an entry adds to the loss beyond the all-pairs term base_weight * (x.y)^2, given its score (x.y, and for
  /// explicit x.y + mean + both biases).
  [[nodiscard]] constexpr double entry_loss(float value, double score) const noexcept {
    switch (kind) {
      case ObjectiveKind::kImplicitUnobserved:
        return value * (score - 1.0) * (score - 1.0);
      case ObjectiveKind::kImplicitAlpha: {
        const double c = observed_confidence(value);
        const double p = value > 0.0F ? 1.0 : 0.0;
        return c * (p - score) * (p - score) - score * score;
      }
      case ObjectiveKind::kExplicit:
        break;
    }
    return (value - score) * (value - score);
  }

  /// Does an entry of this value count in n_u, n_i? (alpha form: only r > 0; else all.)
  [[nodiscard]] constexpr bool counts(float value) const noexcept {
    return kind != ObjectiveKind::kImplicitAlpha || value > 0.0F;
  }

  /// lambda * n^nu of a row with `count` counted entries where the other side has `other_rows` rows. With the
  /// unobserved form n = count + a0 * other_rows. A row with n = 0 has penalty lambda * 0^nu (lambda if nu = 0).
  [[nodiscard]] double penalty(double count, double other_rows) const noexcept {
    const double n = kind == ObjectiveKind::kImplicitUnobserved ? count + unobserved_weight * other_rows : count;
    return regularization * std::pow(n, regularization_exponent);
  }
  /// lambda_b * n^nu, the bias's penalty; explicit only.
  [[nodiscard]] double bias_penalty(double count) const noexcept {
    return bias_regularization * std::pow(count, regularization_exponent);
  }
};

}  // namespace concerto
