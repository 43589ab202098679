// Plain, gzip (multi-member) and Zstandard (multi-frame) sources over one input buffer.
#include "byte_source.hpp"

#include <algorithm>
#include <cstring>
#include <new>
#include <string>
#include <string_view>
#include <vector>

#include <zlib.h>
#include <zstd.h>

#include "concerto/base/error.hpp"

#include "input_file.hpp"

namespace concerto::data {
namespace {

constexpr std::size_t kInputBytes = std::size_t{1} << 18U;

class PlainSource final : public ByteSource {
 public:
  explicit PlainSource(const std::filesystem::path& path) : file_(path) {}

  std::size_t read(char* into, std::size_t count) override {
    const std::size_t got = file_.read_at(offset_, into, count);
    offset_ += got;
    return got;
  }
  [[nodiscard]] double progress() const noexcept override {
    return file_.size() == 0 ? 1.0 : std::min(1.0, static_cast<double>(offset_) / static_cast<double>(file_.size()));
  }

 private:
  InputFile file_;
  std::uint64_t offset_ = 0;
};

// What both decompressors share: the compressed file in pieces.
class CompressedSource : public ByteSource {
 public:
  explicit CompressedSource(const std::filesystem::path& path) : file_(path), input_(kInputBytes) {}

  [[nodiscard]] double progress() const noexcept override {
    const std::uint64_t consumed = offset_ - (filled_ - used_);
    return file_.size() == 0 ? 1.0 : std::min(1.0, static_cast<double>(consumed) / static_cast<double>(file_.size()));
  }

 protected:
  // Is there another byte of compressed input? Reads more when the buffer is used up.
  bool has_input() {
    if (used_ < filled_) return true;
    filled_ = file_.read_at(offset_, input_.data(), input_.size());
    used_ = 0;
    offset_ += filled_;
    return filled_ > 0;
  }
  [[nodiscard]] char* input() noexcept { return input_.data() + used_; }
  [[nodiscard]] std::size_t input_size() const noexcept { return filled_ - used_; }
  void consume(std::size_t count) noexcept { used_ += count; }

  [[noreturn]] void corrupt(const std::string& what) const { throw Error(ErrorCode::kCorrupt, what, file_.name()); }

 private:
  InputFile file_;
  std::vector<char> input_;
  std::size_t used_ = 0;
  std::size_t filled_ = 0;
  std::uint64_t offset_ = 0;
};

class GzipSource final : public CompressedSource {
 public:
  explicit GzipSource(const std::filesystem::path& path) : CompressedSource(path) {
    constexpr int kGzipWindowBits = 15 + 16;  // zlib's way to say: a gzip wrapper
    if (inflateInit2(&stream_, kGzipWindowBits) != Z_OK) throw std::bad_alloc();
  }
  ~GzipSource() override { inflateEnd(&stream_); }
  GzipSource(const GzipSource&) = delete;
  GzipSource& operator=(const GzipSource&) = delete;

  std::size_t read(char* into, std::size_t count) override {
    std::size_t done = 0;
    while (done < count && !at_end_) {
      if (!has_input()) {
        if (in_member_) corrupt("the gzip data end early: the file is truncated");
        at_end_ = true;
        break;
      }
      if (!in_member_ && !begin_member()) continue;
      done += inflate_some(into + done, count - done);
    }
    return done;
  }

 private:
  // Between members: zero bytes are padding, anything but a member's first byte is damage.
  bool begin_member() {
    if (members_ > 0 && *input() == '\0') {
      consume(1);
      return false;
    }
    if (members_ > 0) inflateReset(&stream_);
    in_member_ = true;
    ++members_;
    return true;
  }

  std::size_t inflate_some(char* into, std::size_t count) {
    const auto room = static_cast<uInt>(std::min<std::size_t>(count, std::size_t{1} << 30U));
    stream_.next_in = reinterpret_cast<Bytef*>(input());
    stream_.avail_in = static_cast<uInt>(input_size());
    stream_.next_out = reinterpret_cast<Bytef*>(into);
    stream_.avail_out = room;
    const int status = inflate(&stream_, Z_NO_FLUSH);
    consume(input_size() - stream_.avail_in);
    if (status == Z_STREAM_END) {
      in_member_ = false;
    } else if (status == Z_MEM_ERROR) {
      throw std::bad_alloc();
    } else if (status != Z_OK && status != Z_BUF_ERROR) {
      corrupt(std::string("the gzip data are damaged") +
              (stream_.msg == nullptr ? "" : std::string(": ") + stream_.msg));
    }
    return room - stream_.avail_out;
  }

  z_stream stream_{};
  bool in_member_ = false;
  bool at_end_ = false;
  std::uint64_t members_ = 0;
};

class ZstdSource final : public CompressedSource {
 public:
  explicit ZstdSource(const std::filesystem::path& path) : CompressedSource(path), stream_(ZSTD_createDStream()) {
    if (!stream_) throw std::bad_alloc();
  }

  std::size_t read(char* into, std::size_t count) override {
    std::size_t done = 0;
    while (done < count) {
      // Output may still be held back after the last input, so an empty input is offered once more before the end.
      const bool has_more = has_input();
      if (!has_more && !in_frame_) break;
      ZSTD_inBuffer in{input(), input_size(), 0};
      ZSTD_outBuffer out{into + done, count - done, 0};
      const std::size_t status = ZSTD_decompressStream(stream_.get(), &out, &in);
      if (ZSTD_isError(status) != 0) {
        corrupt(std::string("the zstd data are damaged: ") + ZSTD_getErrorName(status));
      }
      consume(in.pos);
      done += out.pos;
      in_frame_ = status != 0;
      if (!has_more && in_frame_ && out.pos == 0) corrupt("the zstd data end early: the file is truncated");
    }
    return done;
  }

 private:
  struct Free {
    void operator()(ZSTD_DStream* stream) const noexcept { ZSTD_freeDStream(stream); }
  };
  std::unique_ptr<ZSTD_DStream, Free> stream_;
  bool in_frame_ = false;
};

bool is_gzip(std::string_view head) {
  return head.size() >= 2 && head[0] == '\x1f' && head[1] == '\x8b';
}

bool is_zstd(std::string_view head) {
  if (head.size() < 4) return false;
  const bool is_frame = head.substr(0, 4) == std::string_view("\x28\xb5\x2f\xfd", 4);
  const bool is_skippable =
      (static_cast<unsigned char>(head[0]) & 0xf0U) == 0x50U && head.substr(1, 3) == "\x2a\x4d\x18";
  return is_frame || is_skippable;
}

}  // namespace

std::unique_ptr<ByteSource> open_source(const std::filesystem::path& path) {
  char bytes[4] = {};
  std::size_t count = 0;
  {
    const InputFile file(path);
    count = file.read_at(0, bytes, sizeof(bytes));
  }
  const std::string_view head(bytes, count);
  if (is_gzip(head)) return std::make_unique<GzipSource>(path);
  if (is_zstd(head)) return std::make_unique<ZstdSource>(path);
  if (path.extension() == ".gz") {
    throw Error(ErrorCode::kCorrupt, "is named .gz but does not begin as gzip data do", path.string());
  }
  if (path.extension() == ".zst") {
    throw Error(ErrorCode::kCorrupt, "is named .zst but does not begin as zstd data do", path.string());
  }
  return std::make_unique<PlainSource>(path);
}

}  // namespace concerto::data
