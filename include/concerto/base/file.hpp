// Files: whole reads, mappings, and writes that either happen completely or not at all.
#pragma once

#include <cstddef>
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

/// A file that appears under its name whole, or not at all: it is written in pieces under a temporary name beside it;
/// `commit` fsyncs it, renames it and fsyncs the parent. The destructor removes what was not committed.
class StagedFile {
 public:
  explicit StagedFile(std::filesystem::path target);
  ~StagedFile();
  StagedFile(const StagedFile&) = delete;
  StagedFile& operator=(const StagedFile&) = delete;
  void write(std::span<const std::byte> bytes) { file_.write(bytes); }
  void write(std::string_view text) { file_.write(text); }
  void commit();

 private:
  std::filesystem::path target_;
  std::filesystem::path staging_;
  OutputFile file_;
  bool committed_ = false;
};

/// A directory that appears under its name whole, or not at all: files are written into `path()`, a temporary sibling;
/// `commit` fsyncs it, puts it in place of `target` (an existing directory there is replaced in one rename exchange)
/// and fsyncs the parent. The destructor removes what was not committed.
class StagedDirectory {
 public:
  /// `marker`: a file name that a directory of this kind has; an existing `target` that is not an empty directory and
  /// lacks it is refused (Error{kBadInput}), so that no foreign directory is ever replaced.
  StagedDirectory(std::filesystem::path target, std::string_view marker);
  ~StagedDirectory();
  StagedDirectory(const StagedDirectory&) = delete;
  StagedDirectory& operator=(const StagedDirectory&) = delete;
  [[nodiscard]] const std::filesystem::path& path() const noexcept { return staging_; }
  void commit();

 private:
  std::filesystem::path target_;
  std::filesystem::path staging_;
  bool committed_ = false;
};

}  // namespace concerto
