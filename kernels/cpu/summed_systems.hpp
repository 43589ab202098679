// The packed systems of a step as vector code takes them. Private to kernels/cpu.
#pragma once

#include <cstddef>
#include <span>

#include "concerto/base/ids.hpp"

namespace concerto::cpu {

struct SummedSystems {
  std::span<const float> systems;
  std::span<const EntryIndex> counts;
  RowIndex first_row = 0;
  std::size_t floats = 0;  ///< of a system
  bool exactly = false;    ///< by Cholesky

  [[nodiscard]] const float* system(RowIndex row) const noexcept { return systems.data() + (row - first_row) * floats; }
  [[nodiscard]] double counted(RowIndex row) const noexcept { return static_cast<double>(counts[row - first_row]); }
};

}  // namespace concerto::cpu
