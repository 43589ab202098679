// A stream of text cut into pieces of whole lines, the unit that a thread parses.
// Where it cuts depends on the text and on `chunk_bytes` alone, never on threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "byte_source.hpp"

namespace concerto::data {

/// Whole lines, the last one ended too; kReadAhead zero bytes follow the text. Reused from piece to piece.
struct TextChunk {
  std::vector<char> buffer;
  std::size_t size = 0;
  double progress = 0.0;  ///< share of the stored file consumed when this chunk was cut

  [[nodiscard]] const char* begin() const noexcept { return buffer.data(); }
  [[nodiscard]] const char* end() const noexcept { return buffer.data() + size; }
};

class LineChunks {
 public:
  /// `name` is the file as messages show it; the first `skip_bytes` are passed over.
  LineChunks(std::unique_ptr<ByteSource> source, std::string name, std::size_t chunk_bytes, std::uint64_t skip_bytes);

  /// The next chunk, or false at the end. One thread at a time. A line longer than `chunk_bytes` makes its chunk grow;
  /// one beyond 1 GiB is Error{kBadInput}.
  bool next(TextChunk& chunk);

  /// Bytes of text so far, those passed over included.
  [[nodiscard]] std::uint64_t bytes() const noexcept { return bytes_; }

 private:
  std::unique_ptr<ByteSource> source_;
  std::string name_;
  std::size_t chunk_bytes_;
  std::vector<char> carry_;  // the beginning of a line whose end was not in the last chunk
  bool at_end_ = false;
  std::uint64_t bytes_ = 0;
};

}  // namespace concerto::data
