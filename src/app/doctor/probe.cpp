// Meeting by the store, measuring over the communicator that training would use.
#include "probe.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>
#include <fstream>

#include <fmt/format.h>

#include "concerto/base/error.hpp"
#include "concerto/comm/communicators.hpp"

#include "rank_connections.hpp"
#include "rendezvous.hpp"

namespace concerto::doctor {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kPings = 21;
constexpr std::size_t kBulkBytes = std::size_t{4} << 20;

double milliseconds_since(Clock::time_point begin) {
  return std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
}

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::ranges::nth_element(values, middle);
  return *middle;
}

double wall_ms() {
  return std::chrono::duration<double, std::milli>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::string key_of(Rank rank) {
  return fmt::format("ranks/{}/doctor", rank);
}

/// Thrown within this file where the communicator fails: then it is of no more use.
struct LinkFailure {
  std::string message;
};

/// A connection with one other rank: what one sends the other receives, in turn.
class Line {
 public:
  Line(Communicator& communicator, Rank peer, Rank round) : communicator_(communicator), peer_(peer), round_(round) {}
  void send(std::span<const std::byte> bytes) { finish(communicator_.send(next(), peer_, bytes)); }
  void receive(std::span<std::byte> bytes) { finish(communicator_.receive(next(), peer_, bytes)); }

 private:
  OperationTag next() { return {1, 0, round_, index_++}; }
  void finish(const OperationHandle& operation) {
    const Result<void> done = communicator_.wait(operation);
    if (!done) throw LinkFailure{fmt::format("with rank {}: {}", peer_, done.failure().message)};
  }
  Communicator& communicator_;
  Rank peer_;
  std::uint64_t round_;
  std::uint64_t index_ = 0;
};

LinkFacts lead(Line& line, Rank peer, std::vector<std::byte>& bulk) {
  LinkFacts link;
  link.peer = peer;
  std::array<std::byte, 8> ping{};
  std::vector<double> times;
  for (std::size_t i = 0; i < kPings; ++i) {
    const Clock::time_point begin = Clock::now();
    line.send(ping);
    line.receive(ping);
    times.push_back(milliseconds_since(begin));
  }
  link.round_trip_ms = median(times);
  const Clock::time_point begin = Clock::now();
  line.send(bulk);
  line.receive(ping);
  constexpr double kMegabyte = 1e6;
  const double seconds = std::max(milliseconds_since(begin) - link.round_trip_ms / 2, 1e-3) / 1000.0;
  link.megabytes_per_second = static_cast<double>(kBulkBytes) / kMegabyte / seconds;
  return link;
}

void follow(Line& line, std::vector<std::byte>& bulk) {
  std::array<std::byte, 8> ping{};
  for (std::size_t i = 0; i < kPings; ++i) {
    line.receive(ping);
    line.send(ping);
  }
  line.receive(bulk);
  line.send(ping);
}

/// Of the quickest of a few exchanges: it leaves the least room for error.
void compare_clocks(Line& line, Facts& facts) {
  double quickest = 0.0;
  for (std::size_t i = 0; i < kPings; ++i) {
    std::array<std::byte, sizeof(double)> bytes{};
    const double before = wall_ms();
    const Clock::time_point begin = Clock::now();
    line.send(bytes);
    line.receive(bytes);
    const double took = milliseconds_since(begin);
    double theirs = 0.0;
    std::memcpy(&theirs, bytes.data(), sizeof theirs);
    if (facts.has_clock && took >= quickest) continue;
    quickest = took;
    facts.has_clock = true;
    facts.clock_offset_ms = before + took / 2 - theirs;
    facts.clock_uncertainty_ms = took / 2;
  }
}

void show_clock(Line& line) {
  for (std::size_t i = 0; i < kPings; ++i) {
    std::array<std::byte, sizeof(double)> bytes{};
    line.receive(bytes);
    const double mine = wall_ms();
    std::memcpy(bytes.data(), &mine, sizeof mine);
    line.send(bytes);
  }
}

/// A file that rank 0 puts where the model will be, and the others look for.
class Marker {
 public:
  Marker(const std::string& model, const std::string& job, bool is_mine)
      : path_(std::filesystem::absolute(model).parent_path() / (".concerto-doctor-" + job)), is_mine_(is_mine) {
    if (is_mine_) std::ofstream(path_) << "of concerto doctor\n";
  }
  ~Marker() {
    std::error_code ignored;
    if (is_mine_) std::filesystem::remove(path_, ignored);
  }
  Marker(const Marker&) = delete;
  Marker& operator=(const Marker&) = delete;
  [[nodiscard]] bool is_seen() const {
    std::error_code ignored;
    return std::filesystem::exists(path_, ignored);
  }

 private:
  std::filesystem::path path_;
  bool is_mine_;
};

void connect_and_measure(const JobEnvironment& job, const JobStore& meeting_place, const Config& config,
                         const std::vector<RankFacts>& ranks, Facts& mine) {
  std::vector<RankPlace> places;
  for (const RankFacts& rank : ranks) places.push_back(rank.place);
  RankLinks links;
  try {
    links = choose_links(places, without_nccl(config), meeting_place.credentials().has_value());
  } catch (const Error&) {
    // What is not allowed is told as that; whether the links are there is measured all the same.
    links = {"gloo", addresses_used(places, config.cluster), {}, ""};
  }
  RankConnections connections(job, meeting_place, config, links, "collectives/doctor");
  probe_links(connections.communicator(), mine);
}

/// Of every rank that has told, at most until `deadline`.
std::vector<Facts> collect(Store& store, Rank ranks, Clock::time_point deadline) {
  const auto told = [&](const Store::Listing& listing) {
    std::vector<Facts> facts;
    for (Rank rank = 0; rank < ranks; ++rank) {
      const auto entry = std::ranges::find(listing.entries, key_of(rank), &StoreEntry::key);
      if (entry != listing.entries.end()) facts.push_back(parse_facts(entry->value));
    }
    return facts;
  };
  for (;;) {
    const auto listing = store.list("ranks/");
    if (!listing) return {};
    std::vector<Facts> facts = told(listing.value());
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now());
    if (facts.size() == ranks || left.count() <= 0) return facts;
    const auto watch = store.watch("ranks/", listing.value().revision);
    if (!watch || !watch.value()->next(left)) return facts;
  }
}

}  // namespace

Rank rounds_of(Rank ranks) {
  return ranks < 2 ? 0 : ranks % 2 == 0 ? ranks - 1 : ranks;
}

Rank partner_of(Rank rank, Rank ranks, Rank round) {
  // All but the last sit in a circle; with an odd number the last is nobody.
  const Rank circle = rounds_of(ranks);
  const auto opposite = [&](Rank one) { return (round + circle - one) % circle; };
  if (rank == circle) {
    for (Rank one = 0; one < circle; ++one) {
      if (opposite(one) == one) return one;
    }
  }
  const Rank partner = opposite(rank);
  if (partner != rank) return partner;
  return circle < ranks ? circle : kNoRank;
}

void probe_store(Store& store, Facts& facts) {
  constexpr std::size_t kAsked = 7;
  facts.store = store.description();
  std::vector<double> times;
  for (std::size_t i = 0; i < kAsked; ++i) {
    const Clock::time_point begin = Clock::now();
    const auto answer = store.get("job/open");
    if (!answer) {
      facts.store_problem = answer.failure().message;
      return;
    }
    times.push_back(milliseconds_since(begin));
  }
  facts.store_ms = median(times);
}

void probe_links(Communicator& communicator, Facts& facts) {
  const Rank rank = communicator.rank();
  std::vector<std::byte> bulk(kBulkBytes);
  try {
    for (Rank round = 0; round < rounds_of(communicator.size()); ++round) {
      const Rank peer = partner_of(rank, communicator.size(), round);
      if (peer == kNoRank) continue;
      Line line(communicator, peer, round);
      if (rank < peer) {
        facts.links.push_back(lead(line, peer, bulk));
        if (rank == 0) show_clock(line);
      } else {
        follow(line, bulk);
        if (peer == 0) compare_clocks(line, facts);
      }
    }
  } catch (const LinkFailure& failure) {
    facts.links_problem = failure.message;
  }
}

std::vector<Facts> probe_together(const JobEnvironment& job, const JobStore& meeting_place, const Config& config,
                                  bool has_config, Facts mine) {
  Store& store = meeting_place.store();
  const auto limit = std::chrono::milliseconds(config.cluster.meet_limit_ms);
  const Clock::time_point deadline = Clock::now() + limit;
  std::optional<Marker> marker;
  if (has_config && mine.output_problem.empty()) marker.emplace(config.output.model, job.job, job.rank == 0);
  RankFacts me;
  me.version = CONCERTO_VERSION;
  me.world_size = job.world_size;
  me.config_json = comparable_config(config_to_json(config));
  me.place = mine.place;
  me.incarnation = job.incarnation;
  try {
    const std::vector<RankFacts> ranks = meet(store, job, me, limit);
    if (marker) mine.is_output_shared = marker->is_seen();
    connect_and_measure(job, meeting_place, config, ranks, mine);
  } catch (const Error& error) {
    mine.links_problem = error.what();
  }
  const auto told = store.put(key_of(job.rank), to_json(mine));
  if (!told) mine.store_problem = told.failure().message;
  if (job.rank != 0) return {std::move(mine)};
  std::vector<Facts> all = collect(store, job.world_size, deadline + std::chrono::seconds(5));
  if (all.empty()) all.push_back(std::move(mine));
  return all;
}

}  // namespace concerto::doctor
