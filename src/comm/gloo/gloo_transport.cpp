// Messages over Gloo's unbound buffers.
//
// How Gloo 0.5 behaves, and what is made of it here:
// - A buffer stands for memory at an address and counts completions of what was posted on it; it does not say which.
//   A link has one buffer over all memory and posts places in it. Messages with one peer on one slot complete in order.
// - When a connection ends, those buffers learn of it that still have something queued, not those whose message is half
//   way through. Each buffer therefore has one more receive posted, on a slot on which nobody ever sends.
// - A wait that runs into its own time limit ends every connection and wakes waits for other reasons too. Waits here
//   have none: the communicator's deadlines interrupt them.
// - Destroying a buffer waits until its memory is not touched any more; closing connections does not.
// - A message that is larger than its place ends the process. Headers are compared before places are made.
#include "gloo_transport.hpp"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <mutex>
#include <string_view>
#include <utility>

#include <fmt/format.h>
#include <gloo/transport/address.h>
#include <gloo/transport/context.h>
#include <gloo/transport/pair.h>
#include <gloo/transport/tcp/device.h>

#include "concerto/base/error.hpp"

#include "threads.hpp"

namespace concerto {
namespace {

using Buffer = gloo::transport::UnboundBuffer;

/// A slot on which nothing is ever sent.
constexpr std::uint64_t kSilentSlot = 0xff;
constexpr std::chrono::milliseconds kForever = std::chrono::hours(24 * 365);

std::uint64_t slot_of(Stream stream) {
  return static_cast<std::uint64_t>(stream);
}

/// Gloo's words without the place in its source that they begin with.
std::string words(const std::exception& error) {
  const std::string_view all = error.what();
  const std::size_t end = all.starts_with('[') ? all.find("] ") : std::string_view::npos;
  return std::string(end == std::string_view::npos ? all : all.substr(end + 2));
}

/// A buffer over all memory, which hears of the connection's end.
std::unique_ptr<Buffer> listening_buffer(gloo::transport::Context& context, int peer) {
  auto buffer = context.createUnboundBuffer(nullptr, std::numeric_limits<std::size_t>::max());
  buffer->recv(peer, kSilentSlot, 0, 0);
  return buffer;
}

class GlooLink final : public Link {
 public:
  GlooLink(gloo::transport::Context& context, Rank peer) : peer_(static_cast<int>(peer)) {
    (void)attempt([&] {
      buffer_ = listening_buffer(context, peer_);
      return true;
    });
  }

  [[nodiscard]] LinkStatus post_send(Stream stream, std::span<const std::byte> bytes) override {
    return attempt([&] {
      buffer_->send(peer_, slot_of(stream), reinterpret_cast<std::uintptr_t>(bytes.data()), bytes.size());
      return true;
    });
  }
  [[nodiscard]] LinkStatus post_receive(Stream stream, std::span<std::byte> bytes) override {
    return attempt([&] {
      buffer_->recv(peer_, slot_of(stream), reinterpret_cast<std::uintptr_t>(bytes.data()), bytes.size());
      return true;
    });
  }
  [[nodiscard]] LinkStatus wait_send() override {
    return wait([&] { return buffer_->waitSend(nullptr, kForever); });
  }
  [[nodiscard]] LinkStatus wait_receive() override {
    return wait([&] { return buffer_->waitRecv(nullptr, kForever); });
  }
  void interrupt() noexcept override {
    if (!buffer_) return;
    buffer_->abortWaitSend();
    buffer_->abortWaitRecv();
  }
  [[nodiscard]] std::string loss() const override { return loss_; }

 private:
  /// A wait that was blocked throws when the connection has ended, even if a message was complete before; the next one
  /// looks at what is complete first.
  template <class Step>
  LinkStatus wait(const Step& step) {
    const LinkStatus status = attempt(step);
    return status == LinkStatus::kLost ? attempt(step) : status;
  }

  /// `step` returns false where it was interrupted.
  template <class Step>
  LinkStatus attempt(const Step& step) {
    if (!buffer_ && !loss_.empty()) return LinkStatus::kLost;
    try {
      return step() ? LinkStatus::kDone : LinkStatus::kInterrupted;
    } catch (const std::exception& error) {
      loss_ = words(error);
      return LinkStatus::kLost;
    }
  }

  const int peer_;
  std::unique_ptr<Buffer> buffer_;
  std::string loss_;
};

class Mesh final : public GlooTransport {
 public:
  Mesh(Rank rank, Rank size, std::shared_ptr<gloo::transport::Device> device, std::chrono::milliseconds connect_limit)
      : rank_(rank),
        size_(size),
        device_(std::move(device)),
        context_(device_->createContext(static_cast<int>(rank), static_cast<int>(size))),
        listeners_(size) {
    // A connection is waited for five times as long as this.
    context_->setTimeout(std::max(connect_limit / 5, std::chrono::milliseconds{1}));
    for (Rank peer = 0; peer < size; ++peer) {
      if (peer != rank) (void)context_->createPair(static_cast<int>(peer));
    }
  }
  ~Mesh() override { close(); }

  [[nodiscard]] std::string addresses() const override {
    std::string all;
    for (Rank peer = 0; peer < size_; ++peer)
      all += peer == rank_ ? std::string(address_bytes(), '\0') : address_for(peer);
    return all;
  }

  [[nodiscard]] Result<void> connect(Rank peer, const std::string& addresses) override {
    const std::size_t bytes = address_bytes();
    if (addresses.size() != size_ * bytes) {
      return Failure{FailureKind::kCorrupt,
                     fmt::format("what rank {} announced is not the address of one of {} ranks", peer, size_)};
    }
    const std::string mine = addresses.substr(rank_ * bytes, bytes);
    try {
      context_->getPair(static_cast<int>(peer))->connect({mine.begin(), mine.end()});
      listeners_[peer] = listening_buffer(*context_, static_cast<int>(peer));
    } catch (const std::exception& error) {
      return Failure{FailureKind::kUnreachable, fmt::format("no connection with rank {}: {}", peer, words(error))};
    }
    return {};
  }

  [[nodiscard]] std::unique_ptr<Link> link(Rank peer) override { return std::make_unique<GlooLink>(*context_, peer); }

  [[nodiscard]] std::vector<Rank> lost_peers() override {
    const std::lock_guard lock(mutex_);
    std::vector<Rank> lost;
    for (Rank peer = 0; peer < size_; ++peer) {
      if (!listeners_[peer]) continue;
      // A wait that is interrupted before it begins: it only throws, where the connection has ended.
      try {
        listeners_[peer]->abortWaitRecv();
        (void)listeners_[peer]->waitRecv(nullptr, kForever);
      } catch (const std::exception&) {
        lost.push_back(peer);
      }
    }
    return lost;
  }

  void close() noexcept override {
    const std::lock_guard lock(mutex_);
    for (auto& listener : listeners_) listener.reset();
    // The last user of the context ends the connections after what was sent; closing its pairs would reset them.
    context_.reset();
    device_.reset();
  }

 private:
  /// Where `peer` connects to: this rank has a listening socket for each other.
  [[nodiscard]] std::string address_for(Rank peer) const {
    const std::vector<char> bytes = context_->getPair(static_cast<int>(peer))->address().bytes();
    return {bytes.begin(), bytes.end()};
  }
  [[nodiscard]] std::size_t address_bytes() const { return address_for(rank_ == 0 ? 1 : 0).size(); }

  const Rank rank_;
  const Rank size_;
  std::mutex mutex_;
  std::shared_ptr<gloo::transport::Device> device_;
  std::shared_ptr<gloo::transport::Context> context_;
  std::vector<std::unique_ptr<Buffer>> listeners_;  ///< by rank: what hears of its connection's end
};

}  // namespace

std::unique_ptr<GlooTransport> GlooTransport::listen(Rank rank, Rank size, const std::string& address,
                                                     std::chrono::milliseconds connect_limit) {
  gloo::transport::tcp::attr where;
  where.hostname = address;
  try {
    std::shared_ptr<gloo::transport::Device> device;
    {
      const AsynchronousSignalBlock block;  // it starts a thread
      device = gloo::transport::tcp::CreateDevice(where);
    }
    return std::make_unique<Mesh>(rank, size, std::move(device), connect_limit);
  } catch (const std::exception& error) {
    throw Error(ErrorCode::kBadInput, fmt::format("ranks cannot be listened for at '{}'", address), "", words(error));
  }
}

}  // namespace concerto
