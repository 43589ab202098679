// The text of a file as one stream of bytes, whether it is stored plain, as gzip or as Zstandard.
// Recognizes the compression by its first bytes, not by the name. Does not look at the text.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>

namespace concerto::data {

class ByteSource {
 public:
  ByteSource() = default;
  virtual ~ByteSource() = default;
  ByteSource(const ByteSource&) = delete;
  ByteSource& operator=(const ByteSource&) = delete;

  /// Reads `count` bytes; fewer only at the end. Error{kCorrupt} where compressed data are truncated or damaged.
  virtual std::size_t read(char* into, std::size_t count) = 0;
  /// The share of the stored file that has been consumed, in [0, 1].
  [[nodiscard]] virtual double progress() const noexcept = 0;
};

/// Opens `path`; several gzip members or Zstandard frames follow one another as one stream. A name that ends in .gz or
/// .zst with other content is Error{kCorrupt}.
[[nodiscard]] std::unique_ptr<ByteSource> open_source(const std::filesystem::path& path);

}  // namespace concerto::data
