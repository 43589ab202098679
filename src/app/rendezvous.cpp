// Meeting in the store.
#include "rendezvous.hpp"

#include <algorithm>
#include <array>
#include <optional>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "concerto/base/error.hpp"

#include "rank_board.hpp"
#include "report.hpp"

namespace concerto {
namespace {

using Clock = std::chrono::steady_clock;
using Json = nlohmann::ordered_json;

[[noreturn]] void refuse(const Failure& failure, const std::string& doing) {
  throw Error(ErrorCode::kIo, failure.message, "the store, " + doing);
}

std::string list_of(const std::vector<Rank>& ranks) {
  std::string text = ranks.size() == 1 ? "rank " : "ranks ";
  for (std::size_t i = 0; i < ranks.size(); ++i) {
    text += fmt::format("{}{}", i == 0 ? "" : (i + 1 == ranks.size() ? " and " : ", "), ranks[i]);
  }
  return text;
}

/// What differs between two configurations, the first key of it: "solver.epochs is 3 on rank 0 and 5 on rank 2".
std::string config_difference(const std::string& a, const std::string& b, Rank rank_a, Rank rank_b) {
  const auto left = json_leaves(a, fmt::format("configuration of rank {}", rank_a));
  const auto right = json_leaves(b, fmt::format("configuration of rank {}", rank_b));
  for (const auto& [key, value] : left) {
    const auto other = std::ranges::find_if(right, [&](const auto& leaf) { return leaf.first == key; });
    const std::string there = other == right.end() ? "absent" : other->second;
    if (there != value) return fmt::format("{} is {} on rank {} and {} on rank {}", key, value, rank_a, there, rank_b);
  }
  return "keys differ";
}

/// The facts of the ranks that have come. A rank that could not load its data has said so instead.
std::vector<std::optional<RankFacts>> present(Store& store, Rank world_size) {
  auto listing = store.list("ranks/");
  if (!listing) refuse(listing.failure(), "listing ranks");
  std::vector<std::optional<RankFacts>> ranks(world_size);
  for (const StoreEntry& entry : listing.value().entries) {
    for (Rank r = 0; r < world_size; ++r) {
      if (entry.key == facts_key(r)) ranks[r] = parse_facts(entry.value);
      if (entry.key != failure_key(r)) continue;
      const auto failure = parse_failure(entry.value);
      throw Error(ErrorCode::kIo,
                  fmt::format("rank {} gave up: {}", r, failure ? failure->message : "it does not say why"),
                  "meeting the other ranks");
    }
  }
  return ranks;
}

}  // namespace

std::string facts_key(Rank rank) {
  return fmt::format("ranks/{}/facts", rank);
}

std::string facts_to_json(const RankFacts& facts) {
  return Json{{"version", facts.version},          {"world_size", facts.world_size},   {"config", facts.config_json},
              {"data_digest", facts.data_digest},  {"data", facts.data_words},         {"host", facts.place.host},
              {"process", facts.process},          {"incarnation", facts.incarnation}, {"network", facts.place.network},
              {"address", facts.place.address},    {"no_address", facts.place.why},    {"device", facts.place.device},
              {"no_device", facts.place.no_device}}
      .dump();
}

RankFacts parse_facts(const std::string& text) {
  try {
    const Json json = Json::parse(text);
    RankFacts facts;
    facts.version = json.at("version").get<std::string>();
    facts.world_size = json.at("world_size").get<Rank>();
    facts.config_json = json.at("config").get<std::string>();
    facts.data_digest = json.at("data_digest").get<std::uint64_t>();
    facts.data_words = json.at("data").get<std::string>();
    facts.place = {json.at("host").get<std::string>(),    json.at("network").get<std::string>(),
                   json.at("address").get<std::string>(), json.at("no_address").get<std::string>(),
                   json.at("device").get<std::string>(),  json.at("no_device").get<std::string>()};
    facts.process = json.at("process").get<std::uint64_t>();
    facts.incarnation = json.at("incarnation").get<Incarnation>();
    return facts;
  } catch (const nlohmann::json::exception& error) {
    throw Error(ErrorCode::kCorrupt, "not what a rank says of itself", "the store, facts of a rank", error.what());
  }
}

std::string comparable_config(const std::string& config_json) {
  constexpr std::array kOwn = {std::pair("compute", "threads"),      std::pair("compute", "memory_limit_bytes"),
                               std::pair("security", "authority"),   std::pair("security", "certificate"),
                               std::pair("security", "private_key"), std::pair("security", "credentials"),
                               std::pair("output", "report")};
  Json json = Json::parse(config_json);
  for (const auto& [table, key] : kOwn) {
    if (json.contains(table)) json[table].erase(key);
  }
  return json.dump();
}

void require_alike(const std::vector<RankFacts>& ranks) {
  const auto differ = [](std::string what, const char* where) {
    throw Error(ErrorCode::kBadInput, "the ranks of this job are not alike: " + std::move(what), where);
  };
  for (Rank r = 1; r < ranks.size(); ++r) {
    const RankFacts& first = ranks[0];
    const RankFacts& other = ranks[r];
    if (other.world_size != first.world_size) {
      differ(fmt::format("rank 0 was told of {} ranks, rank {} of {}", first.world_size, r, other.world_size),
             "CONCERTO_WORLD_SIZE");
    }
    if (other.version != first.version) {
      differ(fmt::format("rank 0 on {} is version {}, rank {} on {} is version {}", first.place.host, first.version, r,
                         other.place.host, other.version),
             "version");
    }
    if (other.config_json != first.config_json) {
      differ(config_difference(first.config_json, other.config_json, 0, r), "configuration");
    }
    if (other.data_digest != first.data_digest) {
      differ(fmt::format("rank 0 on {} has {}, rank {} on {} has {}{}", first.place.host, first.data_words, r,
                         other.place.host, other.data_words,
                         first.data_words == other.data_words ? ", but not the same ones" : ""),
             "data");
    }
  }
}

std::vector<RankFacts> meet(Store& store, const JobEnvironment& job, const RankFacts& mine,
                            std::chrono::milliseconds limit) {
  const Clock::time_point end = Clock::now() + limit;
  const auto written = store.compare_and_swap(facts_key(job.rank), 0, facts_to_json(mine));
  if (!written) refuse(written.failure(), "saying who this rank is");
  if (!written.value().swapped) {
    const RankFacts other = parse_facts(written.value().present->value);
    throw Error(ErrorCode::kBadInput,
                fmt::format("two processes are rank {} of job {}: process {} on {} and process {} on {}, unless one of "
                            "them is of an earlier run of that name",
                            job.rank, job.job, other.process, other.place.host, mine.process, mine.place.host),
                "CONCERTO_RANK");
  }
  auto listing = store.list("ranks/");
  if (!listing) refuse(listing.failure(), "listing ranks");
  auto watch = store.watch("ranks/", listing.value().revision);
  if (!watch) refuse(watch.failure(), "watching ranks");
  while (true) {
    std::vector<std::optional<RankFacts>> ranks = present(store, job.world_size);
    std::vector<RankFacts> come;
    std::vector<Rank> missing;
    for (Rank r = 0; r < job.world_size; ++r) {
      if (ranks[r]) {
        come.push_back(*ranks[r]);
      } else {
        missing.push_back(r);
      }
    }
    if (missing.empty()) {
      require_alike(come);
      return come;
    }
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now());
    if (left.count() <= 0) {
      throw Error(ErrorCode::kIo,
                  fmt::format("{} did not come within {:.0f} s; {} of {} ranks are here", list_of(missing),
                              std::chrono::duration<double>(limit).count(), come.size(), job.world_size),
                  fmt::format("job {}", job.job));
    }
    const auto changes = watch.value()->next(left);
    if (!changes) refuse(changes.failure(), "waiting for ranks");
  }
}

}  // namespace concerto
