// Which row of a step had an exact system that is not positive definite: kernels note it on the device, the host asks
// when the step's work is in the stream.
#pragma once

#include <cstdint>

#include "concerto/base/ids.hpp"
#include "concerto/compute/row_errors.hpp"

#include "cuda_backend.hpp"

namespace concerto::cuda {

/// The least row that failed, kept as its complement, so that zeroed memory says "none".
class FailedRow {
 public:
  FailedRow(MemoryPool& pool, const Stream& stream) : complement_(pool, 1, "the failed row of a step") {
    fill_zero(stream, complement_.data(), sizeof(std::uint32_t));
  }
  /// What kernels note into (note_failed_row in row_system.cuh).
  [[nodiscard]] std::uint32_t* device() noexcept { return complement_.data(); }
  /// Waits for the stream, and throws not_positive_definite where a row has failed.
  void check(const Stream& stream, RowSystem system, const RatingsBuffer& ratings, const Objective& objective) const {
    std::uint32_t complement = 0;
    copy_to_host(stream, &complement, complement_.data(), sizeof complement);
    stream.wait();
    if (complement == 0) return;
    const RowIndex row = ~complement;
    throw not_positive_definite(system, row, ratings.host_offsets[row + 1] - ratings.host_offsets[row], objective);
  }

 private:
  DeviceArray<std::uint32_t> complement_;
};

}  // namespace concerto::cuda
