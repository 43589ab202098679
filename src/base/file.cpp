// POSIX files: mappings, whole reads, and writes by temporary name, fsync and rename.
#include "concerto/base/file.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <ctime>
#include <random>
#include <system_error>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "concerto/base/error.hpp"

namespace concerto {
namespace {

namespace fs = std::filesystem;

/// A descriptor that closes itself.
class Descriptor {
 public:
  explicit Descriptor(int value) noexcept : value_(value) {}
  ~Descriptor() {
    if (value_ >= 0) ::close(value_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  [[nodiscard]] int get() const noexcept { return value_; }

 private:
  int value_;
};

int open_for_reading(const fs::path& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) throw io_error("open", path.string());
  return descriptor;
}

std::size_t file_size(int descriptor, const fs::path& path) {
  struct stat status {};
  if (::fstat(descriptor, &status) != 0) throw io_error("stat", path.string());
  if (S_ISDIR(status.st_mode)) throw Error(ErrorCode::kIo, "is a directory, not a file", path.string());
  return static_cast<std::size_t>(status.st_size);
}

fs::path parent_of(const fs::path& path) {
  const fs::path parent = path.parent_path();
  return parent.empty() ? fs::path(".") : parent;
}

/// A hidden name beside `target` that no other process takes.
fs::path sibling(const fs::path& target, const char* kind) {
  return parent_of(target) / ("." + target.filename().string() + "." + kind + "-" + std::to_string(::getpid()));
}

void sync_directory(const fs::path& path) {
  const Descriptor directory(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (directory.get() < 0) throw io_error("open", path.string());
  if (::fsync(directory.get()) != 0) throw io_error("fsync", path.string());
}

/// fsync where the file has one (a pipe has none), and close, which may be what reports a failed write.
void sync_and_close(int& descriptor, const fs::path& path) {
  const bool is_pipe_like = ::fsync(descriptor) != 0;
  if (is_pipe_like && errno != EINVAL && errno != EROFS) throw io_error("fsync", path.string());
  if (::close(std::exchange(descriptor, -1)) != 0) throw io_error("close", path.string());
}

/// Where links lead, and without a trailing slash, so that siblings can be named.
fs::path real_target(const fs::path& target) {
  fs::path normal = target.lexically_normal();
  if (normal.filename().empty()) normal = normal.parent_path();
  std::error_code error;
  if (!fs::is_symlink(fs::symlink_status(normal, error))) return normal;
  fs::path real = fs::canonical(normal, error);
  if (error) throw Error(ErrorCode::kBadInput, "is a link that leads nowhere", target.string());
  return real;
}

/// Beside a file that does not exist yet, or is one; nothing where something else stands (a pipe, a terminal).
fs::path staging_of(const fs::path& target) {
  std::error_code ignored;
  const fs::file_status status = fs::status(target, ignored);
  if (fs::is_directory(status)) throw Error(ErrorCode::kBadInput, "is a directory, not a file", target.string());
  if (fs::exists(status) && !fs::is_regular_file(status)) return {};
  return sibling(target, "tmp");
}

/// Removes staging directories that nobody holds locked any more. Young ones stay: theirs may be about to be locked.
void remove_abandoned(const fs::path& parent, const std::string& prefix) {
  constexpr std::time_t kYoungSeconds = 60;
  std::error_code error;
  std::vector<fs::path> found;
  for (const fs::directory_entry& entry : fs::directory_iterator(parent, error)) {
    if (entry.path().filename().string().starts_with(prefix)) found.push_back(entry.path());
  }
  for (const fs::path& path : found) {
    struct stat status {};
    const Descriptor directory(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (directory.get() < 0 || ::fstat(directory.get(), &status) != 0) continue;
    if (status.st_mtime > std::time(nullptr) - kYoungSeconds) continue;
    if (::flock(directory.get(), LOCK_EX | LOCK_NB) == 0) fs::remove_all(path, error);
  }
}

/// Puts `from` in the place of the directory `to`, which then bears the name `from`.
void exchange_directories(const fs::path& from, const fs::path& to) {
  if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_EXCHANGE) == 0) return;
  if (errno != EINVAL && errno != ENOSYS && errno != ENOTSUP) throw io_error("move into place", to.string());
  const fs::path aside = sibling(to, "old");
  if (::rename(to.c_str(), aside.c_str()) != 0) throw io_error("move aside", to.string());
  if (::rename(from.c_str(), to.c_str()) != 0) {
    const int reason = errno;
    (void)::rename(aside.c_str(), to.c_str());
    errno = reason;
    throw io_error("move into place", to.string());
  }
  if (::rename(aside.c_str(), from.c_str()) != 0) throw io_error("rename", aside.string());
}

}  // namespace

void require_replaceable(const fs::path& target, std::span<const std::string_view> names) {
  std::error_code error;
  if (!fs::exists(target, error)) return;
  const auto refuse = [&](const std::string& why) {
    throw Error(ErrorCode::kBadInput,
                "exists and is nothing that this command may replace (" + why + "); choose another name or remove it",
                target.string());
  };
  if (!fs::is_directory(target, error)) refuse("no directory");
  if (fs::is_empty(target, error)) return;
  if (!fs::exists(target / names.front(), error)) refuse("no " + std::string(names.front()) + " in it");
  for (const fs::directory_entry& entry : fs::directory_iterator(target)) {
    const std::string name = entry.path().filename().string();
    const bool is_known = std::ranges::find(names, name) != names.end();
    if (!is_known || !entry.is_regular_file()) refuse("it holds " + name);
  }
}

MappedFile::MappedFile(const fs::path& path) {
  const Descriptor descriptor(open_for_reading(path));
  size_ = file_size(descriptor.get(), path);
  if (size_ == 0) return;
  void* address = ::mmap(nullptr, size_, PROT_READ, MAP_SHARED, descriptor.get(), 0);
  if (address == MAP_FAILED) throw io_error("map", path.string());
  data_ = static_cast<const std::byte*>(address);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);  // NOLINT(*-const-cast): it takes void*
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

InputFile::InputFile(const fs::path& path) : path_(path), descriptor_(open_for_reading(path)) {
  try {
    size_ = file_size(descriptor_, path);
  } catch (...) {
    ::close(descriptor_);
    throw;
  }
}

InputFile::~InputFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

InputFile::InputFile(InputFile&& other) noexcept
    : path_(std::move(other.path_)), descriptor_(std::exchange(other.descriptor_, -1)), size_(other.size_) {}

void InputFile::read_at(std::uint64_t offset, std::span<std::byte> bytes) const {
  while (!bytes.empty()) {
    const ssize_t count = ::pread(descriptor_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (count < 0) {
      if (errno == EINTR) continue;
      throw io_error("read", path_.string());
    }
    if (count == 0) throw Error(ErrorCode::kCorrupt, "is truncated", path_.string());
    bytes = bytes.subspan(static_cast<std::size_t>(count));
    offset += static_cast<std::uint64_t>(count);
  }
}

std::string read_file(const fs::path& path) {
  const Descriptor descriptor(open_for_reading(path));
  std::string content(file_size(descriptor.get(), path), '\0');
  std::size_t filled = 0;
  for (;;) {
    // One byte more than the size known so far tells the end of the file from a file that grows or has no size (/proc).
    if (filled == content.size()) content.resize(filled + 4096);
    const ssize_t count = ::read(descriptor.get(), content.data() + filled, content.size() - filled);
    if (count < 0) {
      if (errno == EINTR) continue;
      throw io_error("read", path.string());
    }
    if (count == 0) break;
    filled += static_cast<std::size_t>(count);
  }
  content.resize(filled);
  return content;
}

void write_file(const fs::path& path, std::string_view content) {
  StagedFile file(path);
  file.write(content);
  file.commit();
}

OutputFile::OutputFile(const fs::path& path)
    : path_(path), descriptor_(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666)) {
  if (descriptor_ < 0) throw io_error("create", path_.string());
}

OutputFile::~OutputFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

OutputFile::OutputFile(OutputFile&& other) noexcept
    : path_(std::move(other.path_)), descriptor_(std::exchange(other.descriptor_, -1)) {}

void OutputFile::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t count = ::write(descriptor_, bytes.data(), bytes.size());
    if (count < 0) {
      if (errno == EINTR) continue;
      throw io_error("write", path_.string());
    }
    bytes = bytes.subspan(static_cast<std::size_t>(count));
  }
}

void OutputFile::write(std::string_view text) {
  write(std::as_bytes(std::span(text.data(), text.size())));
}

void OutputFile::finish() {
  sync_and_close(descriptor_, path_);
}

PlacedFile::PlacedFile(const fs::path& path, std::uint64_t size)
    : path_(path), descriptor_(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666)) {
  if (descriptor_ < 0) throw io_error("create", path_.string());
  if (::ftruncate(descriptor_, static_cast<off_t>(size)) != 0) {
    const Error error = io_error("write", path_.string());
    ::close(descriptor_);
    throw error;
  }
}

PlacedFile::PlacedFile(const fs::path& path) : path_(path), descriptor_(::open(path.c_str(), O_WRONLY | O_CLOEXEC)) {
  if (descriptor_ < 0) throw io_error("open", path_.string());
}

PlacedFile::~PlacedFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

PlacedFile::PlacedFile(PlacedFile&& other) noexcept
    : path_(std::move(other.path_)), descriptor_(std::exchange(other.descriptor_, -1)) {}

void PlacedFile::write_at(std::uint64_t offset, std::span<const std::byte> bytes) const {
  while (!bytes.empty()) {
    const ssize_t count = ::pwrite(descriptor_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (count < 0) {
      if (errno == EINTR) continue;
      throw io_error("write", path_.string());
    }
    bytes = bytes.subspan(static_cast<std::size_t>(count));
    offset += static_cast<std::uint64_t>(count);
  }
}

void PlacedFile::finish() {
  sync_and_close(descriptor_, path_);
}

StagedFile::StagedFile(const fs::path& target)
    : target_(real_target(target)), staging_(staging_of(target_)), file_(staging_.empty() ? target_ : staging_) {}

StagedFile::~StagedFile() {
  if (!committed_ && !staging_.empty()) ::unlink(staging_.c_str());
}

void StagedFile::commit() {
  file_.finish();
  if (staging_.empty()) return;
  if (::rename(staging_.c_str(), target_.c_str()) != 0) throw io_error("write", target_.string());
  committed_ = true;
  sync_directory(parent_of(target_));
}

StagedDirectory::StagedDirectory(const fs::path& target, std::span<const std::string_view> names)
    : target_(real_target(target)) {
  require_replaceable(target_, names);
  const std::string prefix = "." + target_.filename().string() + ".tmp-";
  remove_abandoned(parent_of(target_), prefix);
  std::random_device draw;
  do {
    staging_ = parent_of(target_) / (prefix + std::to_string(draw()));
  } while (::mkdir(staging_.c_str(), 0777) != 0 && errno == EEXIST);
  lock_ = ::open(staging_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (lock_ < 0) throw io_error("create", staging_.string());
  (void)::flock(lock_, LOCK_EX | LOCK_NB);  // without locks, what is left behind stays
}

StagedDirectory::~StagedDirectory() {
  ::close(lock_);
  if (committed_) return;
  std::error_code ignored;
  fs::remove_all(staging_, ignored);
}

void StagedDirectory::commit() {
  sync_directory(staging_);
  const bool replaces = fs::exists(target_);
  committed_ = true;  // whatever happens now, what has been written is not removed
  try {
    if (replaces) {
      exchange_directories(staging_, target_);
    } else if (::rename(staging_.c_str(), target_.c_str()) != 0) {
      throw io_error("move into place", target_.string());
    }
  } catch (const Error& error) {
    throw Error(error.code(), error.message() + "; what was written is kept in " + staging_.string(), error.where());
  }
  if (replaces) {
    std::error_code ignored;  // what stood there before now bears the temporary name
    fs::remove_all(staging_, ignored);
  }
  sync_directory(parent_of(target_));
}

}  // namespace concerto
