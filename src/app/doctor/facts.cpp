// Facts as JSON.
#include "facts.hpp"

#include <nlohmann/json.hpp>

#include "concerto/base/error.hpp"

namespace concerto {

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(RankPlace, host, network, address, why)

}  // namespace concerto

namespace concerto::doctor {

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(LinkFacts, peer, round_trip_ms, megabytes_per_second)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(CertificateFacts, what, hours_until_begin, hours_left, problem)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Facts, rank, local_size, place, interfaces, name_addresses, open_files,
                                   open_files_most, memory_available, memory_held, memory_needed, memory_of, driver,
                                   cuda_driver, cuda_runtime, nccl, cuda_obstacle, nccl_obstacle, store, store_problem,
                                   store_ms, certificates, data_problem, output_problem, is_output_shared, has_clock,
                                   clock_offset_ms, clock_uncertainty_ms, links, links_problem)

std::string to_json(const Facts& facts) {
  return nlohmann::json(facts).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

Facts parse_facts(const std::string& text) {
  try {
    return nlohmann::json::parse(text).get<Facts>();
  } catch (const nlohmann::json::exception& error) {
    throw Error(ErrorCode::kCorrupt, "not what doctor says of a rank", "the store, facts of a rank", error.what());
  }
}

}  // namespace concerto::doctor
