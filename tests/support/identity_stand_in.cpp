// Who may write what, until the library that reads identities from certificates says it.
#include <string>

#include "concerto/comm/identity.hpp"

namespace concerto {

std::string to_string(const Identity& identity) {
  return (identity.role == Role::kLauncher ? "launcher " : "rank ") + std::to_string(identity.index);
}

bool may_write(const Identity& who, std::string_view key) {
  return who.role == Role::kLauncher || key.starts_with("ranks/" + std::to_string(who.index) + "/");
}

}  // namespace concerto
