// Files: whole reads, mappings, and writes that either happen completely or not at all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace concerto {

/// A read-only memory mapping of a whole file. Move-only; the mapping lives as long as the object.
class MappedFile {
 public:
  MappedFile() = default;
  /// Throws Error{kIo} naming the path. An empty file maps to an empty span.
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;

  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return {data_, size_}; }

 private:
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

/// A file of which parts are read where they are wanted. From several threads at once. Move-only.
class InputFile {
 public:
  /// Throws Error{kIo} naming the path, as reading does.
  explicit InputFile(const std::filesystem::path& path);
  ~InputFile();
  InputFile(InputFile&& other) noexcept;
  InputFile& operator=(InputFile&&) = delete;

  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }
  /// Fills `bytes` from `offset` on; Error{kCorrupt} where the file ends before.
  void read_at(std::uint64_t offset, std::span<std::byte> bytes) const;

 private:
  std::filesystem::path path_;
  int descriptor_ = -1;
  std::uint64_t size_ = 0;
};

/// The whole file as text. Throws Error{kIo}.
[[nodiscard]] std::string read_file(const std::filesystem::path& path);

/// Writes `path` atomically: temporary name beside it, fsync, rename, fsync of the parent. Throws Error{kIo} and
/// leaves what stood there untouched.
void write_file(const std::filesystem::path& path, std::string_view content);

/// A file being written inside a staged directory or elsewhere; write errors name the path.
class OutputFile {
 public:
  explicit OutputFile(const std::filesystem::path& path);
  ~OutputFile();
  OutputFile(OutputFile&& other) noexcept;
  OutputFile& operator=(OutputFile&&) = delete;
  void write(std::span<const std::byte> bytes);
  void write(std::string_view text);
  /// fsync and close. Without it the destructor closes without a promise.
  void finish();

 private:
  std::filesystem::path path_;
  int descriptor_ = -1;
};

/// A file of fixed length whose parts are written in place, also by several processes, each its own. Throws Error{kIo}
/// naming the path. Move-only.
class PlacedFile {
 public:
  /// Makes the file, `size` zero bytes long.
  PlacedFile(const std::filesystem::path& path, std::uint64_t size);
  /// Opens one that another process made.
  explicit PlacedFile(const std::filesystem::path& path);
  ~PlacedFile();
  PlacedFile(PlacedFile&& other) noexcept;
  PlacedFile& operator=(PlacedFile&&) = delete;
  void write_at(std::uint64_t offset, std::span<const std::byte> bytes) const;
  /// fsync and close.
  void finish();

 private:
  std::filesystem::path path_;
  int descriptor_ = -1;
};

/// A file that appears under its name whole, or not at all: it is written in pieces under a temporary name beside it;
/// `commit` fsyncs it, renames it and fsyncs the parent. The destructor removes what was not committed. A link is
/// followed. What is no file (a pipe, a terminal, /dev/stdout) is written to as it is, never replaced.
class StagedFile {
 public:
  explicit StagedFile(const std::filesystem::path& target);
  ~StagedFile();
  StagedFile(const StagedFile&) = delete;
  StagedFile& operator=(const StagedFile&) = delete;
  void write(std::span<const std::byte> bytes) { file_.write(bytes); }
  void write(std::string_view text) { file_.write(text); }
  void commit();

 private:
  std::filesystem::path target_;
  std::filesystem::path staging_;  ///< empty: the target itself is written to
  OutputFile file_;
  bool committed_ = false;
};

/// Error{kBadInput} unless `target` does not exist, is an empty directory, or is a directory of the kind whose files
/// are called `names` (the first of which none lacks) and holds nothing else: nothing that somebody else has put there
/// is ever removed.
void require_replaceable(const std::filesystem::path& target, std::span<const std::string_view> names);

/// A directory that appears under its name whole, or not at all: files are written into `path()`, a temporary sibling;
/// `commit` fsyncs it, puts it in place of `target` (an existing directory there is replaced in one rename exchange, or
/// in two renames where the file system has no exchange) and fsyncs the parent. The destructor removes what was not
/// committed; a commit that fails leaves it and says where. What a process that was killed has left beside the same
/// target is removed when the next one begins. A link is followed.
class StagedDirectory {
 public:
  /// An existing `target` must be replaceable, as above.
  StagedDirectory(const std::filesystem::path& target, std::span<const std::string_view> names);
  ~StagedDirectory();
  StagedDirectory(const StagedDirectory&) = delete;
  StagedDirectory& operator=(const StagedDirectory&) = delete;
  [[nodiscard]] const std::filesystem::path& path() const noexcept { return staging_; }
  void commit();

 private:
  std::filesystem::path target_;
  std::filesystem::path staging_;
  int lock_ = -1;  ///< the staging directory, locked as long as this process works in it
  bool committed_ = false;
};

}  // namespace concerto
