// Recognizing delimiter, header, columns and adjacency lines from a sample of lines.
#include "text_layout.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <utility>
#include <vector>

#include "concerto/base/error.hpp"

#include "parse_number.hpp"

namespace concerto::data {
namespace {

constexpr std::size_t kSampleLines = 1000;
constexpr unsigned kMostColumns = 4;

struct SampleLine {
  std::string_view text;
  std::uint64_t number = 0;     // from 0, all lines counted
  std::uint64_t next_byte = 0;  // where the line behind it begins
};

bool is_blank(std::string_view line) {
  return line.find_first_not_of(" \t\r") == std::string_view::npos;
}

// Lines at the top that begin with '#' or '%' and a space or nothing are remarks, as in graph collections.
bool is_remark(std::string_view line) {
  if (line.empty() || (line[0] != '#' && line[0] != '%')) return false;
  return line.size() == 1 || line[1] == ' ' || line[1] == '\t' || line[1] == '\r';
}

std::vector<SampleLine> sample_lines(std::string_view sample, bool is_whole, std::size_t begin) {
  std::vector<SampleLine> lines;
  std::uint64_t number = 0;
  bool is_top = true;
  while (begin < sample.size() && lines.size() < kSampleLines) {
    const std::size_t end = sample.find('\n', begin);
    // The last line of a cut sample is incomplete; it is used only when there is no other.
    if (end == std::string_view::npos && !is_whole && !lines.empty()) break;
    const std::string_view text = sample.substr(begin, end == std::string_view::npos ? end : end - begin);
    begin = end == std::string_view::npos ? sample.size() : end + 1;
    is_top = is_top && (is_blank(text) || is_remark(text));
    if (!is_top && !is_blank(text)) lines.push_back({text, number, begin});
    ++number;
  }
  return lines;
}

using Fields = std::vector<std::string_view>;

std::vector<Fields> split_all(const std::vector<SampleLine>& lines, Delimiter delimiter) {
  std::vector<Fields> all(lines.size());
  for (std::size_t index = 0; index < lines.size(); ++index) split_fields(lines[index].text, delimiter, all[index]);
  return all;
}

bool is_number(std::string_view field) {
  return parse_float(field).kind != NumberKind::kNotANumber;
}

// How well a delimiter explains the lines: 3 all lines alike and both ids numbers, 2 all lines alike, else by the
// share of lines that it divides at all.
double score(const std::vector<Fields>& lines) {
  const std::size_t count = lines.back().size();
  const bool is_even = count >= 2 && std::all_of(lines.begin(), lines.end(),
                                                 [&](const Fields& fields) { return fields.size() == count; });
  const std::size_t first = lines.size() > 1 ? 1 : 0;  // the first line may be a header
  const bool has_numbers = std::all_of(
      lines.begin() + static_cast<std::ptrdiff_t>(first), lines.end(),
      [](const Fields& fields) { return fields.size() >= 2 && is_digits(fields[0]) && is_digits(fields[1]); });
  if (is_even) return has_numbers ? 3.0 : 2.0;
  const auto divided =
      std::count_if(lines.begin(), lines.end(), [](const Fields& fields) { return fields.size() >= 2; });
  return static_cast<double>(divided) / static_cast<double>(lines.size());
}

Delimiter detect_delimiter(const std::vector<SampleLine>& lines) {
  constexpr std::array kCandidates = {Delimiter::kTab, Delimiter::kComma, Delimiter::kDoubleColon, Delimiter::kSpace};
  std::pair<double, Delimiter> best{0.0, Delimiter::kSpace};
  for (const Delimiter candidate : kCandidates) {
    const double points = score(split_all(lines, candidate));
    if (points > best.first) best = {points, candidate};
  }
  return best.second;
}

std::string letters_of(std::string_view name) {
  std::string out;
  for (const char character : name) {
    if (character >= 'A' && character <= 'Z') out += static_cast<char>(character - 'A' + 'a');
    if (character >= 'a' && character <= 'z') out += character;
  }
  return out;
}

bool is_column_name(std::string_view field, bool is_user) {
  static constexpr std::array<std::string_view, 6> kUsers = {"user", "users",    "userid",
                                                             "uid",  "customer", "customerid"};
  static constexpr std::array<std::string_view, 8> kItems = {"item",    "items", "itemid",  "iid",
                                                             "movieid", "movie", "product", "productid"};
  const std::string letters = letters_of(field);
  return is_user ? std::find(kUsers.begin(), kUsers.end(), letters) != kUsers.end()
                 : std::find(kItems.begin(), kItems.end(), letters) != kItems.end();
}

// A header has no number in it and either names the first two columns or stands over a column of numbers.
bool is_header(const std::vector<Fields>& lines) {
  const Fields& top = lines.front();
  if (top.size() < 2 || std::any_of(top.begin(), top.end(), is_number)) return false;
  if (is_column_name(top[0], true) && is_column_name(top[1], false)) return true;
  for (std::size_t column = 0; column < top.size(); ++column) {
    std::size_t numbers = 0;
    for (std::size_t line = 1; line < lines.size(); ++line) {
      if (column < lines[line].size() && is_number(lines[line][column])) ++numbers;
    }
    if (2 * numbers > lines.size() - 1) return true;
  }
  return false;
}

// The most frequent number of fields; among equals the one that came first.
struct FieldCounts {
  std::size_t modal = 0;
  std::size_t modal_lines = 0;
  std::size_t distinct = 0;
};

FieldCounts count_fields(const std::vector<Fields>& lines) {
  std::map<std::size_t, std::size_t> seen;
  for (const Fields& fields : lines) ++seen[fields.size()];
  FieldCounts counts;
  counts.distinct = seen.size();
  for (const Fields& fields : lines) {
    const std::size_t lines_alike = seen[fields.size()];
    if (lines_alike > counts.modal_lines) {
      counts.modal = fields.size();
      counts.modal_lines = lines_alike;
    }
  }
  return counts;
}

// Do the lines look like `user item item ...`? Varying numbers of fields say so, unless at least half of the lines
// agree on what a line of ratings has and few others occur: those are ratings with a bad line, and an error is due.
bool looks_like_adjacency(const std::vector<Fields>& lines, const FieldCounts& counts) {
  for (const Fields& fields : lines) {
    for (const std::string_view field : fields) {
      if (is_number(field) && !is_digits(field)) return false;
    }
  }
  if (counts.distinct == 1) return counts.modal > kMostColumns;
  if (counts.distinct >= 4 || counts.modal > kMostColumns) return true;
  return 2 * counts.modal_lines < lines.size();
}

bool is_movielens_name(const std::filesystem::path& file) {
  std::filesystem::path name = file.filename();
  if (name.extension() == ".gz" || name.extension() == ".zst") name = name.stem();
  return name == "u.data" || name == "ratings.dat" || name == "ratings.csv";
}

void set_columns(TextLayout& layout, const Fields* header, const FieldCounts& counts, const Fields& first,
                 std::uint64_t first_line, const std::string& file) {
  const std::size_t columns = counts.modal;
  if (columns < 2 || columns > kMostColumns) {
    const bool is_short = columns < 2;
    throw Error(ErrorCode::kBadInput,
                counted(first.size(), "field") +
                    (is_short ? ", but a line needs a user and an item (separated by tab, comma, space or ::)"
                              : ", but a line has at most user, item, value and time"),
                place(file, first_line + 1, is_short ? first.size() + 1 : kMostColumns + 1));
  }
  layout.columns = static_cast<unsigned>(columns);
  layout.has_values = columns >= 3;
  layout.time_column = columns == 4 ? 3 : 0;
  if (columns == 3 && header != nullptr && header->size() == 3) {
    const std::string name = letters_of((*header)[2]);
    if (name.find("time") != std::string::npos || name.find("date") != std::string::npos) {
      layout.has_values = false;
      layout.time_column = 2;
    }
  }
}

TextLayout libmf_layout() {
  TextLayout layout;
  layout.format = FileFormat::kLibmf;
  layout.columns = 3;
  layout.has_values = true;
  layout.is_index = true;
  return layout;
}

void check_is_text(std::string_view sample, const std::string& file) {
  const std::size_t zero = sample.find('\0');
  if (zero == std::string_view::npos) return;
  const auto line = std::count(sample.begin(), sample.begin() + static_cast<std::ptrdiff_t>(zero), '\n') + 1;
  throw Error(ErrorCode::kBadInput, "is not a text file: a zero byte",
              place(file, static_cast<std::uint64_t>(line), 0));
}

}  // namespace

TextLayout detect_layout(std::string_view sample, bool is_whole, const std::filesystem::path& file,
                         const ReadOptions& options) {
  const std::string name = file.string();
  check_is_text(sample, name);
  const bool is_auto = options.format == FileFormat::kAuto;
  if (options.format == FileFormat::kMatrixMarket || (is_auto && is_matrix_market(sample))) {
    return matrix_market_layout(sample, name);
  }
  const std::size_t mark = sample.substr(0, 3) == "\xef\xbb\xbf" ? 3 : 0;  // a byte order mark
  std::vector<SampleLine> lines = sample_lines(sample, is_whole, mark);
  if (lines.empty()) throw Error(ErrorCode::kBadInput, "has no entries", name);

  TextLayout layout = options.format == FileFormat::kLibmf ? libmf_layout() : TextLayout{};
  if (!layout.is_index) layout.delimiter = detect_delimiter(lines);
  std::vector<Fields> fields = split_all(lines, layout.delimiter);
  layout.skip_lines = lines.front().number;
  // Remarks and blank lines before the first line of entries, and the byte order mark.
  layout.skip_bytes = static_cast<std::uint64_t>(lines.front().text.data() - sample.data());
  if (layout.is_index) return layout;

  Fields header;
  if (options.format != FileFormat::kAdjacency && is_header(fields)) {
    header = fields.front();
    layout.skip_lines = lines.front().number + 1;
    layout.skip_bytes = lines.front().next_byte;
    lines.erase(lines.begin());
    fields.erase(fields.begin());
    if (lines.empty()) throw Error(ErrorCode::kBadInput, "has a header but no entries", name);
  }
  const FieldCounts counts = count_fields(fields);
  const bool may_be_adjacency = is_auto && header.empty() && !is_movielens_name(file);
  if (options.format == FileFormat::kAdjacency || (may_be_adjacency && looks_like_adjacency(fields, counts))) {
    layout.format = FileFormat::kAdjacency;
    return layout;
  }
  set_columns(layout, header.empty() ? nullptr : &header, counts, fields.front(), lines.front().number, name);
  return layout;
}

}  // namespace concerto::data
