// The file by which the first launcher of a job lets the others in: where the store is, and the certificates and keys
// of every other launcher and its ranks. Whoever can read it can be any process of the job, as with any token that lets
// one in; so it is readable by its user alone, and the first launcher removes it when all have come.
//
// It travels by a file system that the launchers share, or by whoever copies it.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "concerto/base/ids.hpp"
#include "concerto/base/result.hpp"

namespace concerto {

struct JoinFile {
  std::string job;
  Rank world_size = 1;
  std::string store;  ///< HOST:PORT
  /// By number of the launcher; the first one's are empty. Credentials as trust.hpp writes them.
  struct Part {
    std::string credentials;
    std::map<Rank, std::string> ranks;
    friend bool operator==(const Part&, const Part&) = default;
  };
  std::vector<Part> launchers;
  friend bool operator==(const JoinFile&, const JoinFile&) = default;
};

[[nodiscard]] std::string to_json(const JoinFile& file);
/// Error{kCorrupt} naming `where` for what to_json did not write.
[[nodiscard]] JoinFile parse_join_file(const std::string& json, const std::string& where);

/// Whole or not at all, in the place of an older one, readable by its user alone. Error{kIo}.
void write_join_file(const std::filesystem::path& path, const JoinFile& file);
/// kUnreachable: there is none yet. kRefused: it is no regular file, belongs to another user, or may be read or written
/// by others. kCorrupt: it is not what write_join_file writes. No message tells a secret.
[[nodiscard]] Result<JoinFile> read_join_file(const std::filesystem::path& path);

}  // namespace concerto
