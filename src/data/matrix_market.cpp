// The beginning of MatrixMarket coordinate files: banner, remarks, size line. The entries are read as any text.
// Source: Boisvert, Pozo and Remington, "The Matrix Market exchange formats" (NISTIR 5935, 1996).
#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "concerto/base/error.hpp"

#include "parse_number.hpp"
#include "text_layout.hpp"

namespace concerto::data {
namespace {

constexpr std::string_view kBanner = "%%matrixmarket";

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& character : out) {
    if (character >= 'A' && character <= 'Z') character = static_cast<char>(character - 'A' + 'a');
  }
  return out;
}

// Takes the next line off `rest`.
std::string_view take_line(std::string_view& rest) {
  const std::size_t end = std::min(rest.find('\n'), rest.size());
  const std::string_view line = rest.substr(0, end);
  rest.remove_prefix(std::min(end + 1, rest.size()));
  return line;
}

bool is_pattern(std::string_view banner, const std::string& file) {
  std::vector<std::string_view> words;
  split_fields(banner, Delimiter::kSpace, words);
  const std::string where = place(file, 1, 0);
  if (words.size() != 5) {
    throw Error(ErrorCode::kBadInput, "the banner of a MatrixMarket file has five words, not " + quote(banner), where);
  }
  const std::string field = lower(words[3]);
  if (lower(words[1]) != "matrix" || lower(words[2]) != "coordinate") {
    throw Error(ErrorCode::kUnsupported,
                quote(banner) + ": only MatrixMarket files of kind \"matrix coordinate\" hold ratings", where);
  }
  static constexpr std::array<std::string_view, 4> kFields = {"real", "double", "integer", "pattern"};
  if (std::find(kFields.begin(), kFields.end(), field) == kFields.end()) {
    throw Error(ErrorCode::kUnsupported, quote(words[3]) + " values; real, integer and pattern are read", where);
  }
  if (lower(words[4]) != "general") {
    throw Error(ErrorCode::kUnsupported, quote(words[4]) + " storage; only general is read", where);
  }
  return field == "pattern";
}

void read_sizes(std::string_view line, std::uint64_t number, const std::string& file, TextLayout& layout) {
  std::vector<std::string_view> words;
  split_fields(line, Delimiter::kSpace, words);
  if (words.size() != 3) {
    throw Error(ErrorCode::kBadInput, "the size line has three numbers: rows, columns, entries; found " + quote(line),
                place(file, number, 0));
  }
  std::array<std::uint64_t, 3> sizes{};
  for (std::size_t index = 0; index < 3; ++index) {
    const auto value = is_digits(words[index]) ? digits_value(words[index]) : std::nullopt;
    if (!value || (index < 2 && *value > kMaxRows)) {
      throw Error(ErrorCode::kBadInput,
                  quote(words[index]) + (is_digits(words[index]) ? " is too large" : " is not a count"),
                  place(file, number, index + 1));
    }
    sizes[index] = *value;
  }
  layout.shape_users = static_cast<RowIndex>(sizes[0]);
  layout.shape_items = static_cast<RowIndex>(sizes[1]);
  layout.declared_entries = sizes[2];
}

}  // namespace

bool is_matrix_market(std::string_view sample) noexcept {
  return lower(sample.substr(0, kBanner.size())) == kBanner;
}

TextLayout matrix_market_layout(std::string_view sample, const std::string& file) {
  if (!is_matrix_market(sample)) {
    throw Error(ErrorCode::kBadInput, "does not begin with %%MatrixMarket", place(file, 1, 0));
  }
  std::string_view rest = sample;
  TextLayout layout;
  layout.format = FileFormat::kMatrixMarket;
  layout.is_index = true;
  layout.index_base = 1;
  layout.columns = is_pattern(take_line(rest), file) ? 2 : 3;
  layout.has_values = layout.columns == 3;
  layout.skip_lines = 1;
  while (!rest.empty()) {
    const std::string_view line = take_line(rest);
    ++layout.skip_lines;
    layout.skip_bytes = static_cast<std::uint64_t>(rest.data() - sample.data());
    const bool is_blank = line.find_first_not_of(" \t\r") == std::string_view::npos;
    if (is_blank || line[0] == '%') continue;
    read_sizes(line, layout.skip_lines, file, layout);
    return layout;
  }
  throw Error(ErrorCode::kBadInput, "has no size line (rows, columns, entries)", file);
}

}  // namespace concerto::data
