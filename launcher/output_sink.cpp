// Bounded writes of whole lines.
#include "output_sink.hpp"

#include <algorithm>
#include <cerrno>
#include <climits>

#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

namespace concerto {
namespace {

/// The length of the next write: as many whole lines as fit into PIPE_BUF bytes, or the first part of a longer line.
std::size_t next_write(std::string_view pending) {
  if (pending.size() <= PIPE_BUF) return pending.size();
  const std::size_t newline = pending.substr(0, PIPE_BUF).rfind('\n');
  return newline == std::string_view::npos ? std::size_t{PIPE_BUF} : newline + 1;
}

}  // namespace

void OutputSink::write_line(std::string_view prefix, std::string_view line) {
  if (is_broken()) return;
  if (written_ == pending_.size()) {
    pending_.clear();
    written_ = 0;
  } else if (written_ >= kFull) {
    pending_.erase(0, written_);
    written_ = 0;
  }
  pending_.append(prefix).append(line).push_back('\n');
}

void OutputSink::pump() noexcept {
  while (has_pending()) {
    pollfd ready{descriptor_, POLLOUT, 0};
    if (::poll(&ready, 1, 0) <= 0) return;
    const std::string_view rest = std::string_view(pending_).substr(written_);
    const ssize_t count = ::write(descriptor_, rest.data(), next_write(rest));
    if (count >= 0) {
      written_ += static_cast<std::size_t>(count);
    } else if (errno == EAGAIN) {
      return;  // somebody else has made it non-blocking
    } else if (errno != EINTR) {
      error_ = errno;
      pending_.clear();
      written_ = 0;
      return;
    }
  }
}

bool is_same_file(int left, int right) noexcept {
  struct stat of_left {};
  struct stat of_right {};
  return ::fstat(left, &of_left) == 0 && ::fstat(right, &of_right) == 0 && of_left.st_dev == of_right.st_dev &&
         of_left.st_ino == of_right.st_ino;
}

}  // namespace concerto
