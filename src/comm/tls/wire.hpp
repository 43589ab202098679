// The bytes under a connection: a TCP socket that has a session with a process that is known, encrypted or not. Nothing
// above knows which.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <boost/asio/buffer.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>

#include "concerto/base/result.hpp"
#include "concerto/comm/identity.hpp"

namespace concerto::tls {

namespace asio = boost::asio;
using tcp = asio::ip::tcp;
using Code = boost::system::error_code;

[[nodiscard]] std::string text_of(const tcp::endpoint& endpoint);

/// One connection's. All on the network's thread; at most one read and one write at a time.
class Wire {
 public:
  using Done = std::function<void(const Code&, std::size_t)>;
  /// Who the other side is; nothing: a process that has no certificate and asks for one.
  using Greeted = std::function<void(Result<std::optional<Identity>>)>;

  virtual ~Wire() = default;
  [[nodiscard]] virtual tcp::socket& socket() = 0;
  /// `address` is the other side's, for messages. Closing the socket ends it.
  virtual void handshake(bool is_server, const std::string& address, Greeted done) = 0;
  virtual void read_some(asio::mutable_buffer into, Done done) = 0;
  /// All of it.
  virtual void write(std::vector<asio::const_buffer> buffers, Done done) = 0;
  /// Tells the other side that nothing more comes. Its own end ends the read that waits.
  virtual void goodbye() = 0;
};

/// Makes the wire of a new connection; whatever it stands on, it keeps.
using WireMaker = std::function<std::shared_ptr<Wire>(asio::io_context&)>;

}  // namespace concerto::tls
