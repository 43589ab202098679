// A channel over TLS on loopback beside a bare stream of Asio and OpenSSL that moves the same bytes, in turn.
//
//   bench_channel [ROUNDS [FRAMES [BYTES]]]          by default 11 rounds of 1,024 frames of 262,144 bytes
//
// Prints one JSON object: MB/s of each round of both. Each side of both has one thread; the channel's sender has the
// caller's besides. The bare stream reads into one buffer and checks nothing; the channel makes and checks frames, and
// gives each payload to its user in memory of its own.
#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <future>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/write.hpp>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "concerto/comm/networks.hpp"
#include "concerto/comm/trust.hpp"

namespace concerto::bench {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using Clock = std::chrono::steady_clock;
using Stream = asio::ssl::stream<tcp::socket>;
using Code = boost::system::error_code;

struct Load {
  std::size_t frames = 1024;
  std::size_t bytes = std::size_t{256} << 10;
};

double megabytes_a_second(const Load& load, Clock::time_point begin) {
  const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  return static_cast<double>(load.frames) * static_cast<double>(load.bytes) / seconds / 1e6;
}

[[noreturn]] void give_up(const std::string& what) {
  fmt::print(stderr, "bench_channel: {}\n", what);
  std::exit(1);
}

void check(const Code& error) {
  if (error) give_up(error.message());
}

/// One side of the bare stream, with a thread of its own while it moves bytes.
class BareSide {
 public:
  BareSide(const Credentials& credentials) {
    context_.use_certificate_chain(asio::buffer(credentials.certificate + credentials.authority));
    context_.use_private_key(asio::buffer(credentials.private_key), asio::ssl::context::pem);
    context_.add_certificate_authority(asio::buffer(credentials.authority));
    context_.set_verify_mode(asio::ssl::verify_peer | asio::ssl::verify_fail_if_no_peer_cert);
    SSL_CTX_set_min_proto_version(context_.native_handle(), TLS1_3_VERSION);
    SSL_CTX_set_num_tickets(context_.native_handle(), 0);
    stream_ = std::make_unique<Stream>(io_, context_);
  }
  [[nodiscard]] tcp::socket& socket() { return stream_->next_layer(); }
  [[nodiscard]] asio::io_context& io() { return io_; }
  void handshake(asio::ssl::stream_base::handshake_type side) {
    socket().set_option(tcp::no_delay(true));
    stream_->handshake(side);
  }
  void send(const std::vector<std::byte>& frame, std::size_t count) {
    write_next(frame, count);
    run();
  }
  void receive(std::vector<std::byte>& frame, std::size_t count) {
    read_next(frame, count);
    run();
  }

 private:
  void run() {
    io_.restart();
    io_.run();
  }
  void write_next(const std::vector<std::byte>& frame, std::size_t left) {
    if (left == 0) return;
    asio::async_write(*stream_, asio::buffer(frame), [this, &frame, left](const Code& error, std::size_t) {
      check(error);
      write_next(frame, left - 1);
    });
  }
  void read_next(std::vector<std::byte>& frame, std::size_t left) {
    if (left == 0) return;
    asio::async_read(*stream_, asio::buffer(frame), [this, &frame, left](const Code& error, std::size_t) {
      check(error);
      read_next(frame, left - 1);
    });
  }

  asio::io_context io_{1};
  asio::ssl::context context_{asio::ssl::context::tls};
  std::unique_ptr<Stream> stream_;
};

class BareStream {
 public:
  BareStream(const Credentials& sender, const Credentials& receiver) : sender_(sender), receiver_(receiver) {
    tcp::acceptor acceptor(receiver_.io(), {asio::ip::make_address("127.0.0.1"), 0});
    sender_.socket().connect(acceptor.local_endpoint());
    acceptor.accept(receiver_.socket());
    std::thread other([&] { receiver_.handshake(asio::ssl::stream_base::server); });
    sender_.handshake(asio::ssl::stream_base::client);
    other.join();
  }
  double measure(const Load& load) {
    const std::vector<std::byte> given(load.bytes, std::byte{7});
    std::vector<std::byte> taken(load.bytes);
    const Clock::time_point begin = Clock::now();
    std::thread other([&] { receiver_.receive(taken, load.frames); });
    sender_.send(given, load.frames);
    other.join();
    return megabytes_a_second(load, begin);
  }

 private:
  BareSide sender_;
  BareSide receiver_;
};

class ChannelPair {
 public:
  ChannelPair(const Credentials& sender, const Credentials& receiver) {
    NetworkLimits limits;
    limits.queue_bytes = std::size_t{4} << 20;
    from_ = make_tls_network(sender, limits);
    to_ = make_tls_network(receiver, limits);
    listener_ = to_->listen("127.0.0.1:0", [this](const std::shared_ptr<Channel>& channel) {
      accepted_.set_value(channel);
      ChannelEvents events;
      events.on_message = [this](Channel&, const Message&) {
        const std::lock_guard lock(mutex_);
        if (++received_ == awaited_) changed_.notify_all();
      };
      return events;
    });
    ChannelEvents events;
    events.on_room = [this](Channel&) {
      const std::lock_guard lock(mutex_);
      has_room_ = true;
      changed_.notify_all();
    };
    auto made = from_->connect(listener_->address(), {"bench", Role::kRank, 0, 1}, events, std::chrono::seconds(10));
    if (!made) give_up(made.failure().message);
    sending_ = made.value();
    receiving_ = accepted_.get_future().get();
  }
  double measure(const Load& load) {
    const auto frame = std::make_shared<std::vector<std::byte>>(load.bytes, std::byte{7});
    {
      const std::lock_guard lock(mutex_);
      awaited_ = received_ + load.frames;
    }
    const Clock::time_point begin = Clock::now();
    for (std::size_t i = 0; i < load.frames;) {
      Outgoing message(1, 0, {});
      message.body = *frame;
      message.owner = frame;
      const auto sent = sending_->send(std::move(message));
      if (sent) {
        ++i;
      } else if (sent.failure().kind == FailureKind::kConflict) {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] { return has_room_; });
        has_room_ = false;
      } else {
        give_up(sent.failure().message);
      }
    }
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return received_ == awaited_; });
    return megabytes_a_second(load, begin);
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::size_t received_ = 0;
  std::size_t awaited_ = 0;
  bool has_room_ = false;
  std::promise<std::shared_ptr<Channel>> accepted_;
  std::unique_ptr<Network> from_;
  std::unique_ptr<Network> to_;
  std::unique_ptr<Listener> listener_;
  std::shared_ptr<Channel> sending_;
  std::shared_ptr<Channel> receiving_;
};

int measure(std::size_t rounds, const Load& load) {
  const JobAuthority authority("bench");
  const Credentials receiver = authority.issue({"bench", Role::kRank, 0, 1});
  const Credentials sender = authority.issue({"bench", Role::kRank, 1, 1});
  BareStream bare(sender, receiver);
  ChannelPair channel(sender, receiver);
  (void)bare.measure(load);
  (void)channel.measure(load);
  std::vector<double> ours;
  std::vector<double> theirs;
  for (std::size_t i = 0; i < rounds; ++i) {
    ours.push_back(channel.measure(load));
    theirs.push_back(bare.measure(load));
  }
  fmt::print("{{\"frames\": {}, \"bytes\": {}, \"channel\": [{:.1f}], \"bare\": [{:.1f}]}}\n", load.frames, load.bytes,
             fmt::join(ours, ", "), fmt::join(theirs, ", "));
  return 0;
}

}  // namespace
}  // namespace concerto::bench

int main(int count, char** arguments) {
  const auto number = [&](int i, std::size_t otherwise) {
    return count > i ? std::max<std::size_t>(1, std::strtoull(arguments[i], nullptr, 10)) : otherwise;
  };
  concerto::bench::Load load;
  load.frames = number(2, load.frames);
  load.bytes = number(3, load.bytes);
  return concerto::bench::measure(number(1, 11), load);
}
