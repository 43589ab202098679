// Credentials as text, in files and through descriptors.
#include <cerrno>
#include <charconv>
#include <cstring>
#include <optional>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include "concerto/base/error.hpp"
#include "concerto/comm/trust.hpp"

namespace concerto {
namespace {

constexpr std::size_t kMostBytes = std::size_t{1} << 20;

/// A file descriptor that is closed at the end.
class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) {}
  ~Descriptor() {
    if (number_ >= 0) ::close(number_);
  }
  Descriptor(const Descriptor&) = delete;
  [[nodiscard]] int get() const noexcept { return number_; }

 private:
  int number_;
};

[[noreturn]] void refuse(const std::string& what, const std::string& place) {
  throw Error(ErrorCode::kBadInput, what, place);
}

std::string read_all(int descriptor, const std::string& place) {
  std::string text;
  char buffer[4096];
  while (true) {
    const ssize_t got = ::read(descriptor, buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) refuse(fmt::format("credentials cannot be read: {}", std::strerror(errno)), place);
    if (got == 0) return text;
    text.append(buffer, static_cast<std::size_t>(got));
    if (text.size() > kMostBytes) refuse("too long to be credentials", place);
  }
}

/// The PEM block with this label, cut out of `text`; the first of the labels that is there.
std::string take_block(const std::string& text, const std::string& label, std::size_t& at, const std::string& where) {
  const std::string begin = fmt::format("-----BEGIN {}-----", label);
  const std::string end = fmt::format("-----END {}-----\n", label);
  const std::size_t from = text.find(begin, at);
  const std::size_t to = from == std::string::npos ? from : text.find(end, from);
  if (to == std::string::npos) refuse(fmt::format("no {} in the credentials", label), where);
  at = to + end.size();
  return text.substr(from, at - from);
}

void require_private(int descriptor, const std::string& place) {
  struct stat facts {};
  if (::fstat(descriptor, &facts) != 0) refuse(fmt::format("cannot be looked at: {}", std::strerror(errno)), place);
  if (!S_ISREG(facts.st_mode)) refuse("credentials are to be a file", place);
  if (facts.st_uid != ::geteuid()) refuse("credentials belong to another user", place);
  if ((facts.st_mode & 077) != 0) {
    refuse(fmt::format("credentials can be read or written by others (mode {:o}); chmod 600", facts.st_mode & 0777),
           place);
  }
}

}  // namespace

std::string to_text(const Credentials& credentials) {
  return credentials.certificate + credentials.private_key + credentials.authority;
}

Credentials parse_credentials(const std::string& text, const std::string& where) {
  std::size_t at = 0;
  Credentials credentials;
  credentials.certificate = take_block(text, "CERTIFICATE", at, where);
  credentials.private_key = take_block(text, "PRIVATE KEY", at, where);
  credentials.authority = take_block(text, "CERTIFICATE", at, where);
  return credentials;
}

void write_credentials(const Credentials& credentials, const std::filesystem::path& file) {
  const auto fail = [&](const char* doing) {
    throw Error(ErrorCode::kIo, fmt::format("{}: {}", doing, std::strerror(errno)), file.string());
  };
  const Descriptor out(::open(file.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (out.get() < 0) fail("credentials cannot be written");
  const std::string text = to_text(credentials);
  for (std::size_t done = 0; done < text.size();) {
    const ssize_t written = ::write(out.get(), text.data() + done, text.size() - done);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail("credentials cannot be written");
    done += static_cast<std::size_t>(written);
  }
}

Credentials read_credentials(const std::string& place) {
  constexpr std::string_view kInherited = "fd:";
  if (place.starts_with(kInherited)) {
    int number = -1;
    const char* end = place.data() + place.size();
    const auto [next, status] = std::from_chars(place.data() + kInherited.size(), end, number);
    if (status != std::errc{} || next != end || number < 0) refuse("not a descriptor", place);
    const Descriptor in(number);
    return parse_credentials(read_all(in.get(), place), place);
  }
  const Descriptor in(::open(place.c_str(), O_RDONLY | O_CLOEXEC));
  if (in.get() < 0) refuse(fmt::format("credentials cannot be opened: {}", std::strerror(errno)), place);
  require_private(in.get(), place);
  return parse_credentials(read_all(in.get(), place), place);
}

}  // namespace concerto
