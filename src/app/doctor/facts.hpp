// What `concerto doctor` finds out on one rank; plain values that travel through the store to the rank that judges.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "concerto/base/ids.hpp"

#include "fabric.hpp"

namespace concerto::doctor {

/// The connection with another rank.
struct LinkFacts {
  Rank peer = 0;
  double round_trip_ms = 0.0;  ///< median
  double megabytes_per_second = 0.0;
};

struct CertificateFacts {
  std::string what;                ///< "of this rank", or a file
  double hours_until_begin = 0.0;  ///< negative: it has begun
  double hours_left = 0.0;
  std::string problem;  ///< why it is none
};

struct Facts {
  Rank rank = 0;
  std::uint32_t local_size = 1;  ///< ranks that share the machine
  RankPlace place;
  std::vector<std::string> interfaces;      ///< that are up: "eth0 10.0.0.1"
  std::vector<std::string> name_addresses;  ///< to which the machine's name leads
  std::uint64_t open_files = 0;             ///< limit of this process, and what it may be raised to
  std::uint64_t open_files_most = 0;
  std::uint64_t memory_available = 0;  ///< bytes
  std::uint64_t memory_held = 0;       ///< by this process now
  std::uint64_t memory_needed = 0;     ///< more, predicted; 0: not known
  std::string memory_of;               ///< of what the prediction is
  std::string driver;                  ///< NVIDIA's, in its own words; empty: none
  std::string cuda_driver;             ///< "13.0"; empty: no libcuda
  std::string cuda_runtime;            ///< "13.0"; empty: no libcudart where the loader looks
  std::string nccl;                    ///< "2.28.9"; empty: no libnccl
  std::string cuda_obstacle;           ///< why the cuda backend cannot run; empty: it can
  std::string nccl_obstacle;
  std::string store;  ///< what it is; empty: there is none to ask
  std::string store_problem;
  double store_ms = 0.0;  ///< median of an answer
  std::vector<CertificateFacts> certificates;
  std::string data_problem;
  std::string output_problem;
  bool is_output_shared = true;  ///< what rank 0 wrote beside output.model is seen here
  bool has_clock = false;        ///< measured against rank 0
  double clock_offset_ms = 0.0;
  double clock_uncertainty_ms = 0.0;
  std::vector<LinkFacts> links;
  std::string links_problem;
};

[[nodiscard]] std::string to_json(const Facts& facts);
/// Error{kCorrupt} for what to_json did not write.
[[nodiscard]] Facts parse_facts(const std::string& text);

}  // namespace concerto::doctor
