// The file with the token by which the other launchers of a job join it (concerto/comm/join.hpp). Whoever can read it
// can join in the place of a launcher that has not come yet; so it is readable by its user alone, and the first
// launcher removes it when all have come.
//
// It travels by a file system that the launchers share, or by whoever copies it or puts its line into
// CONCERTO_JOIN_TOKEN.
#pragma once

#include <filesystem>

#include "concerto/base/result.hpp"
#include "concerto/comm/join.hpp"

namespace concerto {

/// Whole or not at all, in the place of an older one, readable by its user alone. Error{kIo}.
void write_join_file(const std::filesystem::path& path, const JoinToken& token);
/// kUnreachable: there is none yet. kRefused: it is no regular file, belongs to another user, or may be read or written
/// by others. kCorrupt: it holds no token. No message tells a secret.
[[nodiscard]] Result<JoinToken> read_join_file(const std::filesystem::path& path);

}  // namespace concerto
