// A connection for each direction between two ranks: messages one way, a byte for each that was taken the other.
#include "support/fake_nccl/process_links.hpp"

#include <cstdint>
#include <cstring>
#include <utility>

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

namespace concerto {
namespace {

/// In no file system: it ends with its socket.
std::pair<sockaddr_un, socklen_t> address_of(const std::string& name, int rank) {
  const std::string text = name + "/" + std::to_string(rank);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  text.copy(address.sun_path + 1, sizeof(address.sun_path) - 1);
  return {address, static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + text.size())};
}

bool read_whole(int connection, void* to, std::size_t size) {
  auto* place = static_cast<char*>(to);
  while (size > 0) {
    const ssize_t got = recv(connection, place, size, 0);
    if (got <= 0) return false;
    place += got;
    size -= static_cast<std::size_t>(got);
  }
  return true;
}

void write_whole(int connection, const void* from, std::size_t size) {
  const auto* place = static_cast<const char*>(from);
  while (size > 0) {
    const ssize_t put = ::send(connection, place, size, MSG_NOSIGNAL);
    if (put <= 0) return;  // the reader is gone: who waits for its byte learns of it
    place += put;
    size -= static_cast<std::size_t>(put);
  }
}

int listen_at(const std::string& name, int rank, int ranks) {
  const int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const auto [address, length] = address_of(name, rank);
  if (bind(listener, reinterpret_cast<const sockaddr*>(&address), length) != 0 || listen(listener, ranks) != 0) {
    ::close(listener);
    return -1;
  }
  return listener;
}

}  // namespace

ProcessLinks::ProcessLinks(std::string name, int rank, int ranks, Arrived arrived)
    : name_(std::move(name)),
      rank_(rank),
      arrived_(std::move(arrived)),
      listener_(listen_at(name_, rank, ranks)),
      to_(static_cast<std::size_t>(ranks), -1),
      acceptor_([this] { accept_all(); }) {}

ProcessLinks::~ProcessLinks() {
  close();
  acceptor_.join();
  for (std::thread& reader : readers_) reader.join();
  for (const int connection : from_) ::close(connection);
  for (const int connection : to_) ::close(connection);
  ::close(listener_);
}

void ProcessLinks::close() {
  const std::lock_guard lock(mutex_);
  is_closed_ = true;
  shutdown(listener_, SHUT_RDWR);
  for (const int connection : from_) shutdown(connection, SHUT_RDWR);
  for (const int connection : to_) shutdown(connection, SHUT_RDWR);
}

bool ProcessLinks::connect() {
  bool all = true;
  for (int peer = 0; peer < static_cast<int>(to_.size()); ++peer) {
    if (peer == rank_ || to_[static_cast<std::size_t>(peer)] >= 0) continue;
    const int connection = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const auto [address, length] = address_of(name_, peer);
    if (::connect(connection, reinterpret_cast<const sockaddr*>(&address), length) != 0) {
      ::close(connection);
      all = false;
      continue;
    }
    write_whole(connection, &rank_, sizeof(rank_));
    const std::lock_guard lock(mutex_);
    to_[static_cast<std::size_t>(peer)] = connection;
  }
  return all;
}

void ProcessLinks::send(int to, const void* bytes, std::size_t size) {
  const std::uint64_t length = size;
  write_whole(to_[static_cast<std::size_t>(to)], &length, sizeof(length));
  write_whole(to_[static_cast<std::size_t>(to)], bytes, size);
}

bool ProcessLinks::await_taken(int to) {
  char taken = 0;
  return read_whole(to_[static_cast<std::size_t>(to)], &taken, 1);
}

void ProcessLinks::accept_all() {
  for (;;) {
    const int connection = accept(listener_, nullptr, nullptr);
    if (connection < 0) return;
    const std::lock_guard lock(mutex_);
    from_.push_back(connection);
    if (is_closed_) return;
    readers_.emplace_back([this, connection] { read_all(connection); });
  }
}

void ProcessLinks::read_all(int connection) {
  int from = -1;
  if (!read_whole(connection, &from, sizeof(from))) return;
  for (;;) {
    std::uint64_t size = 0;
    if (!read_whole(connection, &size, sizeof(size))) return;
    Bytes bytes(size);
    if (!read_whole(connection, bytes.data(), size)) return;
    arrived_(from, std::move(bytes), [connection] { write_whole(connection, "", 1); });
  }
}

}  // namespace concerto
