// Who one is: magic and version (4 bytes), length (2, little-endian), the identity's URI. A side that speaks TLS sends
// something else, and is refused.
#include "plain_wire.hpp"

#include <array>
#include <cstring>

#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>
#include <fmt/format.h>

namespace concerto::tls {
namespace {

constexpr std::string_view kMagic = "COP1";
constexpr std::size_t kLongestUri = 256;

class PlainWire final : public Wire {
 public:
  PlainWire(asio::io_context& io, const Identity& self) : socket_(io) {
    const std::string uri = to_uri(self);
    greeting_ = std::string(kMagic) + static_cast<char>(uri.size() & 0xff) + static_cast<char>(uri.size() >> 8) + uri;
  }

  [[nodiscard]] tcp::socket& socket() override { return socket_; }

  void handshake(bool /*is_server*/, const std::string& address, Greeted done) override {
    address_ = address;
    asio::async_write(socket_, asio::buffer(greeting_),
                      [this, done = std::move(done)](const Code& error, std::size_t) mutable {
                        if (error) return done(ended(error));
                        read_greeting(std::move(done));
                      });
  }
  void read_some(asio::mutable_buffer into, Done done) override { socket_.async_read_some(into, std::move(done)); }
  void write(std::vector<asio::const_buffer> buffers, Done done) override {
    asio::async_write(socket_, std::move(buffers), std::move(done));
  }
  void goodbye() override {
    Code ignored;
    socket_.shutdown(tcp::socket::shutdown_send, ignored);
  }

 private:
  [[nodiscard]] Failure ended(const Code& error) const {
    return {FailureKind::kLost,
            fmt::format("{} ended the connection before it was a session: {}", address_, error.message())};
  }
  void read_greeting(Greeted done) {
    asio::async_read(socket_, asio::buffer(prefix_), [this, done = std::move(done)](const Code& error, std::size_t) {
      if (error) return done(ended(error));
      const std::size_t length = static_cast<unsigned char>(prefix_[4]) + 256U * static_cast<unsigned char>(prefix_[5]);
      if (std::memcmp(prefix_.data(), kMagic.data(), kMagic.size()) != 0 || length > kLongestUri) {
        return done(Failure{FailureKind::kRefused,
                            fmt::format("{} does not speak as a channel without encryption does", address_)});
      }
      uri_.resize(length);
      asio::async_read(socket_, asio::buffer(uri_), [this, done](const Code& failed, std::size_t) {
        if (failed) return done(ended(failed));
        const auto peer = parse_identity(uri_);
        if (peer) return done(peer);
        done(Failure{FailureKind::kRefused, fmt::format("{} says that it is no process of a job", address_)});
      });
    });
  }
  tcp::socket socket_;
  std::string address_;
  std::string greeting_;
  std::array<char, 6> prefix_{};
  std::string uri_;
};

}  // namespace

WireMaker plain_wires(const Identity& self) {
  return [self](asio::io_context& io) { return std::make_shared<PlainWire>(io, self); };
}

}  // namespace concerto::tls
