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
// - A message goes when its receiver has told of a place for it, and that notice waits in line behind what the receiver
//   itself sends on the same connection: two ranks that give each other much would take turns. Each pair of ranks
//   therefore has two connections. On one the lower rank's payload goes up, on the other the higher rank's goes down,
//   and headers and notices go against the payload, where nothing is in their way (over a link of 1 Gbit/s with a queue
//   of 20 ms: from 64 % of its rate in each direction to what plain sockets reach).
#include "gloo_transport.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <deque>
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

/// The connections of a pair of ranks, as contexts.
constexpr std::size_t kUp = 0;    ///< payload from the lower rank to the higher
constexpr std::size_t kDown = 1;  ///< payload from the higher rank to the lower
constexpr std::size_t kWays = 2;
using Contexts = std::array<std::shared_ptr<gloo::transport::Context>, kWays>;

/// On which connection a message goes that is sent from `from` to `to`.
std::size_t way_of(Rank from, Rank to, Stream stream) {
  return (from < to) == carries_data(stream) ? kUp : kDown;
}

class GlooLink final : public Link {
 public:
  GlooLink(const Contexts& contexts, Rank self, Rank peer) : self_(self), peer_(peer) {
    (void)attempt([&] {
      for (std::size_t way = 0; way < kWays; ++way) {
        buffers_[way] = listening_buffer(*contexts[way], static_cast<int>(peer));
      }
      return true;
    });
  }

  [[nodiscard]] LinkStatus post_send(Stream stream, std::span<const std::byte> bytes) override {
    return attempt([&] {
      const std::size_t way = way_of(self_, peer_, stream);
      buffers_[way]->send(static_cast<int>(peer_), slot_of(stream), reinterpret_cast<std::uintptr_t>(bytes.data()),
                          bytes.size());
      sends_.push_back(way);
      return true;
    });
  }
  [[nodiscard]] LinkStatus post_receive(Stream stream, std::span<std::byte> bytes) override {
    return attempt([&] {
      const std::size_t way = way_of(peer_, self_, stream);
      buffers_[way]->recv(static_cast<int>(peer_), slot_of(stream), reinterpret_cast<std::uintptr_t>(bytes.data()),
                          bytes.size());
      receives_.push_back(way);
      return true;
    });
  }
  [[nodiscard]] LinkStatus wait_send() override {
    return wait(sends_, [&](Buffer& buffer) { return buffer.waitSend(nullptr, kForever); });
  }
  [[nodiscard]] LinkStatus wait_receive() override {
    return wait(receives_, [&](Buffer& buffer) { return buffer.waitRecv(nullptr, kForever); });
  }
  void interrupt() noexcept override {
    for (const std::unique_ptr<Buffer>& buffer : buffers_) {
      if (!buffer) continue;
      buffer->abortWaitSend();
      buffer->abortWaitRecv();
    }
  }
  [[nodiscard]] std::string loss() const override { return loss_; }

 private:
  /// Waits for the oldest of what was posted and not waited for. A wait that was blocked throws when the connection has
  /// ended, even if a message was complete before; the next one looks at what is complete first.
  template <class Step>
  LinkStatus wait(std::deque<std::size_t>& posted, const Step& step) {
    const auto oldest = [&] { return step(*buffers_[posted.front()]); };
    LinkStatus status = attempt(oldest);
    if (status == LinkStatus::kLost) status = attempt(oldest);
    if (status == LinkStatus::kDone) posted.pop_front();
    return status;
  }

  /// `step` returns false where it was interrupted.
  template <class Step>
  LinkStatus attempt(const Step& step) {
    if (!buffers_.back() && !loss_.empty()) return LinkStatus::kLost;
    try {
      return step() ? LinkStatus::kDone : LinkStatus::kInterrupted;
    } catch (const std::exception& error) {
      loss_ = words(error);
      return LinkStatus::kLost;
    }
  }

  const Rank self_;
  const Rank peer_;
  std::array<std::unique_ptr<Buffer>, kWays> buffers_;
  std::deque<std::size_t> sends_;  ///< on which way each message went that has not been waited for
  std::deque<std::size_t> receives_;
  std::string loss_;
};

class Mesh final : public GlooTransport {
 public:
  Mesh(Rank rank, Rank size, const std::shared_ptr<gloo::transport::Device>& device,
       std::chrono::milliseconds connect_limit)
      : rank_(rank), size_(size), device_(device) {
    for (std::size_t way = 0; way < kWays; ++way) {
      contexts_[way] = device_->createContext(static_cast<int>(rank), static_cast<int>(size));
      // A connection is waited for five times as long as this.
      contexts_[way]->setTimeout(std::max(connect_limit / 5, std::chrono::milliseconds{1}));
      for (Rank peer = 0; peer < size; ++peer) {
        if (peer != rank) (void)contexts_[way]->createPair(static_cast<int>(peer));
      }
      listeners_[way].resize(size);
    }
  }
  ~Mesh() override { close(); }

  [[nodiscard]] std::string addresses() const override {
    std::string all;
    for (std::size_t way = 0; way < kWays; ++way) {
      for (Rank peer = 0; peer < size_; ++peer)
        all += peer == rank_ ? std::string(address_bytes(), '\0') : address_for(way, peer);
    }
    return all;
  }

  [[nodiscard]] Result<void> connect(Rank peer, const std::string& addresses) override {
    const std::size_t bytes = address_bytes();
    if (addresses.size() != kWays * size_ * bytes) {
      return Failure{FailureKind::kCorrupt,
                     fmt::format("what rank {} announced is not the address of one of {} ranks", peer, size_)};
    }
    try {
      for (std::size_t way = 0; way < kWays; ++way) {
        const std::string mine = addresses.substr((way * size_ + rank_) * bytes, bytes);
        contexts_[way]->getPair(static_cast<int>(peer))->connect({mine.begin(), mine.end()});
        listeners_[way][peer] = listening_buffer(*contexts_[way], static_cast<int>(peer));
      }
    } catch (const std::exception& error) {
      return Failure{FailureKind::kUnreachable, fmt::format("no connection with rank {}: {}", peer, words(error))};
    }
    return {};
  }

  [[nodiscard]] std::unique_ptr<Link> link(Rank peer) override {
    return std::make_unique<GlooLink>(contexts_, rank_, peer);
  }

  [[nodiscard]] std::vector<Rank> lost_peers() override {
    const std::lock_guard lock(mutex_);
    std::vector<Rank> lost;
    for (Rank peer = 0; peer < size_; ++peer) {
      if (std::ranges::any_of(listeners_, [&](auto& of_way) { return of_way[peer] && has_ended(*of_way[peer]); })) {
        lost.push_back(peer);
      }
    }
    return lost;
  }

  void close() noexcept override {
    const std::lock_guard lock(mutex_);
    for (auto& of_way : listeners_) of_way.clear();
    // The last user of a context ends the connections after what was sent; closing its pairs would reset them.
    for (auto& context : contexts_) context.reset();
    device_.reset();
  }

 private:
  /// A wait that is interrupted before it begins: it only throws, where the connection has ended.
  [[nodiscard]] static bool has_ended(Buffer& listener) {
    try {
      listener.abortWaitRecv();
      (void)listener.waitRecv(nullptr, kForever);
    } catch (const std::exception&) {
      return true;
    }
    return false;
  }
  /// Where `peer` connects to: this rank has a listening socket for each other.
  [[nodiscard]] std::string address_for(std::size_t way, Rank peer) const {
    const std::vector<char> bytes = contexts_[way]->getPair(static_cast<int>(peer))->address().bytes();
    return {bytes.begin(), bytes.end()};
  }
  [[nodiscard]] std::size_t address_bytes() const { return address_for(kUp, rank_ == 0 ? 1 : 0).size(); }

  const Rank rank_;
  const Rank size_;
  std::mutex mutex_;
  std::shared_ptr<gloo::transport::Device> device_;
  Contexts contexts_;
  /// By rank: what hears of its connection's end.
  std::array<std::vector<std::unique_ptr<Buffer>>, kWays> listeners_;
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
