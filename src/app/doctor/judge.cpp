// One function a check. Each says something of every rank, if only that all is well.
#include "judge.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "concerto/base/error.hpp"

#include "memory.hpp"

namespace concerto::doctor {
namespace {

constexpr double kHoursOfADay = 24.0;

/// Collects findings; equal ones of several ranks become one.
class Findings {
 public:
  void ok(std::string check, Rank rank, std::string what) { add(Level::kOk, std::move(check), rank, std::move(what)); }
  void warn(std::string check, Rank rank, std::string what, std::string mend = "") {
    add(Level::kWarning, std::move(check), rank, std::move(what), std::move(mend));
  }
  void problem(std::string check, Rank rank, std::string what, std::string mend = "") {
    add(Level::kProblem, std::move(check), rank, std::move(what), std::move(mend));
  }

  std::vector<Finding> take() {
    constexpr std::array<std::string_view, 14> kOrder{"ranks",  "interfaces", "name",       "store", "certificates",
                                                      "links",  "clock",      "encryption", "gpu",   "nccl",
                                                      "memory", "open files", "data",       "output"};
    const auto place_of = [&](const Finding& finding) { return std::ranges::find(kOrder, finding.check); };
    std::ranges::stable_sort(all_, [&](const Finding& a, const Finding& b) {
      return place_of(a) != place_of(b) ? place_of(a) < place_of(b) : a.level > b.level;
    });
    return std::move(all_);
  }

 private:
  void add(Level level, std::string check, Rank rank, std::string what, std::string mend = "") {
    // Where all is well the words of the first do for all.
    const auto same = std::ranges::find_if(all_, [&](const Finding& one) {
      return one.level == level && one.check == check &&
             (level == Level::kOk || (one.what == what && one.mend == mend));
    });
    if (same != all_.end()) {
      if (same->ranks.back() != rank) same->ranks.push_back(rank);
      return;
    }
    all_.push_back({level, std::move(check), {rank}, std::move(what), std::move(mend)});
  }

  std::vector<Finding> all_;
};

class Judge {
 public:
  Judge(const Expectations& expected, const std::vector<Facts>& ranks) : expected_(expected), ranks_(ranks) {
    for (const Facts& facts : ranks_) places_.push_back(facts.place);
    is_one_network_ =
        std::ranges::all_of(places_, [&](const RankPlace& place) { return place.network == places_.front().network; });
  }

  std::vector<Finding> judge() {
    came();
    for (const Facts& facts : ranks_) {
      interfaces(facts);
      name(facts);
      store(facts);
      certificates(facts);
      links(facts);
      clock(facts);
      gpu(facts);
      nccl(facts);
      memory(facts);
      open_files(facts);
      if (expected_.has_config) files(facts);
    }
    all_links();
    encryption();
    return found_.take();
  }

 private:
  void came() {
    if (expected_.ranks == 1) return;
    for (Rank rank = 0; rank < expected_.ranks; ++rank) {
      const bool is_here = std::ranges::any_of(ranks_, [rank](const Facts& facts) { return facts.rank == rank; });
      if (!is_here) found_.problem("ranks", rank, "did not come", "see what it said");
      if (is_here) found_.ok("ranks", rank, fmt::format("all {} are here", expected_.ranks));
    }
  }

  void interfaces(const Facts& facts) {
    const std::string& wanted = expected_.config.cluster.network_interface;
    const std::string all = fmt::format("{}", fmt::join(facts.interfaces, ", "));
    if (wanted.empty()) {
      if (facts.interfaces.empty()) found_.warn("interfaces", facts.rank, "none is up, not even loopback");
      if (!facts.interfaces.empty()) found_.ok("interfaces", facts.rank, all);
    } else if (facts.place.address.empty()) {
      found_.problem("interfaces", facts.rank, facts.place.why,
                     fmt::format("cluster.network_interface = \"{}\": there are {}", wanted, all));
    } else {
      found_.ok("interfaces", facts.rank, fmt::format("{} is {}", wanted, facts.place.address));
    }
  }

  void name(const Facts& facts) {
    const RankPlace& place = facts.place;
    const bool matters = !is_one_network_ && expected_.config.cluster.network_interface.empty();
    const std::string all = fmt::format("{}", fmt::join(facts.name_addresses, ", "));
    const bool leads_out =
        std::ranges::any_of(facts.name_addresses, [](const std::string& address) { return !is_loopback(address); });
    const std::string mend = "cluster.network_interface, or the machine's line in /etc/hosts";
    if (leads_out && (!matters || !place.address.empty())) {
      found_.ok("name", facts.rank, fmt::format("{} is {}", place.host, all));
      return;
    }
    const std::string what = facts.name_addresses.empty()
                                 ? fmt::format("{} leads nowhere", place.host)
                                 : fmt::format("{} leads to {}, where other machines cannot reach it", place.host, all);
    if (matters) {
      found_.problem("name", facts.rank, what, mend);
    } else if (!expected_.config.cluster.network_interface.empty()) {
      found_.ok("name", facts.rank, what + "; cluster.network_interface is used instead");
    } else if (expected_.ranks > 1) {
      found_.ok("name", facts.rank, what + "; all ranks are on this one");
    } else {
      found_.warn("name", facts.rank, what + "; it matters with several machines", mend);
    }
  }

  void store(const Facts& facts) {
    if (!facts.store_problem.empty()) {
      found_.problem("store", facts.rank, facts.store_problem, "cluster.store, or concerto-launch --rendezvous");
    } else if (facts.store.empty()) {
      found_.ok("store", facts.rank, "one process needs none");
    } else {
      constexpr double kSlow_ms = 100.0;
      const std::string what = fmt::format("{} answers in {:.1f} ms", facts.store, facts.store_ms);
      if (facts.store_ms > kSlow_ms) {
        found_.warn("store", facts.rank, what, "a store nearer to the ranks; heartbeats take that long");
      } else {
        found_.ok("store", facts.rank, what);
      }
    }
  }

  void certificates(const Facts& facts) {
    for (const CertificateFacts& one : facts.certificates) {
      const std::string mend = one.what.starts_with('/') ? "a new certificate" : "the clocks of the machines";
      if (!one.problem.empty()) {
        found_.problem("certificates", facts.rank, fmt::format("{}: {}", one.what, one.problem), "security");
      } else if (one.hours_left <= 0.0) {
        found_.problem("certificates", facts.rank, fmt::format("{} has ended {:.0f} h ago", one.what, -one.hours_left),
                       mend);
      } else if (one.hours_until_begin > 0.0) {
        found_.problem("certificates", facts.rank,
                       fmt::format("{} begins in {:.1f} h", one.what, one.hours_until_begin), mend);
      } else if (one.hours_left < kHoursOfADay) {
        found_.warn("certificates", facts.rank, fmt::format("{} ends in {:.1f} h", one.what, one.hours_left), mend);
      } else {
        found_.ok("certificates", facts.rank,
                  fmt::format("{} is good for {:.0f} days", one.what, std::floor(one.hours_left / kHoursOfADay)));
      }
    }
  }

  void links(const Facts& facts) {
    if (!facts.links_problem.empty()) {
      found_.problem("links", facts.rank, facts.links_problem, "cluster.network_interface, or a firewall between");
    }
    for (const LinkFacts& link : facts.links) {
      constexpr double kShare = 0.25;  // of the usual speed
      if (link.megabytes_per_second >= kShare * usual_speed(facts, link)) continue;
      found_.warn("links", facts.rank,
                  fmt::format("with rank {}: {}, where others reach {:.0f} MB/s", link.peer, text_of(link),
                              usual_speed(facts, link)),
                  "the cable, switch or interface of one of the two");
    }
  }

  /// That they are there, and the slowest of them.
  void all_links() {
    const Facts* of = nullptr;
    const LinkFacts* slowest = nullptr;
    std::size_t count = 0;
    for (const Facts& facts : ranks_) {
      for (const LinkFacts& link : facts.links) {
        ++count;
        if (slowest != nullptr && slowest->megabytes_per_second <= link.megabytes_per_second) continue;
        of = &facts;
        slowest = &link;
      }
    }
    if (slowest == nullptr) return;
    found_.ok("links", of->rank,
              fmt::format("{} measured; the slowest, ranks {} and {}: {}", count, of->rank, slowest->peer,
                          text_of(*slowest)));
  }
  static std::string text_of(const LinkFacts& link) {
    return fmt::format("{:.2f} ms, {:.0f} MB/s", link.round_trip_ms, link.megabytes_per_second);
  }

  /// The median of the links that, as this one, stay in a machine or leave it.
  double usual_speed(const Facts& facts, const LinkFacts& link) const {
    std::vector<double> speeds;
    for (const Facts& one : ranks_) {
      for (const LinkFacts& other : one.links) {
        if (leaves(one, other) == leaves(facts, link)) speeds.push_back(other.megabytes_per_second);
      }
    }
    const auto middle = speeds.begin() + static_cast<std::ptrdiff_t>(speeds.size() / 2);
    std::ranges::nth_element(speeds, middle);
    return *middle;
  }
  bool leaves(const Facts& facts, const LinkFacts& link) const {
    const auto peer = std::ranges::find(ranks_, link.peer, &Facts::rank);
    return peer != ranks_.end() && peer->place.network != facts.place.network;
  }

  void clock(const Facts& facts) {
    if (!facts.has_clock) return;
    constexpr double kCertificates_ms = 3'600'000.0;
    constexpr double kLogs_ms = 1'000.0;
    const double least = std::max(0.0, std::abs(facts.clock_offset_ms) - facts.clock_uncertainty_ms);
    const std::string what =
        fmt::format("{:+.1f} ms from rank 0's, give or take {:.1f}", facts.clock_offset_ms, facts.clock_uncertainty_ms);
    if (least >= kCertificates_ms) {
      found_.problem("clock", facts.rank, what + "; certificates are refused beyond an hour", "NTP");
    } else if (least >= kLogs_ms) {
      found_.warn("clock", facts.rank, what + "; times in logs do not compare", "NTP");
    } else {
      found_.ok("clock", facts.rank, what);
    }
  }

  void gpu(const Facts& facts) {
    const std::string& backend = expected_.config.compute.backend;
    const std::string found = fmt::format("{}{}{}", facts.driver.empty() ? "no NVIDIA driver" : facts.driver,
                                          facts.cuda_driver.empty() ? "" : ", for CUDA up to " + facts.cuda_driver,
                                          facts.cuda_runtime.empty() ? "" : ", CUDA runtime " + facts.cuda_runtime);
    if (facts.cuda_obstacle.empty()) {
      found_.ok("gpu", facts.rank, found);
    } else if (backend == "cuda") {
      found_.problem("gpu", facts.rank, fmt::format("{}; {}", found, facts.cuda_obstacle),
                     "compute.backend = \"cpu\", or a machine with a GPU");
    } else {
      const std::string need = backend == "auto" ? "auto takes the cpu" : "not asked for";
      found_.ok("gpu", facts.rank, fmt::format("{}; {}: {}", found, need, facts.cuda_obstacle));
    }
  }

  void nccl(const Facts& facts) {
    const std::string version = facts.nccl.empty() ? "not found" : facts.nccl;
    const std::string& collectives = expected_.config.cluster.collectives;
    const bool is_there = facts.nccl_obstacle.empty();
    if (collectives == "nccl" && !is_there) {
      found_.problem("nccl", facts.rank, fmt::format("{}; {}", version, facts.nccl_obstacle),
                     "cluster.collectives = \"gloo\", or NCCL and a GPU for each rank");
    } else if (is_there) {
      found_.ok("nccl", facts.rank, version);
    } else {
      found_.ok("nccl", facts.rank, fmt::format("{}; {}; ranks use gloo", version, facts.nccl_obstacle));
    }
  }

  void memory(const Facts& facts) {
    if (facts.memory_needed == 0) {
      found_.ok("memory", facts.rank, bytes_text(facts.memory_available) + " are available");
      return;
    }
    const std::uint64_t limit = expected_.config.compute.memory_limit_bytes;
    const std::uint64_t of_rank = facts.memory_held + facts.memory_needed;
    const std::uint64_t of_machine = facts.memory_needed * facts.local_size;
    const std::string need = fmt::format("{} takes about {} more", facts.memory_of, bytes_text(facts.memory_needed));
    if (limit > 0 && of_rank > limit) {
      found_.problem("memory", facts.rank, fmt::format("{}, beyond compute.memory_limit_bytes = {}", need, limit),
                     fmt::format("compute.memory_limit_bytes of at least {}, or a lower model.rank", of_rank));
    } else if (of_machine > facts.memory_available) {
      found_.problem("memory", facts.rank,
                     fmt::format("{}{}, and {} are available", need,
                                 facts.local_size > 1 ? fmt::format(" on each of {} ranks", facts.local_size) : "",
                                 bytes_text(facts.memory_available)),
                     "a lower model.rank, fewer ranks a machine, or a machine with more memory");
    } else {
      found_.ok("memory", facts.rank, fmt::format("{}, of {}", need, bytes_text(facts.memory_available)));
    }
  }

  void open_files(const Facts& facts) {
    const std::uint64_t need = open_files_needed(expected_.ranks);
    const std::string what = fmt::format("up to {} may be needed, {} are allowed", need, facts.open_files);
    if (facts.open_files >= need) {
      found_.ok("open files", facts.rank, what);
    } else if (facts.open_files_most >= need) {
      found_.problem("open files", facts.rank, what, fmt::format("ulimit -n {}, before concerto-launch", need));
    } else {
      found_.problem("open files", facts.rank, what,
                     fmt::format("nofile in /etc/security/limits.conf of at least {}", need));
    }
  }

  void files(const Facts& facts) {
    if (facts.data_problem.empty()) {
      found_.ok("data", facts.rank, expected_.config.data.train + " is there");
    } else {
      found_.problem("data", facts.rank, facts.data_problem, "the path, or the file's rights, on this machine");
    }
    const std::string& model = expected_.config.output.model;
    if (!facts.output_problem.empty()) {
      found_.problem("output", facts.rank, facts.output_problem, "output.model");
    } else if (!facts.is_output_shared) {
      found_.warn("output", facts.rank, fmt::format("{} lies on another file system than rank 0's", model),
                  "output.model on one that all ranks share");
    } else {
      found_.ok("output", facts.rank, model + " can be written" + (ranks_.size() > 1 ? ", and is shared" : ""));
    }
  }

  void encryption() {
    if (!is_whole()) return;
    std::size_t between = 0;
    try {
      between = links_between_machines(places_, addresses_used(places_, expected_.config.cluster)).size();
    } catch (const Error&) {
      return;  // an address is wrong: "links" says so
    }
    try {
      const bool has_certificates = ranks_.front().store.starts_with("embedded");
      const RankLinks links = choose_links(places_, without_nccl(expected_.config), has_certificates);
      const std::string over = fmt::format("{} link{}", between, between == 1 ? "" : "s");
      found_.ok("encryption", 0,
                between == 0 ? "factors do not leave the machine"
                : links.in_the_clear.empty()
                    ? fmt::format("factors go encrypted over {}, by {}", over, links.collectives)
                    : fmt::format("factors go in the clear over {}, which is allowed", over));
    } catch (const Error& error) {
      found_.problem("encryption", 0, error.message(), error.where());
    }
  }
  bool is_whole() const { return ranks_.size() == expected_.ranks && expected_.ranks > 1; }

  const Expectations& expected_;
  const std::vector<Facts>& ranks_;
  std::vector<RankPlace> places_;
  bool is_one_network_ = true;
  Findings found_;
};

}  // namespace

std::vector<Finding> judge(const Expectations& expected, const std::vector<Facts>& ranks) {
  return Judge(expected, ranks).judge();
}

std::string_view to_string(Level level) {
  switch (level) {
    case Level::kOk:
      return "ok";
    case Level::kWarning:
      return "warning";
    case Level::kProblem:
      return "problem";
  }
  return "";
}

std::uint64_t open_files_needed(Rank ranks) {
  constexpr std::uint64_t kAlone = 64;
  constexpr std::uint64_t kForEach = 4;
  return kAlone + kForEach * ranks;
}

}  // namespace concerto::doctor
