// What the configuration tests share: parsing a text named run.toml, and the message of an error.
#pragma once

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "concerto/base/error.hpp"
#include "concerto/config/config.hpp"

namespace concerto::test {

/// The keys that every configuration for training needs, on lines 1 to 4.
inline const std::string kRequired = "[data]\ntrain = \"in.txt\"\n[output]\nmodel = \"out\"\n";

inline Config parse(const std::string& text, const std::vector<std::string>& overrides = {}) {
  return parse_config(kRequired + text, "run.toml", overrides);
}

/// The whole message of the error that the text causes; lines of `text` count from 5.
inline std::string error_of(const std::string& text, const std::vector<std::string>& overrides = {},
                            ErrorCode code = ErrorCode::kBadInput) {
  try {
    (void)parse(text, overrides);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "no error for: " << text;
  return {};
}

}  // namespace concerto::test
