// Pieces of pinned memory in turn, and device memory by size.
#include "staging.hpp"

#include <algorithm>
#include <bit>
#include <chrono>
#include <cstring>
#include <thread>
#include <utility>

#include "concerto/base/check.hpp"

namespace concerto {
namespace {

/// How often the device is asked whether a copy is done.
constexpr std::chrono::microseconds kPause{20};
constexpr std::size_t kLeastBuffer = std::size_t{64} << 10;

/// The `index`th piece's part of `bytes`.
std::pair<std::size_t, std::size_t> part(std::size_t bytes, std::size_t index) {
  const std::size_t offset = index * StagingPath::kPieceBytes;
  return {offset, std::min(StagingPath::kPieceBytes, bytes - offset)};
}

}  // namespace

StagingPath::StagingPath(NcclDevice& device) : device_(device) {
  stream_ = device_.open_stream();
  for (Piece& piece : pieces_) piece.memory = device_.allocate_on_host(kPieceBytes);
}

StagingPath::~StagingPath() {
  for (const Piece& piece : pieces_) {
    if (piece.passed != nullptr) device_.release(piece.passed);
  }
  device_.close_stream(stream_);
  for (const Piece& piece : pieces_) device_.free_on_host(piece.memory);
}

/// Until the device does not use the piece any more.
bool StagingPath::await(Piece& piece, const GivenUp& given_up) {
  while (piece.passed != nullptr) {
    if (given_up()) return false;
    if (device_.is_reached(piece.passed)) {
      device_.release(std::exchange(piece.passed, nullptr));
    } else {
      std::this_thread::sleep_for(kPause);
    }
  }
  return !given_up();
}

bool StagingPath::upload(std::byte* to, std::span<const std::byte> from, const GivenUp& given_up) {
  for (std::size_t index = 0; index * kPieceBytes < from.size(); ++index) {
    const auto [offset, bytes] = part(from.size(), index);
    Piece& through = piece(next_++);
    if (!await(through, given_up)) return false;
    std::memcpy(through.memory, from.data() + offset, bytes);
    device_.copy(stream_, to + offset, through.memory, bytes);
    through.passed = device_.mark(stream_);
  }
  return true;
}

bool StagingPath::download(std::span<std::byte> to, const std::byte* from, const GivenUp& given_up) {
  const std::size_t count = (to.size() + kPieceBytes - 1) / kPieceBytes;
  std::size_t begun = 0;
  for (std::size_t index = 0; index < count; ++index) {
    for (; begun < std::min(count, index + kPieces); ++begun) {
      const auto [offset, bytes] = part(to.size(), begun);
      device_.copy(stream_, piece(begun).memory, from + offset, bytes);
      piece(begun).passed = device_.mark(stream_);
    }
    if (!await(piece(index), given_up)) return false;
    const auto [offset, bytes] = part(to.size(), index);
    std::memcpy(to.data() + offset, piece(index).memory, bytes);
  }
  return true;
}

StagingBuffers::~StagingBuffers() {
  for (const auto& [memory, bytes] : all_) device_.free(memory);
}

std::span<std::byte> StagingBuffers::take(std::size_t bytes) {
  if (bytes == 0) return {};
  const std::lock_guard lock(mutex_);
  if (const auto found = idle_.lower_bound(bytes); found != idle_.end()) {
    const std::span<std::byte> memory(found->second, found->first);
    idle_.erase(found);
    return memory;
  }
  const std::size_t size = std::bit_ceil(std::max(bytes, kLeastBuffer));
  std::byte* memory = device_.allocate(size);
  all_.emplace(memory, size);
  return {memory, size};
}

void StagingBuffers::give_back(std::span<std::byte> memory) {
  if (memory.empty()) return;
  const std::lock_guard lock(mutex_);
  CONCERTO_CHECK(all_.contains(memory.data()), "memory that is not of these buffers");
  idle_.emplace(memory.size(), memory.data());
}

}  // namespace concerto
