// Where ranks are and at which addresses they really reach each other: what of their traffic leaves a machine, and
// whether that is allowed.
#pragma once

#include <string>
#include <vector>

#include "concerto/config/config.hpp"

namespace concerto {

/// What a rank says of its place.
struct RankPlace {
  std::string host;     ///< this machine's name: for people
  std::string network;  ///< the same for processes that share a loopback: of one machine, and one namespace in it
  std::string address;  ///< at which others would reach it, a number; empty: none, and `why` says why
  std::string why;
  friend bool operator==(const RankPlace&, const RankPlace&) = default;
};

/// Of this process. An interface or name that does not lead to an address of this machine is told in `why`.
[[nodiscard]] RankPlace place_of_this_process(const ClusterConfig& cluster);

/// At which address each rank is reached: loopback where all share it and no interface is configured, else its own.
/// Pure. Error{kBadInput} for a rank that has none, and for one whose address leads nowhere from other machines.
[[nodiscard]] std::vector<std::string> addresses_used(const std::vector<RankPlace>& places,
                                                      const ClusterConfig& cluster);

/// Pairs of addresses between which bytes leave a machine, each once: "10.0.0.1 - 10.0.0.2". Pure.
[[nodiscard]] std::vector<std::string> links_between_machines(const std::vector<RankPlace>& places,
                                                              const std::vector<std::string>& addresses);

/// Error{kBadInput} where such links are in the clear and must not be.
void require_allowed(const SecurityConfig& security, const std::string& collectives,
                     const std::vector<std::string>& links_in_the_clear);

/// How the ranks of a job are connected: the same on all of them.
struct RankLinks {
  std::string collectives;                ///< "gloo", "channel"
  std::vector<std::string> addresses;     ///< at which each rank is reached
  std::vector<std::string> in_the_clear;  ///< links_between_machines, of which nothing is encrypted
};
/// Pure. `has_certificates`: ranks have those of the job. Error{kBadInput} as addresses_used and require_allowed, and
/// where channels are wanted, and are neither plain nor have certificates.
[[nodiscard]] RankLinks choose_links(const std::vector<RankPlace>& places, const Config& config, bool has_certificates);

/// "127.0.0.1", "::1".
[[nodiscard]] bool is_loopback(const std::string& address);

}  // namespace concerto
