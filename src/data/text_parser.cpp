// The fast walk over lines of the common form, and the complete one for every other line.
//
// The fast walk takes a line only if each character of it is as expected; at the first surprise it goes back to the
// beginning of the line and hands it to `take_line`, which alone decides what is right and what an error says.
#include "text_parser.hpp"

#include <algorithm>
#include <utility>

#include "parse_number.hpp"

namespace concerto::data {
namespace {

constexpr std::array<const char*, 2> kSides = {"user", "item"};

bool skip_newline(const char*& at) noexcept {
  if (*at == '\n') {
    ++at;
    return true;
  }
  if (at[0] == '\r' && at[1] == '\n') {
    at += 2;
    return true;
  }
  return false;
}

template <bool kTwoCharacters>
bool skip_delimiter(const char*& at, char delimiter) noexcept {
  if constexpr (kTwoCharacters) {
    if (at[0] != ':' || at[1] != ':') return false;
    at += 2;
  } else {
    if (*at != delimiter) return false;
    ++at;
  }
  return true;
}

char delimiter_character(Delimiter delimiter) noexcept {
  switch (delimiter) {
    case Delimiter::kTab:
      return '\t';
    case Delimiter::kComma:
      return ',';
    case Delimiter::kDoubleColon:
      return ':';
    case Delimiter::kSpace:
      return ' ';
  }
  return ' ';
}

bool has_control_character(std::string_view text) noexcept {
  return std::any_of(text.begin(), text.end(), [](char character) {
    const auto code = static_cast<unsigned char>(character);
    return code < 0x20 || code == 0x7f;
  });
}

}  // namespace

void TextParser::parse(const TextChunk& chunk) {
  reset(chunk);
  const TextLayout& layout = rules_.layout;
  if (rules_.is_label[0] || rules_.is_label[1]) return parse_slowly(chunk.begin(), chunk.end());
  if (layout.format == FileFormat::kAdjacency) return parse_adjacency(chunk.begin(), chunk.end());
  const bool is_double = layout.delimiter == Delimiter::kDoubleColon;
  if (is_double && layout.has_values) return parse_rows<true, true>(chunk.begin(), chunk.end());
  if (is_double) return parse_rows<true, false>(chunk.begin(), chunk.end());
  if (layout.has_values) return parse_rows<false, true>(chunk.begin(), chunk.end());
  return parse_rows<false, false>(chunk.begin(), chunk.end());
}

void TextParser::reset(const TextChunk& chunk) {
  // The shortest entry is "1 1" and a newline; within an adjacency line a delimiter and a digit.
  const std::size_t shortest = rules_.layout.format == FileFormat::kAdjacency ? 2 : 4;
  const std::size_t most = chunk.size / shortest + 1;
  if (most > capacity_) {
    for (auto& ids : ids_) ids = std::make_unique_for_overwrite<std::uint32_t[]>(most);
    if (rules_.layout.has_values) values_ = std::make_unique_for_overwrite<float[]>(most);
    if (rules_.keep_times) times_ = std::make_unique_for_overwrite<std::int64_t[]>(most);
    capacity_ = most;
  }
  count_ = 0;
  lines_ = 0;
  problem_.reset();
  needs_labels_ = {false, false};
  saw_text_ = {false, false};
  for (std::size_t side = 0; side < 2; ++side) {
    labels_[side].clear();
    overflow_[side].reset();
  }
}

template <bool kTwoCharacters, bool kHasValue>
void TextParser::parse_rows(const char* at, const char* end) {
  const TextLayout& layout = rules_.layout;
  const char delimiter = delimiter_character(layout.delimiter);
  const std::uint64_t base = layout.index_base;
  const std::uint64_t user_limit = rules_.limit[0];
  const std::uint64_t item_limit = rules_.limit[1];
  const bool has_time = layout.columns > (kHasValue ? 3U : 2U);
  const bool keep_times = rules_.keep_times;
  std::uint32_t* const users = ids_[0].get();
  std::uint32_t* const items = ids_[1].get();
  float* const values = values_.get();
  // Below: an id less the base, as an unsigned number, is at or above the limit also where the id is below the base.
  const auto take = [&](const char*& line) {
    const char* text = line;
    std::uint64_t user = 0;
    std::uint64_t item = 0;
    std::uint64_t time = 0;
    float value = 1.0F;
    if (!read_digits(text, user) || user - base >= user_limit) return false;
    if (!skip_delimiter<kTwoCharacters>(text, delimiter)) return false;
    if (!read_digits(text, item) || item - base >= item_limit) return false;
    if constexpr (kHasValue) {
      if (!skip_delimiter<kTwoCharacters>(text, delimiter)) return false;
      if (!read_short_decimal(text, value) && !read_decimal(text, end, value)) return false;
    }
    if (has_time && (!skip_delimiter<kTwoCharacters>(text, delimiter) || !read_digits(text, time))) return false;
    if (!skip_newline(text)) return false;
    users[count_] = static_cast<std::uint32_t>(user - base);
    items[count_] = static_cast<std::uint32_t>(item - base);
    if constexpr (kHasValue) values[count_] = value;
    if (keep_times) times_[count_] = static_cast<std::int64_t>(time);
    ++count_;
    ++lines_;
    line = text;
    return true;
  };
  while (at < end) {
    if (!take(at) && !take_line(at, end)) return;
  }
}

void TextParser::parse_adjacency(const char* at, const char* end) {
  const Delimiter kind = rules_.layout.delimiter;
  const char delimiter = delimiter_character(kind);
  const auto take = [&](const char*& line) {
    const char* text = line;
    std::uint64_t user = 0;
    if (!read_digits(text, user) || user >= rules_.limit[0]) return false;
    std::size_t count = count_;
    while (!skip_newline(text)) {
      std::uint64_t item = 0;
      if (!skip_delimiter<false>(text, delimiter)) return false;
      if (!read_digits(text, item) || item >= rules_.limit[1]) return false;
      ids_[0][count] = static_cast<std::uint32_t>(user);
      ids_[1][count] = static_cast<std::uint32_t>(item);
      ++count;
    }
    count_ = count;
    ++lines_;
    line = text;
    return true;
  };
  while (at < end) {
    if ((kind == Delimiter::kDoubleColon || !take(at)) && !take_line(at, end)) return;
  }
}

void TextParser::parse_slowly(const char* at, const char* end) {
  while (at < end && take_line(at, end)) {
  }
}

bool TextParser::take_line(const char*& at, const char* end) {
  const char* const newline = std::find(at, end, '\n');
  split_fields(std::string_view(at, static_cast<std::size_t>(newline - at)), rules_.layout.delimiter, fields_);
  if (!fields_.empty()) {
    if (!(rules_.layout.format == FileFormat::kAdjacency ? take_adjacency() : take_row())) return false;
  }
  ++lines_;
  at = newline + 1;
  return true;
}

bool TextParser::take_row() {
  const TextLayout& layout = rules_.layout;
  const std::size_t found = fields_.size();
  if (found != layout.columns) {
    std::string message = counted(found, "field") + ", expected " + std::to_string(layout.columns);
    if (layout.format == FileFormat::kText) message += " (for lines `user item item ...` set format = \"adjacency\")";
    return fail(static_cast<unsigned>(std::min<std::size_t>(found, layout.columns) + 1), std::move(message));
  }
  std::uint32_t user = 0;
  std::uint32_t item = 0;
  float value = 1.0F;
  std::int64_t time = 0;
  const bool user_fits = take_id(0, 0, user);
  if (!user_fits && problem_) return false;
  if (!take_id(1, 1, item) || !user_fits) return false;
  if (layout.has_values && !take_value(2, value)) return false;
  if (rules_.keep_times && !take_time(layout.time_column, time)) return false;
  ids_[0][count_] = user;
  ids_[1][count_] = item;
  if (layout.has_values) values_[count_] = value;
  if (rules_.keep_times) times_[count_] = time;
  ++count_;
  return true;
}

bool TextParser::take_adjacency() {
  std::uint32_t user = 0;
  const bool user_fits = take_id(0, 0, user);
  if (problem_) return false;
  bool fits = user_fits;
  for (unsigned field = 1; field < fields_.size(); ++field) {
    std::uint32_t item = 0;
    fits = take_id(1, field, item) && fits;
    if (problem_) return false;
    ids_[0][count_] = user;
    ids_[1][count_] = item;
    ++count_;
  }
  return fits;
}

bool TextParser::take_id(std::size_t side, unsigned field, std::uint32_t& id) {
  const std::string_view text = fields_[field];
  if (text.empty()) return fail(field + 1, std::string("the ") + kSides[side] + " is missing");
  if (rules_.is_label[side]) return take_label(side, field, id);
  if (rules_.layout.is_index) return take_index(side, field, id);
  if (has_control_character(text)) return fail(field + 1, quote(text) + " is not an id");
  const auto number = is_digits(text) ? digits_value(text) : std::nullopt;
  if (number && *number < rules_.limit[side]) {
    id = static_cast<std::uint32_t>(*number);
    return true;
  }
  if (number && rules_.is_declared[side]) return fail(field + 1, beyond_limit(side, text));
  needs_labels_[side] = true;
  return false;
}

bool TextParser::take_index(std::size_t side, unsigned field, std::uint32_t& id) {
  const std::string_view text = fields_[field];
  const std::uint32_t base = rules_.layout.index_base;
  if (!is_digits(text)) {
    const bool is_negative = text[0] == '-' && is_digits(text.substr(1));
    return fail(field + 1, quote(text) + (is_negative ? " is negative; indices count from " + std::to_string(base)
                                                      : std::string(" is not an index")));
  }
  const auto number = digits_value(text);
  if (number && *number < base) return fail(field + 1, quote(text) + " is not an index; they count from 1");
  if (!number || *number - base >= rules_.limit[side]) return fail(field + 1, beyond_limit(side, text));
  id = static_cast<std::uint32_t>(*number - base);
  return true;
}

bool TextParser::take_label(std::size_t side, unsigned field, std::uint32_t& id) {
  const std::string_view text = fields_[field];
  if (has_control_character(text)) return fail(field + 1, quote(text) + " is not an id");
  if (!is_digits(text)) {
    saw_text_[side] = true;
  } else if (!overflow_[side] && !digits_value(text)) {
    overflow_[side] = LineProblem{lines_, field + 1, quote(text) + " is too large: ids of digits end at 2^64 - 1"};
  }
  id = labels_[side].insert(text);
  return true;
}

bool TextParser::take_value(unsigned field, float& value) {
  const std::string_view text = fields_[field];
  const ParsedFloat parsed = parse_float(text);
  value = parsed.value;
  switch (parsed.kind) {
    case NumberKind::kFinite:
      return true;
    case NumberKind::kNotANumber:
      return fail(field + 1, text.empty() ? std::string("the value is missing") : quote(text) + " is not a number");
    case NumberKind::kNotFinite:
      return fail(field + 1, quote(text) + " is not a finite number");
    case NumberKind::kTooLarge:
      return fail(field + 1, quote(text) + " is too large: values end at 3.4e38");
  }
  return false;
}

bool TextParser::take_time(unsigned field, std::int64_t& time) {
  const auto parsed = parse_time(fields_[field]);
  if (!parsed) return fail(field + 1, quote(fields_[field]) + " is not a time (a whole number)");
  time = *parsed;
  return true;
}

bool TextParser::fail(unsigned field, std::string message) {
  problem_ = LineProblem{lines_, field, std::move(message)};
  return false;
}

std::string TextParser::beyond_limit(std::size_t side, std::string_view text) const {
  const std::uint64_t last = std::uint64_t{rules_.limit[side]} - 1 + rules_.layout.index_base;
  if (!rules_.is_declared[side]) return quote(text) + " is too large: indices end at " + std::to_string(last);
  return quote(text) + " is beyond the declared " + counted(rules_.limit[side], kSides[side]) + " (the last index is " +
         std::to_string(last) + ")";
}

}  // namespace concerto::data
