// How the ranks of a job meet: each says who and what it is in the store, waits for the others, and all compare. What
// would give a wrong model or a hang later is one clear error here.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "concerto/comm/job_environment.hpp"
#include "concerto/comm/store.hpp"

#include "fabric.hpp"

namespace concerto {

/// What must be the same on all ranks, and what is good to know of each.
struct RankFacts {
  std::string version;
  Rank world_size = 1;
  std::string config_json;        ///< in full, without what may differ from machine to machine
  std::uint64_t data_digest = 0;  ///< of the training data and the held-out parts
  std::string data_words;         ///< the same for people: "6040 users, 3706 items, 1000209 entries"
  RankPlace place;
  std::uint64_t process = 0;
  Incarnation incarnation = 1;
  friend bool operator==(const RankFacts&, const RankFacts&) = default;
};

/// Key of a rank's facts in the store.
[[nodiscard]] std::string facts_key(Rank rank);
[[nodiscard]] std::string facts_to_json(const RankFacts& facts);
/// Error{kCorrupt} for what facts_to_json did not write.
[[nodiscard]] RankFacts parse_facts(const std::string& json);

/// Publishes `mine` under this rank's name and waits until every rank has, at most for `limit`. Returns the facts by
/// rank. Errors: the store's (kIo); another living process has this rank's name, ranks that differ in world size,
/// version, configuration or data (kBadInput, naming both ranks and what differs); ranks that did not come, or
/// that gave up before (kIo, naming them).
[[nodiscard]] std::vector<RankFacts> meet(Store& store, const JobEnvironment& job, const RankFacts& mine,
                                          std::chrono::milliseconds limit);

/// Throws the first difference, if any, between the ranks' facts (see meet).
void require_alike(const std::vector<RankFacts>& ranks);

/// A configuration without the keys that may differ between ranks: threads, memory limit, report, files of security.
[[nodiscard]] std::string comparable_config(const std::string& config_json);

}  // namespace concerto
