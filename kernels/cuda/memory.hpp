// What the cuda backend takes of the device, by what takes it: for the prediction before work starts, and for its test
// against what a training really takes. Private to kernels/cuda; others ask cuda_device_bytes (compute/backends.hpp).
#pragma once

#include <cstdint>

#include "concerto/compute/backend.hpp"
#include "concerto/compute/backends.hpp"

namespace concerto::cuda {

/// Bytes, each part at its highest. Upper bounds but for `libraries`; which rows are long is not known, so `solving`
/// may be several times what is met.
struct DeviceBytes {
  std::uint64_t ratings = 0;    ///< both orientations, or the grid of SGD
  std::uint64_t tables = 0;     ///< masters, shadows, biases, accumulators
  std::uint64_t rows = 0;       ///< penalties and plans of rows
  std::uint64_t solving = 0;    ///< scratch of the solver, Gram matrices
  std::uint64_t measuring = 0;  ///< scratch of a loss, of errors, or of a ranking
  std::uint64_t libraries = 0;  ///< what cuBLAS keeps outside the pool

  /// Scratch is not freed between solving and measuring, so parts add up.
  [[nodiscard]] std::uint64_t total() const noexcept {
    return ratings + tables + rows + solving + measuring + libraries;
  }
};

[[nodiscard]] DeviceBytes predict_device_bytes(const MemoryShape& shape, Gather gather);

}  // namespace concerto::cuda
