// Cuts a stream of bytes into lines. Pure; memory is bounded by the longest line.
#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace concerto {

class LineBuffer {
 public:
  /// A line of more bytes comes in pieces of this many, each as a line of its own.
  static constexpr std::size_t kLongestLine = std::size_t{64} << 10;
  using Consumer = std::function<void(std::string line)>;

  /// Hands on every line that these bytes complete, without its newline.
  void append(std::string_view bytes, const Consumer& consume);
  /// Hands on what is left without a newline at the end of the stream.
  void flush(const Consumer& consume);

 private:
  std::string partial_;
};

}  // namespace concerto
