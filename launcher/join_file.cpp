// One line in a private file.
#include "join_file.hpp"

#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include "concerto/base/error.hpp"

#include "descriptor.hpp"

namespace concerto {
namespace {

/// More than a token takes: whatever else lies there is not read.
constexpr off_t kMostBytes = 4'096;

Failure refused(const std::filesystem::path& path, std::string_view why) {
  return {FailureKind::kRefused, fmt::format("{}: {}", path.string(), why)};
}

}  // namespace

void write_join_file(const std::filesystem::path& path, const JoinToken& token) {
  const std::string temporary = fmt::format("{}.new-{}", path.string(), ::getpid());
  Descriptor out(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!out) throw io_error("write", temporary);
  const std::string text = format_join_token(token) + '\n';
  std::size_t done = 0;
  while (done < text.size()) {
    const ssize_t count = ::write(out.get(), text.data() + done, text.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) break;
    done += static_cast<std::size_t>(count);
  }
  if (done < text.size() || ::fsync(out.get()) != 0 || ::rename(temporary.c_str(), path.c_str()) != 0) {
    const Error error = io_error("write", path.string());
    ::unlink(temporary.c_str());
    throw error;
  }
}

Result<JoinToken> read_join_file(const std::filesystem::path& path) {
  const Descriptor in(::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (!in) {
    const FailureKind kind = errno == ENOENT || errno == ESTALE ? FailureKind::kUnreachable : FailureKind::kRefused;
    return Failure{kind, fmt::format("{}: {}", path.string(), std::strerror(errno))};
  }
  struct stat facts {};
  if (::fstat(in.get(), &facts) != 0 || !S_ISREG(facts.st_mode)) return refused(path, "is not a regular file");
  if (facts.st_uid != ::geteuid()) return refused(path, "belongs to another user");
  if ((facts.st_mode & 077U) != 0) return refused(path, "may be read or written by others; it must have mode 600");
  if (facts.st_size > kMostBytes) return Failure{FailureKind::kCorrupt, path.string() + ": is too long for a token"};
  std::string text(static_cast<std::size_t>(facts.st_size), '\0');
  std::size_t done = 0;
  while (done < text.size()) {
    const ssize_t count = ::read(in.get(), text.data() + done, text.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return Failure{FailureKind::kCorrupt, path.string() + ": cannot be read whole"};
    done += static_cast<std::size_t>(count);
  }
  try {
    return parse_join_token(text, path.string());
  } catch (const Error& error) {
    return Failure{FailureKind::kCorrupt, error.what()};
  }
}

}  // namespace concerto
