// Reading variables.
#include "variables.hpp"

#include <charconv>

#include <fmt/format.h>

#include "concerto/base/error.hpp"

namespace concerto {

std::optional<std::string> text_of(const EnvironmentVariables& variables, std::string_view name) {
  const auto found = variables.find(name);
  if (found == variables.end() || found->second.empty()) return std::nullopt;
  return found->second;
}

std::optional<std::uint32_t> whole_number(std::string_view text) noexcept {
  std::uint32_t number = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || stop != text.data() + text.size()) return std::nullopt;
  return number;
}

std::optional<std::uint32_t> number_of(const EnvironmentVariables& variables, std::string_view name,
                                       std::uint32_t lowest, std::uint32_t highest) {
  const auto text = text_of(variables, name);
  if (!text) return std::nullopt;
  const auto number = whole_number(*text);
  if (number && *number >= lowest && *number <= highest) return number;
  throw Error(ErrorCode::kBadInput,
              fmt::format("must be a whole number from {} to {}, not '{}'", lowest, highest, *text), std::string(name));
}

std::uint32_t required_number(const EnvironmentVariables& variables, std::string_view name, std::string_view why,
                              std::uint32_t lowest, std::uint32_t highest) {
  const auto number = number_of(variables, name, lowest, highest);
  if (number) return *number;
  throw Error(ErrorCode::kBadInput, fmt::format("is not set, though {}", why), std::string(name));
}

}  // namespace concerto
