// Looking up addresses. Gloo would do it too, but it crashes on a name that is not known and loses memory over an
// address that is not there: it is given only what is sound.
#include "host_address.hpp"

#include <array>
#include <cerrno>
#include <memory>
#include <system_error>

#include <fmt/format.h>
#include <ifaddrs.h>
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include "concerto/base/error.hpp"

namespace concerto {
namespace {

Error bad_address(const std::string& what, const std::string& why) {
  return {ErrorCode::kBadInput, fmt::format("ranks cannot be listened for at '{}'", what), "", why};
}

/// The number of an address, which must be one to listen at.
std::string listenable(const std::string& what, const sockaddr* address, socklen_t size) {
  std::array<char, NI_MAXHOST> number{};
  if (const int status = getnameinfo(address, size, number.data(), number.size(), nullptr, 0, NI_NUMERICHOST);
      status != 0) {
    throw bad_address(what, gai_strerror(status));
  }
  const int descriptor = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const bool is_fine = descriptor >= 0 && bind(descriptor, address, size) == 0;
  const int reason = errno;
  if (descriptor >= 0) (void)close(descriptor);
  if (!is_fine) throw bad_address(what, std::generic_category().message(reason));
  return number.data();
}

std::string address_of_interface(const std::string& name) {
  ifaddrs* raw = nullptr;
  if (getifaddrs(&raw) != 0) throw bad_address(name, std::generic_category().message(errno));
  const std::unique_ptr<ifaddrs, decltype(&freeifaddrs)> all(raw, &freeifaddrs);
  for (const int family : {AF_INET, AF_INET6}) {
    for (const ifaddrs* one = all.get(); one != nullptr; one = one->ifa_next) {
      if (one->ifa_addr == nullptr || name != one->ifa_name || one->ifa_addr->sa_family != family) continue;
      return listenable(name, one->ifa_addr, family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6));
    }
  }
  throw bad_address(name, "no such interface, or it has no address");
}

}  // namespace

std::string listening_address(const std::string& network_interface, const std::string& name) {
  if (!network_interface.empty()) return address_of_interface(network_interface);
  std::string wanted = name;
  if (wanted.empty()) {
    std::array<char, 256> own{};
    if (gethostname(own.data(), own.size() - 1) != 0) throw io_error("look up", "this machine's name");
    wanted = own.data();
  }
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* raw = nullptr;
  if (const int status = getaddrinfo(wanted.c_str(), nullptr, &hints, &raw); status != 0) {
    throw bad_address(wanted, gai_strerror(status));
  }
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> found(raw, &freeaddrinfo);
  return listenable(wanted, found->ai_addr, found->ai_addrlen);
}

}  // namespace concerto
