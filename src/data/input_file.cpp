// Positioned reads through pread.
#include "input_file.hpp"

#include <cerrno>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "concerto/base/error.hpp"

namespace concerto::data {

InputFile::InputFile(const std::filesystem::path& path) : name_(path.string()) {
  struct stat status {};
  if (::stat(name_.c_str(), &status) != 0) throw io_error("open", name_);
  if (S_ISDIR(status.st_mode)) throw Error(ErrorCode::kBadInput, "is a directory, not a file of ratings", name_);
  if (!S_ISREG(status.st_mode)) throw Error(ErrorCode::kBadInput, "is not a regular file", name_);
  descriptor_ = ::open(name_.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor_ < 0) throw io_error("open", name_);
  size_ = static_cast<std::uint64_t>(status.st_size);
  ::posix_fadvise(descriptor_, 0, 0, POSIX_FADV_SEQUENTIAL);
}

InputFile::~InputFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

std::size_t InputFile::read_at(std::uint64_t offset, char* into, std::size_t count) const {
  std::size_t done = 0;
  while (done < count) {
    const ssize_t got = ::pread(descriptor_, into + done, count - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw io_error("read", name_);
    if (got == 0) break;
    done += static_cast<std::size_t>(got);
  }
  return done;
}

}  // namespace concerto::data
