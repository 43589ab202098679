// XXH3 through libxxhash.
#include "concerto/base/checksum.hpp"

#include <fmt/format.h>
#include <xxhash.h>

namespace concerto {

std::uint64_t checksum(std::span<const std::byte> bytes) noexcept {
  return XXH3_64bits(bytes.data(), bytes.size());
}

struct ChecksumStream::State {
  struct Deleter {
    void operator()(XXH3_state_t* state) const noexcept { XXH3_freeState(state); }
  };
  std::unique_ptr<XXH3_state_t, Deleter> hash{XXH3_createState()};
};

ChecksumStream::ChecksumStream() : state_(std::make_unique<State>()) {
  if (state_->hash == nullptr) throw std::bad_alloc();
  XXH3_64bits_reset(state_->hash.get());
}
ChecksumStream::~ChecksumStream() = default;
ChecksumStream::ChecksumStream(ChecksumStream&&) noexcept = default;
ChecksumStream& ChecksumStream::operator=(ChecksumStream&&) noexcept = default;

void ChecksumStream::restart() noexcept {
  XXH3_64bits_reset(state_->hash.get());
}

void ChecksumStream::update(std::span<const std::byte> bytes) noexcept {
  XXH3_64bits_update(state_->hash.get(), bytes.data(), bytes.size());
}

std::uint64_t ChecksumStream::digest() const noexcept {
  return XXH3_64bits_digest(state_->hash.get());
}

std::string checksum_text(std::uint64_t value) {
  return fmt::format("{:016x}", value);
}

}  // namespace concerto
