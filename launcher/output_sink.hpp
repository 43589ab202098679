// Where the launcher writes lines: never more than a line is torn, and never is a write waited for.
//
// The descriptor is shared with whoever started the launcher, so it is not made non-blocking. Instead a write is made
// only when poll says that there is room, and then of at most PIPE_BUF bytes, for which a pipe has room if it has any.
// Lines up to that length reach a pipe or an appended file whole, also beside other writers.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace concerto {

class OutputSink {
 public:
  /// Does not own `descriptor`.
  explicit OutputSink(int descriptor) noexcept : descriptor_(descriptor) {}

  [[nodiscard]] int descriptor() const noexcept { return descriptor_; }
  /// Queues a line and its newline.
  void write_line(std::string_view prefix, std::string_view line);
  /// Writes as much as goes without waiting.
  void pump() noexcept;
  [[nodiscard]] bool has_pending() const noexcept { return written_ < pending_.size(); }
  /// Whoever produces lines should wait until this has become false.
  [[nodiscard]] bool is_full() const noexcept { return pending_.size() - written_ >= kFull; }
  /// The reader is gone, or the disk is full: something has been dropped.
  [[nodiscard]] bool is_broken() const noexcept { return error_ != 0; }
  /// The errno of that.
  [[nodiscard]] int error() const noexcept { return error_; }

 private:
  static constexpr std::size_t kFull = std::size_t{1} << 20;
  int descriptor_;
  std::string pending_;
  std::size_t written_ = 0;
  int error_ = 0;
};

/// Whether two descriptors lead to one file, pipe or terminal: then lines for both go through one sink, or they would
/// tear each other.
[[nodiscard]] bool is_same_file(int left, int right) noexcept;

}  // namespace concerto
