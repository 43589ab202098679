// Little-endian byte images of small binary headers: appending values, and reading them back with every read checked.
// Not for large arrays, which are written and mapped as they are.
#pragma once

#include <bit>
#include <cstddef>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "concerto/base/error.hpp"

namespace concerto {

static_assert(std::endian::native == std::endian::little, "stored arrays are little-endian and mapped as they are");

class ImageWriter {
 public:
  template <class T>
  void value(T v) {
    static_assert(std::is_trivially_copyable_v<T>);
    array(std::span<const T>(&v, 1));
  }
  template <class T>
  void array(std::span<const T> values) {
    const std::span<const std::byte> source = std::as_bytes(values);
    bytes_.insert(bytes_.end(), source.begin(), source.end());
  }
  [[nodiscard]] const std::vector<std::byte>& bytes() const noexcept { return bytes_; }
  [[nodiscard]] std::vector<std::byte> take() noexcept { return std::move(bytes_); }

 private:
  std::vector<std::byte> bytes_;
};

/// Reads what ImageWriter wrote. Running past the end is Error{kCorrupt} naming `where`.
class ImageReader {
 public:
  ImageReader(std::span<const std::byte> image, std::string_view where) : image_(image), where_(where) {}

  template <class T>
  [[nodiscard]] T value() {
    T v;
    std::memcpy(&v, take(sizeof(T)), sizeof(T));
    return v;
  }
  template <class T>
  [[nodiscard]] std::vector<T> array(std::uint64_t count) {
    if (count > image_.size() / sizeof(T)) fail("is truncated");
    std::vector<T> values(count);
    const std::byte* source = take(count * sizeof(T));
    if (count > 0) std::memcpy(values.data(), source, count * sizeof(T));
    return values;
  }
  [[nodiscard]] std::string text(std::uint64_t count) {
    if (count > image_.size()) fail("is truncated");
    const std::byte* source = take(count);
    return {reinterpret_cast<const char*>(source), count};
  }
  void expect_end() const {
    if (!image_.empty()) fail("has bytes behind its end");
  }
  [[noreturn]] void fail(std::string_view what) const {
    throw Error(ErrorCode::kCorrupt, std::string(what), std::string(where_));
  }

 private:
  const std::byte* take(std::uint64_t count) {
    if (count > image_.size()) fail("is truncated");
    const std::byte* begin = image_.data();
    image_ = image_.subspan(count);
    return begin;
  }

  std::span<const std::byte> image_;
  std::string_view where_;
};

}  // namespace concerto
