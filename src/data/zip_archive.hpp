// Zip archives as NumPy writes them: stored or deflated members, sizes beyond 4 GiB (zip64). Reading only.
// Source: APPNOTE.TXT 6.3, sections 4.3 to 4.5.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "input_file.hpp"

namespace concerto::data {

/// One file of an archive.
struct ZipMember {
  std::string name;
  std::uint16_t flags = 0;
  std::uint16_t method = 0;
  std::uint32_t crc = 0;
  std::uint64_t stored_size = 0;
  std::uint64_t size = 0;
  std::uint64_t header_offset = 0;
};

class ZipArchive {
 public:
  /// Error{kCorrupt} where the directory of the archive is missing or damaged.
  explicit ZipArchive(const std::filesystem::path& path);

  /// Null if there is none of that name.
  [[nodiscard]] const ZipMember* find(std::string_view name) const noexcept;
  [[nodiscard]] const InputFile& file() const noexcept { return file_; }

 private:
  struct Directory {
    std::uint64_t offset = 0;
    std::uint64_t size = 0;
  };
  [[nodiscard]] Directory find_directory() const;
  void read_directory(const Directory& directory);
  [[nodiscard]] std::vector<unsigned char> bytes_at(std::uint64_t offset, std::size_t count) const;

  InputFile file_;
  std::vector<ZipMember> members_;
};

/// The bytes of one member in order. Holds the archive's file by reference.
class ZipStream {
 public:
  /// Error{kCorrupt} where the member does not lie in the file, Error{kUnsupported} for encryption and other methods.
  ZipStream(const InputFile& file, const ZipMember& member);
  ~ZipStream();
  ZipStream(const ZipStream&) = delete;
  ZipStream& operator=(const ZipStream&) = delete;

  /// Reads exactly `count` bytes. Error{kCorrupt} where there are fewer or the data are damaged.
  void read(void* into, std::size_t count);
  /// Bytes not yet read, as the directory says.
  [[nodiscard]] std::uint64_t left() const noexcept { return left_; }
  /// After the last byte: checks the checksum. Error{kCorrupt}.
  void finish() const;
  /// "FILE: MEMBER" for messages.
  [[nodiscard]] const std::string& where() const noexcept { return where_; }

 private:
  void read_stored(unsigned char* into, std::size_t count);
  void read_deflated(unsigned char* into, std::size_t count);
  [[noreturn]] void corrupt(const std::string& what) const;

  struct Inflater;
  const InputFile& file_;
  const ZipMember& member_;
  std::string where_;
  std::uint64_t offset_ = 0;       // in the file, of what is read next
  std::uint64_t stored_left_ = 0;  // of the member's bytes in the file
  std::uint64_t left_ = 0;
  std::uint32_t crc_ = 0;
  std::unique_ptr<Inflater> inflater_;  // null for stored members
};

}  // namespace concerto::data
