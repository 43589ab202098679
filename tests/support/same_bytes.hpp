// Equality of tables as bytes, not as numbers: -0 differs from 0, and a NaN equals itself.
#pragma once

#include <algorithm>
#include <span>

#include "concerto/base/ids.hpp"
#include "concerto/model/factors.hpp"

namespace concerto::test {

template <class T>
bool same_bytes(std::span<const T> a, std::span<const T> b) {
  return std::ranges::equal(std::as_bytes(a), std::as_bytes(b));
}

/// Equal shapes, factors and biases; what lies between the rank and the stride is not looked at.
inline bool same_bytes(const FactorTable& a, const FactorTable& b) {
  if (!(a.shape() == b.shape())) return false;
  for (RowIndex row = 0; row < a.rows(); ++row) {
    if (!same_bytes<float>(a.row(row), b.row(row))) return false;
  }
  return same_bytes<float>(a.biases(), b.biases());
}

}  // namespace concerto::test
