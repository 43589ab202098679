// Places by the kernel's own identifiers; decisions by addresses.
#include "fabric.hpp"

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include "concerto/base/error.hpp"
#include "concerto/comm/communicators.hpp"

namespace concerto {
namespace {

std::string host_name() {
  std::array<char, 256> name{};
  return gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "an unnamed machine";
}

/// Names repeat, in containers above all; these do not.
std::string network_of_this_process() {
  std::string boot;
  std::ifstream("/proc/sys/kernel/random/boot_id") >> boot;
  std::error_code error;
  const auto space = std::filesystem::read_symlink("/proc/self/ns/net", error);
  return boot.empty() || error ? host_name() : boot + " " + space.string();
}

}  // namespace

bool is_loopback(const std::string& address) {
  return address.starts_with("127.") || address == "::1";
}

RankPlace place_of_this_process(const ClusterConfig& cluster) {
  RankPlace place{host_name(), network_of_this_process(), "", "", "", ""};
  try {
    place.address = gloo_address({cluster.network_interface, "", ""});
  } catch (const Error& error) {
    place.why = error.what();
  }
  return place;
}

void find_device(RankPlace& place, const ClusterConfig& cluster, bool computes_on_gpu) {
  if (cluster.collectives == "gloo" || cluster.collectives == "channel") {
    place.no_device = "NCCL is not asked for";
  } else if (cluster.collectives == "auto" && !computes_on_gpu) {
    place.no_device = "it does not compute on a GPU";
  } else {
    try {
      place.device = nccl_device_place({});
    } catch (const Error& error) {
      place.no_device = error.message();
    }
  }
}

CollectivesChoice choose_collectives(const ClusterConfig& cluster, const std::vector<RankPlace>& places) {
  if (cluster.collectives == "gloo") return {"gloo", ""};
  const bool is_asked_for = cluster.collectives == "nccl";
  const std::string where = R"(cluster.collectives = "nccl")";
  std::map<std::pair<std::string, std::string>, std::size_t> users;
  for (std::size_t rank = 0; rank < places.size(); ++rank) {
    const RankPlace& place = places[rank];
    if (place.device.empty()) {
      const std::string why = fmt::format("rank {} on {}: {}", rank, place.host, place.no_device);
      if (is_asked_for) throw Error(ErrorCode::kUnsupported, why, where);
      return {"gloo", why};
    }
    const auto [other, is_first] = users.try_emplace({place.network, place.device}, rank);
    if (is_first) continue;
    const std::string why =
        fmt::format("ranks {} and {} on {} share the GPU at {}, and NCCL connects only ranks with one each",
                    other->second, rank, place.host, place.device);
    if (is_asked_for) throw Error(ErrorCode::kBadInput, why, where);
    return {"gloo", why};
  }
  return {"nccl", ""};
}

std::vector<std::string> addresses_used(const std::vector<RankPlace>& places, const ClusterConfig& cluster) {
  const bool is_one_network =
      std::ranges::all_of(places, [&](const RankPlace& place) { return place.network == places.front().network; });
  std::vector<std::string> addresses;
  for (std::size_t rank = 0; rank < places.size(); ++rank) {
    const RankPlace& place = places[rank];
    if (is_one_network && cluster.network_interface.empty()) {
      addresses.emplace_back("127.0.0.1");
      continue;
    }
    if (place.address.empty()) {
      throw Error(ErrorCode::kBadInput, fmt::format("rank {} on {}: {}", rank, place.host, place.why),
                  "cluster.network_interface");
    }
    if (!is_one_network && is_loopback(place.address)) {
      throw Error(ErrorCode::kBadInput,
                  fmt::format("rank {} would be reached at {}, to which the name {} leads, but that leads nowhere from "
                              "other machines; name the interface of a network that all have",
                              rank, place.address, place.host),
                  "cluster.network_interface");
    }
    addresses.push_back(place.address);
  }
  return addresses;
}

std::vector<std::string> links_between_machines(const std::vector<RankPlace>& places,
                                                const std::vector<std::string>& addresses) {
  std::set<std::string> links;
  for (std::size_t a = 0; a < places.size(); ++a) {
    for (std::size_t b = a + 1; b < places.size(); ++b) {
      // Within a network namespace the kernel delivers to own addresses without any interface.
      if (places[a].network == places[b].network) continue;
      links.insert(fmt::format("{} - {}", std::min(addresses[a], addresses[b]), std::max(addresses[a], addresses[b])));
    }
  }
  return {links.begin(), links.end()};
}

void require_allowed(const SecurityConfig& security, const std::string& collectives,
                     const std::vector<std::string>& links_in_the_clear) {
  if (!security.require_encryption || security.trusted_fabric || links_in_the_clear.empty()) return;
  const std::size_t more = links_in_the_clear.size() - 1;
  throw Error(ErrorCode::kBadInput,
              fmt::format("{} would send factors in the clear over {}{}; set security.trusted_fabric = true if nobody "
                          "listens on that network",
                          collectives, links_in_the_clear.front(), more > 0 ? fmt::format(" and {} more", more) : ""),
              "security.require_encryption");
}

Config without_nccl(Config config) {
  if (config.cluster.collectives == "nccl") config.cluster.collectives = "gloo";
  return config;
}

RankLinks choose_links(const std::vector<RankPlace>& places, const Config& config, bool has_certificates) {
  const SecurityConfig& security = config.security;
  RankLinks links{config.cluster.collectives, addresses_used(places, config.cluster), {}, ""};
  const std::vector<std::string> between = links_between_machines(places, links.addresses);
  const bool can_encrypt = has_certificates && !security.plain_channel;
  const bool must_encrypt = security.require_encryption && !security.trusted_fabric && !between.empty();
  if (links.collectives == "auto" && must_encrypt && can_encrypt) {
    links.collectives = "channel";
  } else if (links.collectives != "channel") {
    CollectivesChoice choice = choose_collectives(config.cluster, places);
    links.collectives = std::move(choice.name);
    links.why_not_nccl = std::move(choice.why);
  }
  if (links.collectives == "channel" && can_encrypt) return links;
  const bool is_strong = config.replication.level == "strong";
  if ((links.collectives == "channel" || !is_strong) && !can_encrypt && !security.plain_channel) {
    throw Error(
        ErrorCode::kBadInput,
        fmt::format("channels show the certificates that the launcher's own store hands out, and ranks of a job "
                    "whose store is etcd have none; use {}",
                    is_strong ? "gloo" : "strong"),
        is_strong ? "cluster.collectives" : "replication.level");
  }
  links.in_the_clear = between;
  const bool is_plain = links.collectives == "channel";
  require_allowed(security, is_plain ? "channel, with security.plain_channel," : links.collectives, between);
  return links;
}

}  // namespace concerto
