// A regular file read by position, without a mapping, so that what was read does not count as the program's memory.
// Shared by the sources of text and by the zip archive; knows nothing of formats.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>

namespace concerto::data {

class InputFile {
 public:
  /// Error{kIo} where it cannot be opened, Error{kBadInput} where it is a directory or no regular file.
  explicit InputFile(const std::filesystem::path& path);
  ~InputFile();
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  /// Reads up to `count` bytes at `offset`; fewer only at the end of the file. Error{kIo}.
  std::size_t read_at(std::uint64_t offset, char* into, std::size_t count) const;

  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }
  /// The path as messages show it.
  [[nodiscard]] const std::string& name() const noexcept { return name_; }

 private:
  std::string name_;
  int descriptor_ = -1;
  std::uint64_t size_ = 0;
};

}  // namespace concerto::data
