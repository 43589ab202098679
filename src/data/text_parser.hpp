// Parsing one chunk of lines into entries. One parser belongs to one thread; what it says about a chunk depends on the
// chunk and the rules alone. It knows neither files nor other chunks: line numbers count from the chunk's first line.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "concerto/base/ids.hpp"

#include "label_table.hpp"
#include "line_chunks.hpp"
#include "text_layout.hpp"

namespace concerto::data {

/// How lines are to be read, the same for all chunks of one pass over a file.
struct ParseRules {
  TextLayout layout;
  bool keep_times = false;
  std::array<bool, 2> is_label = {false, false};          ///< users, items
  std::array<std::uint32_t, 2> limit = {kNoRow, kNoRow};  ///< numeric ids, less the base, stay below it
  std::array<bool, 2> is_declared = {false, false};       ///< the limit is a count that was declared
};

/// What is wrong with a line; the reader adds the file and the lines before the chunk.
struct LineProblem {
  std::uint64_t line = 0;
  unsigned field = 0;
  std::string message;
};

class TextParser {
 public:
  explicit TextParser(const ParseRules& rules) : rules_(rules) {}

  /// Parses all lines of `chunk`, up to the first problem.
  void parse(const TextChunk& chunk);

  [[nodiscard]] std::size_t size() const noexcept { return count_; }
  [[nodiscard]] std::uint64_t lines() const noexcept { return lines_; }
  /// Numbers, or positions in `labels(side)`.
  [[nodiscard]] const std::uint32_t* ids(std::size_t side) const noexcept { return ids_[side].get(); }
  [[nodiscard]] const float* values() const noexcept { return values_.get(); }
  [[nodiscard]] const std::int64_t* times() const noexcept { return times_.get(); }
  [[nodiscard]] const LabelTable& labels(std::size_t side) const noexcept { return labels_[side]; }

  [[nodiscard]] const std::optional<LineProblem>& problem() const noexcept { return problem_; }
  /// The line where parsing stopped has an id that only a column of labels can hold.
  [[nodiscard]] bool needs_labels(std::size_t side) const noexcept { return needs_labels_[side]; }
  /// In a column of labels: an id that is not made of digits alone, and the first one that is and exceeds 64 bits.
  [[nodiscard]] bool saw_text(std::size_t side) const noexcept { return saw_text_[side]; }
  [[nodiscard]] const std::optional<LineProblem>& overflow(std::size_t side) const noexcept { return overflow_[side]; }

 private:
  void reset(const TextChunk& chunk);
  template <bool kTwoCharacters, bool kHasValue>
  void parse_rows(const char* at, const char* end);
  void parse_adjacency(const char* at, const char* end);
  void parse_slowly(const char* at, const char* end);

  // One line in full; moves `at` to the next line. False where parsing stops.
  bool take_line(const char*& at, const char* end);
  bool take_row();
  bool take_adjacency();
  bool take_id(std::size_t side, unsigned field, std::uint32_t& id);
  bool take_index(std::size_t side, unsigned field, std::uint32_t& id);
  bool take_label(std::size_t side, unsigned field, std::uint32_t& id);
  bool take_value(unsigned field, float& value);
  bool take_time(unsigned field, std::int64_t& time);
  bool fail(unsigned field, std::string message);
  [[nodiscard]] std::string beyond_limit(std::size_t side, std::string_view text) const;

  const ParseRules& rules_;
  std::size_t capacity_ = 0;
  std::size_t count_ = 0;
  std::uint64_t lines_ = 0;
  std::array<std::unique_ptr<std::uint32_t[]>, 2> ids_;
  std::unique_ptr<float[]> values_;
  std::unique_ptr<std::int64_t[]> times_;
  std::array<LabelTable, 2> labels_;
  std::vector<std::string_view> fields_;
  std::optional<LineProblem> problem_;
  std::array<bool, 2> needs_labels_ = {false, false};
  std::array<bool, 2> saw_text_ = {false, false};
  std::array<std::optional<LineProblem>, 2> overflow_;
};

}  // namespace concerto::data
