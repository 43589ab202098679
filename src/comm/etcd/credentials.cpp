// The file's rights are those of the opened file, not of a name that may be another file a moment later.
#include "credentials.hpp"

#include <array>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "concerto/base/error.hpp"

namespace concerto::etcd {
namespace {

constexpr std::size_t kMaxFile = 4096;

class Descriptor {
 public:
  explicit Descriptor(int descriptor) : descriptor_(descriptor) {}
  ~Descriptor() { ::close(descriptor_); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  [[nodiscard]] int get() const noexcept { return descriptor_; }

 private:
  int descriptor_;
};

[[noreturn]] void refuse(const std::filesystem::path& path, const std::string& why) {
  throw Error(ErrorCode::kBadInput, why, path.string());
}

std::string read_all(int descriptor, const std::filesystem::path& path) {
  std::string content;
  std::array<char, kMaxFile> part{};
  while (true) {
    const ssize_t count = ::read(descriptor, part.data(), part.size());
    if (count < 0) throw io_error("read", path.string());
    if (count == 0) return content;
    content.append(part.data(), static_cast<std::size_t>(count));
    if (content.size() > kMaxFile) refuse(path, "is too long for a user and a password");
  }
}

}  // namespace

Login read_login(const std::filesystem::path& path) {
  // Not blocking: a pipe put there is refused below rather than waited for.
  const int opened = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (opened < 0) throw io_error("read", path.string());
  const Descriptor file(opened);
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) throw io_error("read", path.string());
  if (!S_ISREG(status.st_mode)) refuse(path, "is not a regular file");
  if (status.st_uid != ::geteuid() && status.st_uid != 0) refuse(path, "belongs to another user");
  if ((status.st_mode & (S_IRWXG | S_IRWXO)) != 0)
    refuse(path, "can be read or written by others: it holds a password and must have mode 0600");
  const std::string content = read_all(file.get(), path);
  std::string line = content.substr(0, content.find('\n'));
  if (line.ends_with('\r')) line.pop_back();
  const std::size_t colon = line.find(':');
  if (colon == std::string::npos || colon == 0 || colon + 1 == line.size())
    refuse(path, "its first line is not USER:PASSWORD");
  return {line.substr(0, colon), line.substr(colon + 1)};
}

}  // namespace concerto::etcd
