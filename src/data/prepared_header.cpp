// The header's image: fixed fields, a record a file, all checksums of pieces, and a checksum of all before it.
#include "prepared_header.hpp"

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

#include "concerto/base/checksum.hpp"
#include "concerto/base/error.hpp"

#include "byte_image.hpp"

namespace concerto::prepared {
namespace {

constexpr std::uint64_t kMagic = 0x3150455250434e43;  // "CNCPREP1"
constexpr std::uint32_t kVersion = 3;                 // 2: how duplicates were merged; 3: checksums of pieces
constexpr std::size_t kNameBytes = 24;

struct StoredRecord {
  std::array<char, kNameBytes> name{};
  std::uint64_t bytes = 0;
  std::uint64_t pieces = 0;
};
static_assert(std::is_trivially_copyable_v<StoredRecord>);

}  // namespace

std::vector<std::byte> header_image(const Header& header) {
  ImageWriter image;
  image.value(kMagic);
  image.value(kVersion);
  image.value(header.users);
  image.value(header.items);
  image.value(header.entries);
  image.value(std::uint32_t{header.has_values});
  image.value(std::uint32_t{header.has_test});
  image.value(header.test_entries);
  image.value(std::uint32_t{header.test_has_values});
  image.value(header.test_unknown);
  image.value(header.test_unknown_users);
  image.value(static_cast<std::uint32_t>(header.merging.duplicates));
  image.value(header.merging.merged);
  image.value(static_cast<std::uint32_t>(header.files.size()));
  for (const FileRecord& file : header.files) {
    StoredRecord stored{{}, file.bytes, file.checksums.size()};
    file.name.copy(stored.name.data(), stored.name.size() - 1);
    image.value(stored);
  }
  for (const FileRecord& file : header.files) image.array<std::uint64_t>(file.checksums);
  image.value(checksum(image.bytes()));
  return image.take();
}

Header parse_header(std::span<const std::byte> bytes, const std::string& where) {
  ImageReader whole(bytes, where);
  if (whole.value<std::uint64_t>() != kMagic) whole.fail("is not the header of a prepared data set");
  if (bytes.size() < 2 * sizeof(std::uint64_t)) whole.fail("is truncated");
  const std::span<const std::byte> content = bytes.first(bytes.size() - sizeof(std::uint64_t));
  std::uint64_t stored = 0;
  std::memcpy(&stored, content.data() + content.size(), sizeof(stored));
  if (checksum(content) != stored) whole.fail("is truncated or altered: its checksum differs");

  ImageReader image(content.subspan(sizeof(kMagic)), where);
  const auto version = image.value<std::uint32_t>();
  if (version != kVersion) {
    throw Error(ErrorCode::kUnsupported,
                fmt::format("has format version {}, this program reads {}; prepare the data again", version, kVersion),
                where);
  }
  Header header;
  header.users = image.value<RowIndex>();
  header.items = image.value<RowIndex>();
  header.entries = image.value<EntryIndex>();
  header.has_values = image.value<std::uint32_t>() != 0;
  header.has_test = image.value<std::uint32_t>() != 0;
  header.test_entries = image.value<EntryIndex>();
  header.test_has_values = image.value<std::uint32_t>() != 0;
  header.test_unknown = image.value<std::uint64_t>();
  header.test_unknown_users = image.value<std::uint64_t>();
  const auto duplicates = image.value<std::uint32_t>();
  if (duplicates > static_cast<std::uint32_t>(Duplicates::kError)) image.fail("has an unknown rule of duplicates");
  header.merging.duplicates = static_cast<Duplicates>(duplicates);
  header.merging.merged = image.value<EntryIndex>();
  const auto files = image.array<StoredRecord>(image.value<std::uint32_t>());
  for (const StoredRecord& file : files) {
    header.files.push_back({{file.name.data(), ::strnlen(file.name.data(), file.name.size())},
                            file.bytes,
                            image.array<std::uint64_t>(file.pieces)});
  }
  image.expect_end();
  return header;
}

}  // namespace concerto::prepared
