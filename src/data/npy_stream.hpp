// One array of a .npz archive, element by element in blocks, whatever its number type.
// Source: NumPy Enhancement Proposal 1, the .npy format.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "zip_archive.hpp"

namespace concerto::data {

class NpyStream {
 public:
  /// Reads the header. Error{kCorrupt} where it is damaged, Error{kUnsupported} for big-endian arrays.
  NpyStream(const InputFile& file, const ZipMember& member);

  [[nodiscard]] std::uint64_t count() const noexcept { return count_; }
  /// "FILE: MEMBER: element N" (counted from 0) for messages.
  [[nodiscard]] std::string where(std::uint64_t element) const;
  [[nodiscard]] const std::string& where() const noexcept { return stream_.where(); }

  /// The next integers, at most `most` of them; empty at the end. Error{kBadInput} where one is negative, and
  /// Error{kUnsupported} where the array holds no integers.
  void next(std::vector<std::uint64_t>& values, std::size_t most);
  /// The next numbers of any real type.
  void next(std::vector<double>& values, std::size_t most);
  /// All characters of an array of bytes or of Unicode text (its ASCII part).
  [[nodiscard]] std::string text();

 private:
  void read_header();
  void take_dictionary(const std::string& header);
  [[nodiscard]] std::size_t read_raw(std::size_t most);
  [[noreturn]] void corrupt(const std::string& what) const;
  template <class Out, class Stored>
  void convert(std::vector<Out>& values, std::size_t count) const;

  ZipStream stream_;
  char kind_ = ' ';          // 'i', 'u', 'f', 'b', 'S', 'U'
  std::size_t element_ = 0;  // bytes
  std::uint64_t count_ = 0;
  std::uint64_t done_ = 0;
  std::vector<unsigned char> raw_;
};

}  // namespace concerto::data
