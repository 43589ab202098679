// Looking up names. Gloo would do it too, and crash on one that is not known.
#include "host_address.hpp"

#include <array>
#include <memory>

#include <fmt/format.h>
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include "concerto/base/error.hpp"

namespace concerto {

std::string host_address(const std::string& name) {
  std::string wanted = name;
  if (wanted.empty()) {
    std::array<char, 256> own{};
    if (gethostname(own.data(), own.size() - 1) != 0) throw io_error("look up", "this machine's name");
    wanted = own.data();
  }
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* raw = nullptr;
  int status = getaddrinfo(wanted.c_str(), nullptr, &hints, &raw);
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> found(raw, &freeaddrinfo);
  std::array<char, NI_MAXHOST> number{};
  if (status == 0) {
    status = getnameinfo(found->ai_addr, found->ai_addrlen, number.data(), number.size(), nullptr, 0, NI_NUMERICHOST);
  }
  if (status != 0) {
    throw Error(ErrorCode::kBadInput, fmt::format("no address is known for '{}': {}", wanted, gai_strerror(status)));
  }
  return number.data();
}

}  // namespace concerto
