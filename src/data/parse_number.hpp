// Numbers from text, fast: eight characters at a time in one machine word, without tables and without SIMD.
//
// The inline functions take a pointer with at least kReadAhead readable bytes behind it and move it past what they
// accept; they accept only the common short forms and leave the pointer where it was otherwise, so that the caller
// turns to the complete functions below.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string_view>

namespace concerto::data {

static_assert(std::endian::native == std::endian::little, "digits are taken from words in little-endian order");

/// Bytes that the fast functions may read past the character they stand on.
inline constexpr std::size_t kReadAhead = 32;

/// Up to eight digits: how many there were (0 to 8), and their value.
struct ShortDigits {
  std::uint32_t value;
  unsigned count;
};

[[nodiscard]] inline ShortDigits read_short_digits(const char* text) noexcept {
  std::uint64_t word = 0;
  std::memcpy(&word, text, sizeof(word));
  word ^= 0x3030303030303030U;  // digits become 0..9, everything else 10 or more
  // The high bit of a byte is set where it is no digit. A carry spoils only bytes behind the first such one.
  const std::uint64_t other = ((word + 0x7676767676767676U) | word) & 0x8080808080808080U;
  const unsigned count = static_cast<unsigned>(std::countr_zero(other)) >> 3U;
  if (count == 0) return {0, 0};
  word <<= 64U - 8U * count;  // the last digit into the highest byte; zeros lead
  const std::uint64_t pairs = (word & 0x00ff00ff00ff00ffU) * 10U + ((word >> 8U) & 0x00ff00ff00ff00ffU);
  const std::uint64_t quads = (pairs & 0x0000ffff0000ffffU) * 100U + ((pairs >> 16U) & 0x0000ffff0000ffffU);
  return {static_cast<std::uint32_t>((quads & 0xffffffffU) * 10000U + (quads >> 32U)), count};
}

/// A run of 1 to 10 digits.
[[nodiscard]] inline bool read_digits(const char*& text, std::uint64_t& value) noexcept {
  const ShortDigits head = read_short_digits(text);
  if (head.count == 0) return false;
  value = head.value;
  const char* at = text + head.count;
  if (head.count == 8) {
    for (int more = 0; more < 2 && static_cast<unsigned char>(*at - '0') < 10; ++more, ++at) {
      value = value * 10 + static_cast<unsigned char>(*at - '0');
    }
    if (static_cast<unsigned char>(*at - '0') < 10) return false;
  }
  text = at;
  return true;
}

/// A decimal number `[-]digits[.digits]` whose digits, read as one integer, are below 2^24, so that one division gives
/// the nearest float.
[[nodiscard]] inline bool read_short_decimal(const char*& text, float& value) noexcept {
  constexpr std::array<float, 8> kPowers = {1.0F, 1e1F, 1e2F, 1e3F, 1e4F, 1e5F, 1e6F, 1e7F};
  constexpr std::array<std::uint32_t, 8> kScales = {1, 10, 100, 1000, 10000, 100000, 1000000, 10000000};
  constexpr std::uint64_t kExact = std::uint64_t{1} << 24U;
  const char* at = text;
  const bool is_negative = *at == '-';
  at += is_negative ? 1 : 0;
  const ShortDigits whole = read_short_digits(at);
  if (whole.count == 0 || whole.count == 8) return false;
  at += whole.count;
  std::uint64_t digits = whole.value;
  float power = 1.0F;
  if (*at == '.') {
    const ShortDigits fraction = read_short_digits(at + 1);
    if (fraction.count == 0 || fraction.count == 8) return false;
    at += 1 + fraction.count;
    digits = digits * kScales[fraction.count] + fraction.value;
    power = kPowers[fraction.count];
  }
  if (digits >= kExact) return false;
  const float magnitude = static_cast<float>(static_cast<std::uint32_t>(digits)) / power;
  value = is_negative ? -magnitude : magnitude;
  text = at;
  return true;
}

/// What a complete decimal number is, including what the fast form leaves out.
enum class NumberKind { kFinite, kNotANumber, kNotFinite, kTooLarge };
struct ParsedFloat {
  NumberKind kind;
  float value;
};

/// The whole of `text` as a float, nearest; "+1", ".5", "1e-3" are numbers, "nan" and "inf" are kNotFinite; what is
/// beyond the largest float is kTooLarge, what is below the smallest becomes 0.
[[nodiscard]] ParsedFloat parse_float(std::string_view text);

/// The beginning of the text up to `end` as a finite float; moves `text` past it. For numbers too long for the short
/// form.
[[nodiscard]] bool read_decimal(const char*& text, const char* end, float& value) noexcept;

/// All of `text` as a decimal integer; decimals are cut off ("12.7" is 12). Nothing where it is no such number or
/// beyond 64 bits.
[[nodiscard]] std::optional<std::int64_t> parse_time(std::string_view text);

/// Are these one or more digits and nothing else?
[[nodiscard]] bool is_digits(std::string_view text) noexcept;

/// The value of digits, or nothing where it does not fit in 64 bits. is_digits(text).
[[nodiscard]] std::optional<std::uint64_t> digits_value(std::string_view text) noexcept;

}  // namespace concerto::data
