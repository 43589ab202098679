// Numbers out of environment variables, with errors that name the variable.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

#include "concerto/comm/job_environment.hpp"

namespace concerto {

/// The text of a variable; nothing where it is not set or empty.
[[nodiscard]] std::optional<std::string> text_of(const EnvironmentVariables& variables, std::string_view name);

/// Nothing where it is not set or empty. Error{kBadInput} naming it where it is not a whole number in [lowest,
/// highest].
[[nodiscard]] std::optional<std::uint32_t> number_of(const EnvironmentVariables& variables, std::string_view name,
                                                     std::uint32_t lowest = 0,
                                                     std::uint32_t highest = std::numeric_limits<std::uint32_t>::max() -
                                                                             1);

/// As number_of; Error{kBadInput} also where it is not set. `why` says who should have set it.
[[nodiscard]] std::uint32_t required_number(const EnvironmentVariables& variables, std::string_view name,
                                            std::string_view why, std::uint32_t lowest = 0,
                                            std::uint32_t highest = std::numeric_limits<std::uint32_t>::max() - 1);

/// Digits alone; nothing for anything else.
[[nodiscard]] std::optional<std::uint32_t> whole_number(std::string_view text) noexcept;

}  // namespace concerto
