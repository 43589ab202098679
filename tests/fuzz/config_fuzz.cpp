// Configurations from arbitrary bytes: whatever they say, parsing gives a valid Config or an Error. The bytes are a
// TOML text, then, from the first NUL on, overrides separated by NULs. The text is read as a sweep too.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "concerto/base/error.hpp"
#include "concerto/config/config.hpp"
#include "concerto/config/sweep.hpp"

namespace {

/// A configuration that was accepted must print as JSON and be accepted again with nothing changed.
void check_accepted(const concerto::Config& config) {
  const std::string json = concerto::config_to_json(config);
  if (json.front() != '{' || json.back() != '}' || json.find('\n') != std::string::npos) std::abort();
  if (concerto::config_to_json(concerto::resolve_defaults(config)) != json) std::abort();
  if (config.model.rank == 0 || config.solver.epochs == 0 || !(config.model.regularization >= 0.0)) std::abort();
}

/// Likewise.
void read_as_sweep(const std::string& text) {
  try {
    const concerto::Sweep sweep = concerto::parse_sweep(text, "fuzz.toml");
    if (sweep.cases.empty() || sweep.cases.front().levels.empty() || sweep.repeats == 0) std::abort();
  } catch (const concerto::Error& error) {
    if (std::string(error.what()).find('\n') != std::string::npos) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::vector<std::string> parts(1);
  for (std::size_t k = 0; k < size; ++k) {
    if (data[k] == 0) {
      parts.emplace_back();
    } else {
      parts.back() += static_cast<char>(data[k]);
    }
  }
  const std::vector<std::string> overrides(parts.begin() + 1, parts.end());
  for (const auto use : {concerto::ConfigUse::kAny, concerto::ConfigUse::kTraining}) {
    try {
      check_accepted(concerto::parse_config(parts.front(), "fuzz.toml", overrides, use));
    } catch (const concerto::Error& error) {
      // Refusing, in one line, is an answer; anything else thrown ends the program.
      if (std::string(error.what()).find('\n') != std::string::npos) std::abort();
    }
  }
  read_as_sweep(parts.front());
  return 0;
}
