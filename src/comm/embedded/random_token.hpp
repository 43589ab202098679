// Names that nobody else gives: of a store's contents, of a client.
#pragma once

#include <random>
#include <string>

#include <fmt/format.h>

namespace concerto::embedded {

/// 32 hexadecimal digits from the system's random device.
[[nodiscard]] inline std::string random_token() {
  std::random_device device;
  std::string token;
  for (int word = 0; word < 4; ++word) token += fmt::format("{:08x}", device());
  return token;
}

}  // namespace concerto::embedded
