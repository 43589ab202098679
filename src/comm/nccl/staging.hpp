// Copies between memory of the host and of the device, and the device memory that they go to.
//
// Copies go through a few pieces of pinned memory: the device reads and writes these alone, so that memory of a caller
// is touched by the calling thread and nobody else, and is free the moment that thread lets go of it.
#pragma once

#include <array>
#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <span>

#include "nccl_device.hpp"

namespace concerto {

/// Asked between two pieces: true ends a copy where it is.
using GivenUp = std::function<bool()>;

/// One direction's copies, in a stream of its own. For one thread. What the device refuses throws std::runtime_error.
class StagingPath {
 public:
  static constexpr std::size_t kPieces = 4;
  static constexpr std::size_t kPieceBytes = std::size_t{2} << 20;

  explicit StagingPath(NcclDevice& device);
  ~StagingPath();
  StagingPath(const StagingPath&) = delete;
  StagingPath& operator=(const StagingPath&) = delete;

  [[nodiscard]] NcclDevice::Stream stream() const noexcept { return stream_; }

  /// Returns when `from` has been read; it is at `to` when stream() reaches this call. False: given up on the way.
  [[nodiscard]] bool upload(std::byte* to, std::span<const std::byte> from, const GivenUp& given_up);
  /// Returns when `to` is filled from what is on the device at the time of the call. False: given up on the way.
  [[nodiscard]] bool download(std::span<std::byte> to, const std::byte* from, const GivenUp& given_up);

 private:
  struct Piece {
    std::byte* memory = nullptr;
    NcclDevice::Mark passed = nullptr;  ///< of the copy that uses it; null: none
  };
  [[nodiscard]] Piece& piece(std::size_t index) { return pieces_[index % kPieces]; }
  [[nodiscard]] bool await(Piece& piece, const GivenUp& given_up);

  NcclDevice& device_;
  NcclDevice::Stream stream_ = nullptr;
  std::array<Piece, kPieces> pieces_;
  std::size_t next_ = 0;  ///< of upload()
};

/// Device memory for one operation after another. It grows to what operations at one time need, in powers of two, and
/// is given back to the device at the end only: the device may wait for all its work when memory is freed. Thread-safe.
class StagingBuffers {
 public:
  explicit StagingBuffers(NcclDevice& device) : device_(device) {}
  ~StagingBuffers();
  StagingBuffers(const StagingBuffers&) = delete;
  StagingBuffers& operator=(const StagingBuffers&) = delete;

  /// At least so many bytes; of 0 bytes nothing. What the device refuses throws std::runtime_error.
  [[nodiscard]] std::span<std::byte> take(std::size_t bytes);
  /// Of take(), with nothing on its way to it or from it.
  void give_back(std::span<std::byte> memory);

 private:
  NcclDevice& device_;
  std::mutex mutex_;
  std::map<std::byte*, std::size_t> all_;
  std::multimap<std::size_t, std::byte*> idle_;  ///< by size
};

/// What staging has on a device.
struct Staging {
  /// What the device refuses throws std::runtime_error.
  explicit Staging(std::unique_ptr<NcclDevice> of)
      : device(std::move(of)), buffers(*device), uploads(*device), downloads(*device) {}

  std::unique_ptr<NcclDevice> device;
  StagingBuffers buffers;  ///< given back after the streams have been closed
  StagingPath uploads;
  StagingPath downloads;
};

}  // namespace concerto
