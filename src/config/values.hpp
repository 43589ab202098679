// Values into and out of a Config, each by the rule of its key.
#pragma once

#include <string>

#include "document.hpp"
#include "keys.hpp"

namespace concerto::config {

/// Puts the entry's value where its rule says. Error{kBadInput} for a wrong type, a number out of range, an unknown
/// word (naming the nearest) or metric.
void assign(const KeyRule& rule, const Entry& entry, Config& config);

/// How a bare word of an override is read for this key.
[[nodiscard]] BareWords bare_words_of(const KeyRule& rule);

/// The key's value as TOML text; empty where it is absent (an empty text, an unset number, no metrics).
[[nodiscard]] std::string toml_text(const KeyRule& rule, const Config& config);
/// The key's value as JSON; null where it is absent.
[[nodiscard]] std::string json_text(const KeyRule& rule, const Config& config);

}  // namespace concerto::config
