// Plain sockets.
#include "socket_ring.hpp"

#include <algorithm>
#include <cerrno>
#include <stdexcept>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace concerto::bench {
namespace {

void require(bool condition, const char* what) {
  if (!condition) throw std::runtime_error(what);
}

/// The bytes moved; 0 where the call would block.
std::size_t moved(ssize_t result) {
  require(result > 0 || (result < 0 && (errno == EAGAIN || errno == EINTR)), "a connection of the ring ended");
  return result > 0 ? static_cast<std::size_t>(result) : 0;
}

}  // namespace

SocketRing::SocketRing(std::size_t ranks) : to_next_(ranks), from_before_(ranks) {
  for (std::size_t rank = 0; rank < ranks; ++rank) {
    const int listener = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    require(bind(listener, reinterpret_cast<sockaddr*>(&address), size) == 0 && listen(listener, 1) == 0 &&
                getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size) == 0,
            "no listening socket");
    to_next_[rank] = socket(AF_INET, SOCK_STREAM, 0);
    require(connect(to_next_[rank], reinterpret_cast<sockaddr*>(&address), size) == 0, "no connection");
    from_before_[(rank + 1) % ranks] = accept(listener, nullptr, nullptr);
    require(from_before_[(rank + 1) % ranks] >= 0, "no connection");
    const int on = 1;
    require(setsockopt(to_next_[rank], IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) == 0, "no option");
    close(listener);
  }
}

SocketRing::~SocketRing() {
  for (const int descriptor : to_next_) close(descriptor);
  for (const int descriptor : from_before_) close(descriptor);
}

void SocketRing::exchange(std::size_t rank, std::span<const std::byte> give, std::span<std::byte> take) const {
  while (!give.empty() || !take.empty()) {
    pollfd waited[2] = {{give.empty() ? -1 : to_next_[rank], POLLOUT, 0},
                        {take.empty() ? -1 : from_before_[rank], POLLIN, 0}};
    require(poll(waited, 2, -1) > 0 || errno == EINTR, "no poll");
    if (waited[0].revents != 0) {
      give = give.subspan(moved(send(to_next_[rank], give.data(), give.size(), MSG_DONTWAIT | MSG_NOSIGNAL)));
    }
    if (waited[1].revents != 0) {
      take = take.subspan(moved(recv(from_before_[rank], take.data(), take.size(), MSG_DONTWAIT)));
    }
  }
}

}  // namespace concerto::bench
