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
  std::string device;  ///< "0000:17:00.0": the GPU to which NCCL would connect it; empty: none, `no_device` says why
  std::string no_device;
  friend bool operator==(const RankPlace&, const RankPlace&) = default;
};

/// Of this process. An interface or name that does not lead to an address of this machine is told in `why`.
[[nodiscard]] RankPlace place_of_this_process(const ClusterConfig& cluster);

/// Fills in the device, where cluster.collectives may need one: loads NCCL and CUDA's runtime.
void find_device(RankPlace& place, const ClusterConfig& cluster, bool computes_on_gpu);

/// What connects the ranks: "gloo" or "nccl"; and why not NCCL, where that was left open.
struct CollectivesChoice {
  std::string name;
  std::string why;
};
/// Of those that encrypt nothing: auto is NCCL where every rank has a device of its own, else gloo. Pure: all ranks
/// choose alike. Error{kUnsupported} where NCCL is asked for by its name and a rank has no device; kBadInput where two
/// have the same one.
[[nodiscard]] CollectivesChoice choose_collectives(const ClusterConfig& cluster, const std::vector<RankPlace>& places);

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
  std::string collectives;                ///< "gloo", "channel", "nccl"
  std::vector<std::string> addresses;     ///< at which each rank is reached
  std::vector<std::string> in_the_clear;  ///< links_between_machines, of which nothing is encrypted
  std::string why_not_nccl;               ///< where that was left open
};
/// Pure. Levels but strong need messages that are encrypted or may be plain, like channels. Auto is channels where
/// links must be encrypted and can be, else as choose_collectives has it. `has_certificates`: ranks have those of the
/// job. Errors as addresses_used, choose_collectives and require_allowed, and where channels are wanted, and are
/// neither plain nor have certificates.
[[nodiscard]] RankLinks choose_links(const std::vector<RankPlace>& places, const Config& config, bool has_certificates);

/// The same with Gloo where NCCL is asked for: of who may reach whom, and what goes in the clear, they are alike, and
/// links can be looked at without devices.
[[nodiscard]] Config without_nccl(Config config);

/// "127.0.0.1", "::1".
[[nodiscard]] bool is_loopback(const std::string& address);

}  // namespace concerto
