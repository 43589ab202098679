// The pipeline: threads take chunks in turn, parse them at the same time, and append their entries in file order.
//
// Order makes everything deterministic: whatever a chunk has to say (entries, a bad line, an id that turns a column
// into labels) counts only when all chunks before it are in. Entries go straight into the final arrays, whose
// capacity is reserved from the share of the file read so far; memory that is reserved but never written costs
// nothing, and so the peak is the arrays themselves and one chunk a thread. An id that no number column can hold makes
// the file be read again with that column as labels, because what was read before may be text too ("007").
#include "text_reader.hpp"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "concerto/base/error.hpp"

#include "byte_source.hpp"
#include "line_chunks.hpp"
#include "text_layout.hpp"
#include "text_parser.hpp"

namespace concerto::data {
namespace {

TextLayout layout_of(const std::filesystem::path& path, const ReadOptions& options) {
  const std::unique_ptr<ByteSource> source = open_source(path);
  std::string sample(kSampleBytes, '\0');
  const std::size_t got = source->read(sample.data(), sample.size());
  sample.resize(got);
  const bool is_whole = got < kSampleBytes;
  return detect_layout(sample, is_whole, path, options);
}

void check_columns(const TextLayout& layout, const ReadOptions& options, const std::string& file) {
  if (options.need_values && !layout.has_values) {
    throw Error(ErrorCode::kBadInput, "has no column of values", place(file, layout.skip_lines + 1, 3));
  }
  if (options.keep_times && layout.time_column == 0) {
    throw Error(ErrorCode::kBadInput, "has no column of times", place(file, layout.skip_lines + 1, 4));
  }
}

ParseRules rules_of(const TextLayout& layout, const ReadOptions& options) {
  ParseRules rules;
  rules.layout = layout;
  rules.keep_times = options.keep_times;
  const bool has_shape = layout.format == FileFormat::kMatrixMarket;
  const std::array<std::uint64_t, 2> declared = {options.declared_users, options.declared_items};
  const std::array<RowIndex, 2> shape = {layout.shape_users, layout.shape_items};
  for (std::size_t side = 0; side < 2; ++side) {
    rules.is_declared[side] = has_shape || declared[side] != 0;
    if (has_shape) rules.limit[side] = shape[side];
    if (declared[side] != 0) {
      rules.limit[side] = static_cast<std::uint32_t>(std::min<std::uint64_t>(rules.limit[side], declared[side]));
    }
  }
  return rules;
}

// One reading of the file under fixed rules.
class TextPass {
 public:
  TextPass(const std::filesystem::path& path, const ParseRules& rules, std::size_t chunk_bytes)
      : file_(path.string()),
        rules_(rules),
        chunks_(open_source(path), file_, chunk_bytes, rules.layout.skip_bytes),
        lines_(rules.layout.skip_lines) {}

  /// True when the file was read; false when it must be read again under the rules that `widen` gives.
  bool run(ThreadPool& pool) {
    pool.run_on_all([this](unsigned) { work(); });
    if (failure_) std::rethrow_exception(failure_);
    return !needs_labels_[0] && !needs_labels_[1];
  }

  void widen(ParseRules& rules) const {
    for (std::size_t side = 0; side < 2; ++side) rules.is_label[side] = rules.is_label[side] || needs_labels_[side];
  }

  RawRatings finish(ThreadPool& pool);

 private:
  void work();
  bool take_chunk(TextChunk& chunk, std::uint64_t& sequence, std::exception_ptr& failure);
  void append(const TextParser& parser, double progress);
  void append_ids(const TextParser& parser, std::size_t side);
  [[nodiscard]] Error problem_error(const LineProblem& problem) const {
    return {ErrorCode::kBadInput, problem.message, place(file_, lines_ + problem.line + 1, problem.field)};
  }

  const std::string file_;
  const ParseRules& rules_;

  std::mutex source_mutex_;  // guards the next three
  LineChunks chunks_;
  std::uint64_t taken_ = 0;
  bool is_exhausted_ = false;

  std::mutex order_mutex_;  // guards the rest
  std::condition_variable turn_;
  std::uint64_t appended_ = 0;
  std::atomic<bool> is_stopped_ = false;  // also read outside the lock, as a hint
  std::exception_ptr failure_;
  std::array<bool, 2> needs_labels_ = {false, false};
  std::uint64_t lines_;
  RawRatings ratings_;
  std::array<LabelTable, 2> labels_;
  std::array<bool, 2> saw_text_ = {false, false};
  std::array<std::optional<LineProblem>, 2> overflow_;
  std::vector<std::uint32_t> numbers_;  // of a chunk's labels in `labels_`
};

bool TextPass::take_chunk(TextChunk& chunk, std::uint64_t& sequence, std::exception_ptr& failure) {
  const std::lock_guard lock(source_mutex_);
  if (is_exhausted_ || is_stopped_) return false;
  try {
    if (!chunks_.next(chunk)) {
      is_exhausted_ = true;
      return false;
    }
  } catch (...) {
    failure = std::current_exception();
    is_exhausted_ = true;
  }
  sequence = taken_++;
  return true;
}

void TextPass::work() {
  TextParser parser(rules_);
  TextChunk chunk;
  std::uint64_t sequence = 0;
  std::exception_ptr failure;
  while (take_chunk(chunk, sequence, failure)) {
    try {
      if (!failure) parser.parse(chunk);
    } catch (...) {
      failure = std::current_exception();
    }
    std::unique_lock lock(order_mutex_);
    turn_.wait(lock, [&] { return is_stopped_ || appended_ == sequence; });
    if (is_stopped_) return;
    try {
      if (failure) std::rethrow_exception(failure);
      append(parser, chunk.progress);
    } catch (...) {
      failure_ = std::current_exception();
      is_stopped_ = true;
    }
    ++appended_;
    turn_.notify_all();
  }
}

// Makes room for `count` more entries; a first or a too small guess is replaced by one from the share read so far.
template <class T>
void append_array(std::vector<T>& all, const T* more, std::size_t count, double progress) {
  if (all.size() + count > all.capacity()) {
    constexpr double kMargin = 1.1;
    const auto size = static_cast<double>(all.size() + count);
    const double guess = kMargin * size / std::max(progress, 1e-6);
    all.reserve(std::max(all.size() + count, static_cast<std::size_t>(std::min(guess, 1e4 * size))));
  }
  all.insert(all.end(), more, more + count);
}

void TextPass::append_ids(const TextParser& parser, std::size_t side) {
  if (!rules_.is_label[side]) return;
  const LabelTable& found = parser.labels(side);
  numbers_.resize(found.size());
  for (std::uint32_t number = 0; number < found.size(); ++number) {
    numbers_[number] = labels_[side].insert(found.label(number));
  }
  saw_text_[side] = saw_text_[side] || parser.saw_text(side);
  if (!overflow_[side] && parser.overflow(side)) {
    overflow_[side] = parser.overflow(side);
    overflow_[side]->line += lines_;
  }
}

void TextPass::append(const TextParser& parser, double progress) {
  if (parser.problem()) throw problem_error(*parser.problem());
  for (std::size_t side = 0; side < 2; ++side) needs_labels_[side] = parser.needs_labels(side);
  if (needs_labels_[0] || needs_labels_[1]) {
    is_stopped_ = true;
    return;
  }
  const std::size_t count = parser.size();
  const std::array<std::vector<std::uint32_t>*, 2> columns = {&ratings_.users.values, &ratings_.items.values};
  for (std::size_t side = 0; side < 2; ++side) {
    const std::size_t before = columns[side]->size();
    append_array(*columns[side], parser.ids(side), count, progress);
    if (!rules_.is_label[side]) continue;
    append_ids(parser, side);
    for (std::size_t index = before; index < before + count; ++index) {
      std::uint32_t& id = (*columns[side])[index];
      id = numbers_[id];
    }
  }
  if (rules_.layout.has_values) append_array(ratings_.values, parser.values(), count, progress);
  if (rules_.keep_times) append_array(ratings_.times, parser.times(), count, progress);
  lines_ += parser.lines();
}

RawRatings TextPass::finish(ThreadPool& pool) {
  const TextLayout& layout = rules_.layout;
  for (std::size_t side = 0; side < 2; ++side) {
    if (saw_text_[side] || !overflow_[side]) continue;
    const LineProblem& problem = *overflow_[side];
    throw Error(ErrorCode::kBadInput, problem.message, place(file_, problem.line + 1, problem.field));
  }
  if (layout.declared_entries && *layout.declared_entries != ratings_.size()) {
    const bool is_short = ratings_.size() < *layout.declared_entries;
    throw Error(is_short ? ErrorCode::kCorrupt : ErrorCode::kBadInput,
                "the size line declares " + std::to_string(*layout.declared_entries) + " entries, but there are " +
                    std::to_string(ratings_.size()),
                file_);
  }
  if (ratings_.size() == 0) throw Error(ErrorCode::kBadInput, "has no entries", file_);
  const std::array<IdColumn*, 2> columns = {&ratings_.users, &ratings_.items};
  for (std::size_t side = 0; side < 2; ++side) {
    if (!rules_.is_label[side]) continue;
    IdColumn& column = *columns[side];
    column.is_label = true;
    std::vector<std::uint32_t> ranks;
    column.labels = labels_[side].take_sorted(ranks, pool);
    pool.parallel_for(column.values.size(), 1U << 16U, [&](std::size_t begin, std::size_t end, unsigned) {
      for (std::size_t index = begin; index < end; ++index) column.values[index] = ranks[column.values[index]];
    });
  }
  ratings_.shape_users = layout.shape_users;
  ratings_.shape_items = layout.shape_items;
  ratings_.lines = lines_;
  ratings_.bytes = chunks_.bytes();
  ratings_.format = layout.format;
  return std::move(ratings_);
}

}  // namespace

RawRatings read_text(const std::filesystem::path& path, const ReadOptions& options, ThreadPool& pool) {
  const TextLayout layout = layout_of(path, options);
  check_columns(layout, options, path.string());
  ParseRules rules = rules_of(layout, options);
  for (;;) {
    ParseRules wider = rules;
    {
      TextPass pass(path, rules, options.chunk_bytes);
      if (pass.run(pool)) return pass.finish(pool);
      pass.widen(wider);
    }
    rules = wider;
  }
}

}  // namespace concerto::data
