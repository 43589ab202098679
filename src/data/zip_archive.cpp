// The directory at the end of the archive, then members one at a time.
#include "zip_archive.hpp"

#include <algorithm>
#include <limits>
#include <new>

#include <zlib.h>

#include "concerto/base/error.hpp"

namespace concerto::data {
namespace {

constexpr std::uint16_t kStored = 0;
constexpr std::uint16_t kDeflated = 8;
constexpr std::uint16_t kZip64Extra = 1;
constexpr std::size_t kEndBytes = 22;
constexpr std::size_t kEntryBytes = 46;
constexpr std::size_t kLocalBytes = 30;
constexpr std::uint64_t kMostDirectoryBytes = std::uint64_t{1} << 26U;
constexpr std::size_t kInputBytes = std::size_t{1} << 18U;

// A little-endian number of `count` bytes.
std::uint64_t number_at(const unsigned char* bytes, std::size_t count) noexcept {
  std::uint64_t value = 0;
  for (std::size_t index = count; index-- > 0;) value = value << 8U | bytes[index];
  return value;
}

bool has_signature(const unsigned char* bytes, char third, char fourth) noexcept {
  return bytes[0] == 'P' && bytes[1] == 'K' && bytes[2] == static_cast<unsigned char>(third) &&
         bytes[3] == static_cast<unsigned char>(fourth);
}

[[noreturn]] void corrupt_archive(const InputFile& file, const std::string& what) {
  throw Error(ErrorCode::kCorrupt, what, file.name());
}

// Sizes and offsets that did not fit the entry stand in its zip64 field, in this order.
void take_zip64(const unsigned char* extra, std::size_t size, ZipMember& member) {
  constexpr std::uint64_t kElsewhere = std::numeric_limits<std::uint32_t>::max();
  while (size >= 4) {
    const std::size_t length = number_at(extra + 2, 2);
    if (4 + length > size) return;
    if (number_at(extra, 2) == kZip64Extra) {
      std::size_t at = 4;
      for (std::uint64_t* field : {&member.size, &member.stored_size, &member.header_offset}) {
        if (*field != kElsewhere || at + 8 > 4 + length) continue;
        *field = number_at(extra + at, 8);
        at += 8;
      }
      return;
    }
    extra += 4 + length;
    size -= 4 + length;
  }
}

}  // namespace

ZipArchive::ZipArchive(const std::filesystem::path& path) : file_(path) {
  read_directory(find_directory());
}

std::vector<unsigned char> ZipArchive::bytes_at(std::uint64_t offset, std::size_t count) const {
  std::vector<unsigned char> bytes(count);
  if (offset > file_.size() || file_.read_at(offset, reinterpret_cast<char*>(bytes.data()), count) != count) {
    corrupt_archive(file_, "the zip archive is truncated or damaged");
  }
  return bytes;
}

ZipArchive::Directory ZipArchive::find_directory() const {
  constexpr std::size_t kMostComment = 65535;
  const auto tail_size = static_cast<std::size_t>(std::min<std::uint64_t>(file_.size(), kEndBytes + kMostComment));
  const std::uint64_t tail_offset = file_.size() - tail_size;
  const std::vector<unsigned char> tail = bytes_at(tail_offset, tail_size);
  for (std::size_t at = tail_size; at >= kEndBytes;) {
    --at;
    if (at + kEndBytes > tail_size || !has_signature(tail.data() + at, 5, 6)) continue;
    Directory directory{number_at(tail.data() + at + 16, 4), number_at(tail.data() + at + 12, 4)};
    constexpr std::size_t kLocatorBytes = 20;
    const std::uint64_t end_offset = tail_offset + at;
    if (end_offset >= kLocatorBytes) {
      const auto locator = bytes_at(end_offset - kLocatorBytes, kLocatorBytes);
      if (has_signature(locator.data(), 6, 7)) {
        const auto end64 = bytes_at(number_at(locator.data() + 8, 8), 56);
        if (!has_signature(end64.data(), 6, 6)) corrupt_archive(file_, "the zip64 directory of the archive is damaged");
        directory = {number_at(end64.data() + 48, 8), number_at(end64.data() + 40, 8)};
      }
    }
    return directory;
  }
  corrupt_archive(file_, "the zip archive has no directory at its end: the file is truncated");
}

void ZipArchive::read_directory(const Directory& directory) {
  if (directory.size > kMostDirectoryBytes || directory.offset > file_.size() ||
      directory.size > file_.size() - directory.offset) {
    corrupt_archive(file_, "the directory of the zip archive is damaged");
  }
  const auto bytes = bytes_at(directory.offset, static_cast<std::size_t>(directory.size));
  for (std::size_t at = 0; at < bytes.size();) {
    const unsigned char* const entry = bytes.data() + at;
    if (bytes.size() - at < kEntryBytes || !has_signature(entry, 1, 2)) {
      corrupt_archive(file_, "the directory of the zip archive is damaged");
    }
    const std::size_t name_size = number_at(entry + 28, 2);
    const std::size_t extra_size = number_at(entry + 30, 2);
    const std::size_t whole = kEntryBytes + name_size + extra_size + number_at(entry + 32, 2);
    if (bytes.size() - at < whole) corrupt_archive(file_, "the directory of the zip archive is damaged");
    ZipMember member;
    member.flags = static_cast<std::uint16_t>(number_at(entry + 8, 2));
    member.method = static_cast<std::uint16_t>(number_at(entry + 10, 2));
    member.crc = static_cast<std::uint32_t>(number_at(entry + 16, 4));
    member.stored_size = number_at(entry + 20, 4);
    member.size = number_at(entry + 24, 4);
    member.header_offset = number_at(entry + 42, 4);
    member.name.assign(reinterpret_cast<const char*>(entry) + kEntryBytes, name_size);
    take_zip64(entry + kEntryBytes + name_size, extra_size, member);
    members_.push_back(std::move(member));
    at += whole;
  }
}

const ZipMember* ZipArchive::find(std::string_view name) const noexcept {
  for (const ZipMember& member : members_) {
    if (member.name == name) return &member;
  }
  return nullptr;
}

struct ZipStream::Inflater {
  Inflater() : input(kInputBytes) {
    if (inflateInit2(&stream, -MAX_WBITS) != Z_OK) throw std::bad_alloc();
  }
  ~Inflater() { inflateEnd(&stream); }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;
  z_stream stream{};
  std::vector<unsigned char> input;
};

ZipStream::ZipStream(const InputFile& file, const ZipMember& member)
    : file_(file),
      member_(member),
      where_(file.name() + ": " + member.name),
      stored_left_(member.stored_size),
      left_(member.size) {
  if ((member.flags & 1U) != 0) throw Error(ErrorCode::kUnsupported, "is encrypted", where_);
  if (member.method != kStored && member.method != kDeflated) {
    throw Error(ErrorCode::kUnsupported, "is compressed by zip method " + std::to_string(member.method), where_);
  }
  unsigned char head[kLocalBytes];
  if (member.header_offset > file.size() ||
      file.read_at(member.header_offset, reinterpret_cast<char*>(head), kLocalBytes) != kLocalBytes ||
      !has_signature(head, 3, 4)) {
    corrupt("its header is missing or damaged");
  }
  offset_ = member.header_offset + kLocalBytes + number_at(head + 26, 2) + number_at(head + 28, 2);
  if (offset_ > file.size() || stored_left_ > file.size() - offset_) corrupt("is truncated");
  if (member.method == kStored && member.size != member.stored_size) corrupt("has two different sizes");
  constexpr std::uint64_t kMostInflation = 1040;  // deflate reaches 1032
  if (member.size / kMostInflation > member.stored_size) corrupt("claims to be larger than its data can be");
  if (member.method == kDeflated) inflater_ = std::make_unique<Inflater>();
}

ZipStream::~ZipStream() = default;

void ZipStream::corrupt(const std::string& what) const {
  throw Error(ErrorCode::kCorrupt, what, where_);
}

void ZipStream::read(void* into, std::size_t count) {
  if (count > left_) corrupt("ends early");
  auto* const bytes = static_cast<unsigned char*>(into);
  if (inflater_) {
    read_deflated(bytes, count);
  } else {
    read_stored(bytes, count);
  }
  left_ -= count;
  crc_ = static_cast<std::uint32_t>(crc32_z(crc_, bytes, count));
}

void ZipStream::read_stored(unsigned char* into, std::size_t count) {
  if (file_.read_at(offset_, reinterpret_cast<char*>(into), count) != count) corrupt("is truncated");
  offset_ += count;
}

void ZipStream::read_deflated(unsigned char* into, std::size_t count) {
  z_stream& stream = inflater_->stream;
  std::size_t done = 0;
  while (done < count) {
    if (stream.avail_in == 0) {
      const auto want = static_cast<std::size_t>(std::min<std::uint64_t>(stored_left_, kInputBytes));
      const std::size_t got = file_.read_at(offset_, reinterpret_cast<char*>(inflater_->input.data()), want);
      if (got == 0) corrupt("ends early");
      offset_ += got;
      stored_left_ -= got;
      stream.next_in = inflater_->input.data();
      stream.avail_in = static_cast<uInt>(got);
    }
    const auto room = static_cast<uInt>(std::min<std::size_t>(count - done, std::size_t{1} << 30U));
    stream.next_out = into + done;
    stream.avail_out = room;
    const int status = inflate(&stream, Z_NO_FLUSH);
    done += room - stream.avail_out;
    if (status == Z_STREAM_END && done < count) corrupt("ends early");
    if (status != Z_OK && status != Z_STREAM_END) corrupt("its compressed data are damaged");
  }
}

void ZipStream::finish() const {
  if (left_ != 0) corrupt("is longer than its shape says");
  if (crc_ != member_.crc) corrupt("its checksum is wrong");
}

}  // namespace concerto::data
