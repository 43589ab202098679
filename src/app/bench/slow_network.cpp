// Ports of ranks, the relay before them, and the thread that runs it.
//
// Ranks listen at ports that must be known before they start, so nobody can hold these for them: they are looked for
// below those that the system hands out, and a run that finds one taken all the same fails and says so.
#include "slow_network.hpp"

#include <cstdint>
#include <thread>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <fmt/format.h>
#include <unistd.h>

#include "concerto/base/error.hpp"
#include "concerto/base/rng.hpp"

#include "relay.hpp"

namespace concerto::bench {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;

constexpr std::uint32_t kLowestPort = 20'000;
constexpr std::uint32_t kPorts = 10'000;
constexpr int kTries = 100;

/// Whether all these ports can be listened at now.
bool are_free(asio::io_context& io, std::uint32_t first, std::uint32_t count) {
  for (std::uint32_t port = first; port < first + count; ++port) {
    boost::system::error_code error;
    tcp::acceptor acceptor(io);
    acceptor.open(tcp::v4(), error);
    if (!error) acceptor.bind({asio::ip::address_v4::loopback(), static_cast<std::uint16_t>(port)}, error);
    if (error) return false;
  }
  return true;
}

}  // namespace

class SlowNetwork::Impl {
 public:
  Impl(const SweepNetwork& network, Rank ranks, std::uint64_t seed) : relay_(io_, seed) {
    const std::uint32_t count = 2 * ranks;                        // channels, and the mesh beside them
    Random random(seed, static_cast<std::uint64_t>(::getpid()));  // sweeps side by side look elsewhere
    for (int k = 0; k < kTries && ranks_at_ == 0; ++k) {
      const std::uint32_t first = kLowestPort + static_cast<std::uint32_t>(random.below(kPorts));
      if (are_free(io_, first, 2 * count)) ranks_at_ = first;
    }
    if (ranks_at_ == 0) {
      throw Error(ErrorCode::kIo, fmt::format("no {} ports in a row are free from {} on", 2 * count, kLowestPort),
                  "network");
    }
    relay_at_ = ranks_at_ + count;
    try {
      for (std::uint32_t k = 0; k < count; ++k) {
        relay_.forward(fmt::format("127.0.0.1:{}", relay_at_ + k), fmt::format("127.0.0.1:{}", ranks_at_ + k));
      }
    } catch (const boost::system::system_error& error) {
      throw Error(ErrorCode::kIo, error.what(), "network");
    }
    relay_.command(fmt::format("both delay_ms={} jitter_ms={} rate_mbit={}", network.delay_ms, network.jitter_ms,
                               network.rate_mbit));
    thread_ = std::thread([this] { io_.run(); });
  }
  ~Impl() {
    asio::post(io_, [this] { relay_.stop(); });
    thread_.join();
  }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  [[nodiscard]] std::vector<std::string> settings() const {
    return {fmt::format("cluster.channel_port={}", ranks_at_),
            fmt::format("cluster.channel_reached_at=127.0.0.1:{}", relay_at_)};
  }

 private:
  asio::io_context io_{1};
  Relay relay_;
  std::uint32_t ranks_at_ = 0;
  std::uint32_t relay_at_ = 0;
  std::thread thread_;
};

SlowNetwork::SlowNetwork(const SweepNetwork& network, Rank ranks, std::uint64_t seed)
    : impl_(std::make_unique<Impl>(network, ranks, seed)) {}
SlowNetwork::~SlowNetwork() = default;

std::vector<std::string> SlowNetwork::settings() const {
  return impl_->settings();
}

}  // namespace concerto::bench
