// The complete parsers of numbers: any length, any exponent, and what is not a number.
#include "parse_number.hpp"

#include <charconv>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <string>
#include <system_error>

namespace concerto::data {
namespace {

// from_chars says "out of range" for too large and too small alike; strtod tells them apart.
ParsedFloat parse_out_of_range(std::string_view text) {
  const double value = std::strtod(std::string(text).c_str(), nullptr);
  if (std::abs(value) > static_cast<double>(std::numeric_limits<float>::max())) return {NumberKind::kTooLarge, 0.0F};
  return {NumberKind::kFinite, static_cast<float>(value)};
}

}  // namespace

ParsedFloat parse_float(std::string_view text) {
  const std::string_view whole = text;
  if (text.size() > 1 && text[0] == '+' && text[1] != '-') text.remove_prefix(1);
  float value = 0.0F;
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (status == std::errc::invalid_argument || end != text.data() + text.size()) return {NumberKind::kNotANumber, 0.0F};
  if (status == std::errc::result_out_of_range) return parse_out_of_range(whole);
  if (!std::isfinite(value)) return {NumberKind::kNotFinite, value};
  return {NumberKind::kFinite, value};
}

bool read_decimal(const char*& text, const char* end, float& value) noexcept {
  const auto [stop, status] = std::from_chars(text, end, value);
  if (status != std::errc{} || !std::isfinite(value)) return false;
  text = stop;
  return true;
}

std::optional<std::int64_t> parse_time(std::string_view text) {
  if (text.size() > 1 && text[0] == '+' && text[1] != '-') text.remove_prefix(1);
  std::int64_t value = 0;
  const char* const last = text.data() + text.size();
  const auto [end, status] = std::from_chars(text.data(), last, value);
  if (status != std::errc{}) return std::nullopt;
  if (end == last) return value;
  const std::string_view rest(end, static_cast<std::size_t>(last - end));
  if (rest == "." || (rest[0] == '.' && is_digits(rest.substr(1)))) return value;
  return std::nullopt;
}

bool is_digits(std::string_view text) noexcept {
  for (const char character : text) {
    if (character < '0' || character > '9') return false;
  }
  return !text.empty();
}

std::optional<std::uint64_t> digits_value(std::string_view text) noexcept {
  std::uint64_t value = 0;
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (status != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace concerto::data
