// Ranks meet in the store, where the first has left the names of their NCCL communicators.
#include "nccl_factory.hpp"

#include <cstring>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "concerto/base/check.hpp"
#include "concerto/base/checksum.hpp"
#include "concerto/base/error.hpp"

#include "nccl_communicator.hpp"
#include "rendezvous.hpp"
#include "staged_communicator.hpp"

namespace concerto {
namespace {

using Ids = NcclCommunicator::Ids;

[[noreturn]] void refuse_device(const NcclOptions& options, const std::runtime_error& error) {
  throw Error(ErrorCode::kUnsupported, fmt::format("device {} cannot be used", options.device), "", error.what());
}

/// What a rank has to tell the others: the first, the names; the rest, that they are here, each in words of its own, so
/// that two processes of one rank are noticed.
Result<std::string> announcement(const nccl::Api& api, Rank rank, Rank size) {
  if (rank != 0) {
    std::random_device random;
    return fmt::format("here {:08x}{:08x}", random(), random());
  }
  Ids ids(nccl_lanes(size));
  for (nccl::UniqueId& id : ids) {
    if (const nccl::Status status = api.get_unique_id(&id); status != nccl::Status::kSuccess) {
      return Failure{FailureKind::kUnreachable,
                     fmt::format("NCCL cannot name a communicator: {}", api.error_string(status))};
    }
  }
  return std::string(reinterpret_cast<const char*>(ids.data()), ids.size() * sizeof(nccl::UniqueId));
}

Result<Ids> meet(Store& store, const nccl::Api& api, Rank rank, Rank size, const std::string& prefix,
                 Deadline deadline) {
  const std::string place = prefix + "/nccl";
  const Result<std::string> mine = announcement(api, rank, size);
  if (!mine) return mine.failure();
  if (const Result<void> announced = announce(store, rank, place, mine.value(), deadline); !announced) {
    return announced.failure();
  }
  const Result<std::vector<std::string>> all = await_announcements(store, size, place, deadline);
  if (!all) return all.failure();
  Ids ids(nccl_lanes(size));
  const std::string& names = all.value()[0];
  if (names.size() != ids.size() * sizeof(nccl::UniqueId)) {
    return Failure{FailureKind::kCorrupt, "what rank 0 announced does not name NCCL communicators"};
  }
  std::memcpy(ids.data(), names.data(), names.size());
  return ids;
}

}  // namespace

Result<std::unique_ptr<Communicator>> connect_nccl(Store& store, NcclLibrary library,
                                                   std::unique_ptr<NcclDevice> device, Rank rank, Rank size,
                                                   const NcclOptions& options, const CommLimits& limits) {
  CONCERTO_CHECK(rank < size, "a rank outside its group");
  const Deadline deadline = std::chrono::steady_clock::now() + limits.connect;
  const Result<Ids> ids = meet(store, library.api(), rank, size, options.prefix, deadline);
  if (!ids) return ids.failure();
  const std::uint64_t group = checksum(std::as_bytes(std::span(options.prefix)));
  std::unique_ptr<NcclCommunicator> communicator;
  try {
    communicator = std::make_unique<NcclCommunicator>(std::move(library), std::move(device), rank, size, group,
                                                      ids.value(), options, limits);
  } catch (const std::runtime_error& error) {
    refuse_device(options, error);
  }
  if (const Result<void> connected = communicator->await_connected(deadline); !connected) return connected.failure();
  return std::unique_ptr<Communicator>(std::move(communicator));
}

Result<std::unique_ptr<Communicator>> connect_staged_nccl(Store& store, NcclLibrary library,
                                                          std::unique_ptr<NcclDevice> device,
                                                          std::unique_ptr<NcclDevice> of_staging, Rank rank, Rank size,
                                                          const NcclOptions& options, const CommLimits& limits) {
  std::unique_ptr<Staging> staging;
  try {
    staging = std::make_unique<Staging>(std::move(of_staging));
  } catch (const std::runtime_error& error) {
    refuse_device(options, error);
  }
  NcclOptions with_stream = options;
  with_stream.stream = staging->uploads.stream();
  auto below = connect_nccl(store, std::move(library), std::move(device), rank, size, with_stream, limits);
  if (!below) return below.failure();
  return std::unique_ptr<Communicator>(
      std::make_unique<StagedCommunicator>(std::move(staging), std::move(below).value(), limits));
}

Result<std::unique_ptr<Communicator>> make_nccl_communicator(Store& store, Rank rank, Rank size,
                                                             const NcclOptions& options, const CommLimits& limits) {
  return connect_nccl(store, NcclLibrary(options.library), open_cuda_device(options.cuda_runtime, options.device), rank,
                      size, options, limits);
}

Result<std::unique_ptr<Communicator>> make_staged_nccl_communicator(Store& store, Rank rank, Rank size,
                                                                    const NcclOptions& options,
                                                                    const CommLimits& limits) {
  return connect_staged_nccl(store, NcclLibrary(options.library),
                             open_cuda_device(options.cuda_runtime, options.device),
                             open_cuda_device(options.cuda_runtime, options.device), rank, size, options, limits);
}

std::string nccl_device_place(const NcclOptions& options) {
  const NcclLibrary library(options.library);
  const auto device = open_cuda_device(options.cuda_runtime, options.device);
  try {
    return device->place();
  } catch (const std::runtime_error& error) {
    refuse_device(options, error);
  }
}

std::string nccl_obstacle(const NcclOptions& options) {
  try {
    (void)nccl_device_place(options);
  } catch (const Error& error) {
    return error.message();
  }
  return "";
}

}  // namespace concerto
