// A user's name and password from a file that nobody else can read.
#pragma once

#include <filesystem>
#include <string>

namespace concerto::etcd {

struct Login {
  std::string user;  ///< empty: no authentication
  std::string password;
};

/// USER:PASSWORD from the first line. Error{kIo} where it cannot be read; Error{kBadInput} where it is no regular file
/// of this user (or root), where others have any right to it, or where there is no such line.
[[nodiscard]] Login read_login(const std::filesystem::path& path);

}  // namespace concerto::etcd
