// Meeting in the store: each rank writes what the others need to reach it, and waits for theirs.
#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "concerto/base/ids.hpp"
#include "concerto/base/result.hpp"
#include "concerto/comm/store.hpp"

namespace concerto {

using Deadline = std::chrono::steady_clock::time_point;

/// What is left until `deadline`, not below 0.
[[nodiscard]] std::chrono::milliseconds time_until(Deadline deadline);

/// "ranks/3/collectives/7": where rank 3 writes, and nobody else may.
[[nodiscard]] std::string rendezvous_key(Rank rank, std::string_view prefix);

/// Writes `value` for `rank`, once. kConflict if something else is there; answers that leave open whether it was
/// written are asked again until `deadline`.
[[nodiscard]] Result<void> announce(Store& store, Rank rank, std::string_view prefix, std::string_view value,
                                    Deadline deadline);

/// What `rank` has announced, as soon as it does; kTimeout at the deadline.
[[nodiscard]] Result<std::string> await_announcement(Store& store, Rank rank, std::string_view prefix,
                                                     Deadline deadline);

/// What ranks 0..size-1 have announced, by rank. kTimeout names all that have not.
[[nodiscard]] Result<std::vector<std::string>> await_announcements(Store& store, Rank size, std::string_view prefix,
                                                                   Deadline deadline);

}  // namespace concerto
