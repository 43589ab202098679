// One thread's memory in subspace steps, free of vector types. Private to kernels/cpu.
#pragma once

#include <cstddef>

#include "concerto/base/aligned.hpp"

namespace concerto::cpu {

/// Rows side by side: the Gram's columns are read once for all of them.
inline constexpr std::size_t kSubspaceRows = 32;
/// Entries of rows side by side, a longer row alone.
inline constexpr std::size_t kSubspaceEntries = 65536;

struct SubspaceScratch {
  AlignedVector<float> panel;     ///< gathered slices of rows
  AlignedVector<float> weighted;  ///< the same times their weights
  AlignedVector<float> system;    ///< the slice's matrix, then its factor
  AlignedVector<float> inverses;  ///< of the factor's diagonal blocks
  AlignedVector<float> gradient;  ///< then the slice's change
  AlignedVector<float> sum;       ///< the slice of a row's sum of y
  AlignedVector<float> weights;   ///< of a panel's entries, in the Gram
  AlignedVector<float> rights;    ///< of a panel's entries, on the right side
  AlignedVector<float> scores;    ///< of all entries of the rows side by side
  AlignedVector<float> sums;      ///< sums of y of the rows side by side
  AlignedVector<float> products;  ///< slices of x * gram of the rows side by side
  AlignedVector<float> zero_row;  ///< stands in for missing rows of a group
};

}  // namespace concerto::cpu
