// Making a communicator of devices from its parts; tests give others than the real ones.
#pragma once

#include <memory>

#include "concerto/comm/communicators.hpp"

#include "nccl_device.hpp"
#include "nccl_library.hpp"

namespace concerto {

/// As make_nccl_communicator.
[[nodiscard]] Result<std::unique_ptr<Communicator>> connect_nccl(Store& store, NcclLibrary library,
                                                                 std::unique_ptr<NcclDevice> device, Rank rank,
                                                                 Rank size, const NcclOptions& options,
                                                                 const CommLimits& limits);

/// As make_staged_nccl_communicator; both devices are the same one.
[[nodiscard]] Result<std::unique_ptr<Communicator>> connect_staged_nccl(
    Store& store, NcclLibrary library, std::unique_ptr<NcclDevice> device, std::unique_ptr<NcclDevice> of_staging,
    Rank rank, Rank size, const NcclOptions& options, const CommLimits& limits);

}  // namespace concerto
