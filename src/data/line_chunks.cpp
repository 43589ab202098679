// Cutting at line ends: each chunk is filled, cut behind its last newline, and the rest carried over.
#include "line_chunks.hpp"

#include <algorithm>
#include <cstring>
#include <string_view>
#include <utility>

#include "concerto/base/error.hpp"

#include "parse_number.hpp"

namespace concerto::data {
namespace {
constexpr std::size_t kMaxLineBytes = std::size_t{1} << 30U;
}  // namespace

LineChunks::LineChunks(std::unique_ptr<ByteSource> source, std::string name, std::size_t chunk_bytes,
                       std::uint64_t skip_bytes)
    : source_(std::move(source)), name_(std::move(name)), chunk_bytes_(std::max<std::size_t>(chunk_bytes, 1)) {
  std::vector<char> passed(static_cast<std::size_t>(std::min<std::uint64_t>(skip_bytes, 1U << 16U)));
  while (bytes_ < skip_bytes) {
    const auto want = static_cast<std::size_t>(std::min<std::uint64_t>(passed.size(), skip_bytes - bytes_));
    const std::size_t got = source_->read(passed.data(), want);
    bytes_ += got;
    if (got < want) break;
  }
}

bool LineChunks::next(TextChunk& chunk) {
  std::size_t limit = chunk_bytes_;
  while (limit <= carry_.size()) limit *= 2;
  chunk.size = carry_.size();
  if (chunk.buffer.size() < limit + 1 + kReadAhead) chunk.buffer.resize(limit + 1 + kReadAhead);
  std::copy(carry_.begin(), carry_.end(), chunk.buffer.begin());
  carry_.clear();
  for (;;) {
    const std::size_t want = limit - chunk.size;
    const std::size_t got = at_end_ ? 0 : source_->read(chunk.buffer.data() + chunk.size, want);
    at_end_ = at_end_ || got < want;
    chunk.size += got;
    bytes_ += got;
    chunk.progress = source_->progress();
    if (at_end_) {
      if (chunk.size == 0) return false;
      if (chunk.buffer[chunk.size - 1] != '\n') chunk.buffer[chunk.size++] = '\n';
      break;
    }
    const std::size_t newline = std::string_view(chunk.buffer.data(), chunk.size).rfind('\n');
    if (newline != std::string_view::npos) {
      carry_.assign(chunk.buffer.data() + newline + 1, chunk.buffer.data() + chunk.size);
      chunk.size = newline + 1;
      break;
    }
    if (limit >= kMaxLineBytes) throw Error(ErrorCode::kBadInput, "has a line of more than 1 GiB", name_);
    limit *= 2;
    chunk.buffer.resize(limit + 1 + kReadAhead);
  }
  std::memset(chunk.buffer.data() + chunk.size, 0, kReadAhead);
  return true;
}

}  // namespace concerto::data
