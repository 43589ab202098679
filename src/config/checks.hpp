// What keys say about each other: contradictions, and the defaults that follow from other keys.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "concerto/config/config.hpp"

namespace concerto::config {

/// Where each given key was given: "model.rank" -> "run.toml:3".
using Places = std::map<std::string, std::string, std::less<>>;

/// Throws Error{kBadInput} for the first contradiction between keys. `places` has the keys that were given.
void check_consistent(const Config& config, const Places& places);

/// Throws Error{kBadInput} naming the first required key that is missing; `name` stands for the file.
void check_complete(const Config& config, std::string_view name);

}  // namespace concerto::config
