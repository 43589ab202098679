// Headers of operations: their bytes, and what to say when two do not agree.
#include "operation_header.hpp"

#include <string>
#include <vector>

#include <fmt/format.h>

#include "concerto/base/checksum.hpp"

namespace concerto {
namespace {

constexpr std::uint32_t kMagic = 0x6d6f6343;  // "Ccom"
constexpr std::uint16_t kVersion = 1;
constexpr std::size_t kChecksumAt = kHeaderBytes - sizeof(std::uint64_t);

class Writer {
 public:
  explicit Writer(HeaderBytes& bytes) : bytes_(bytes) {}
  template <class T>
  void put(T value) noexcept {
    for (std::size_t i = 0; i < sizeof(T); ++i) bytes_[at_++] = static_cast<std::byte>(value >> (8 * i) & 0xff);
  }

 private:
  HeaderBytes& bytes_;
  std::size_t at_ = 0;
};

class Reader {
 public:
  explicit Reader(const HeaderBytes& bytes) : bytes_(bytes) {}
  template <class T>
  [[nodiscard]] T take() noexcept {
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < sizeof(T); ++i) value |= std::to_integer<std::uint64_t>(bytes_[at_++]) << (8 * i);
    return static_cast<T>(value);
  }

 private:
  const HeaderBytes& bytes_;
  std::size_t at_ = 0;
};

std::uint64_t checksum_of(const HeaderBytes& bytes) noexcept {
  return checksum(std::span(bytes).first<kChecksumAt>());
}

std::string describe(const OperationHeader& header) {
  return describe(header.kind, header.tag);
}

/// What differs between two headers of the same kind and tag.
std::string difference(const OperationHeader& mine, const OperationHeader& theirs) {
  if (mine.group != theirs.group) return "they belong to different groups";
  if (mine.root != theirs.root) return fmt::format("the roots are {} and {}", mine.root, theirs.root);
  if (mine.bytes != theirs.bytes) return fmt::format("the sizes are {} and {} bytes", mine.bytes, theirs.bytes);
  return fmt::format("its {} bytes are divided in different ways", mine.bytes);
}

}  // namespace

std::string describe(OperationKind kind, const OperationTag& tag) {
  return fmt::format("{} ({})", to_string(kind), to_string(tag));
}

HeaderBytes encode(const OperationHeader& header) noexcept {
  HeaderBytes bytes{};
  Writer writer(bytes);
  writer.put(kMagic);
  writer.put(kVersion);
  writer.put(static_cast<std::uint16_t>(header.kind));
  writer.put(header.root);
  writer.put(header.sender);
  writer.put(header.tag.epoch);
  writer.put(header.tag.table);
  writer.put(header.tag.step);
  writer.put(header.tag.index);
  writer.put(header.bytes);
  writer.put(header.layout);
  writer.put(header.group);
  writer.put(checksum_of(bytes));
  return bytes;
}

std::optional<OperationHeader> decode(const HeaderBytes& bytes) noexcept {
  Reader reader(bytes);
  const bool is_ours = reader.take<std::uint32_t>() == kMagic && reader.take<std::uint16_t>() == kVersion;
  const auto kind = reader.take<std::uint16_t>();
  if (!is_ours || kind > static_cast<std::uint16_t>(OperationKind::kReceive)) return std::nullopt;
  OperationHeader header;
  header.kind = static_cast<OperationKind>(kind);
  header.root = reader.take<Rank>();
  header.sender = reader.take<Rank>();
  header.tag.epoch = reader.take<std::uint32_t>();
  header.tag.table = reader.take<std::uint32_t>();
  header.tag.step = reader.take<std::uint64_t>();
  header.tag.index = reader.take<std::uint64_t>();
  header.bytes = reader.take<std::uint64_t>();
  header.layout = reader.take<std::uint64_t>();
  header.group = reader.take<std::uint64_t>();
  if (reader.take<std::uint64_t>() != checksum_of(bytes)) return std::nullopt;
  return header;
}

std::uint64_t layout_digest(std::size_t buffer_bytes, std::span<const GatherBlock> blocks) {
  std::vector<std::uint64_t> numbers{buffer_bytes};
  numbers.reserve(1 + 3 * blocks.size());
  for (const GatherBlock& block : blocks) {
    numbers.insert(numbers.end(),
                   {std::uint64_t{block.owner}, std::uint64_t{block.offset}, std::uint64_t{block.bytes}});
  }
  return checksum(std::as_bytes(std::span(numbers)));
}

std::uint64_t layout_digest(std::span<const std::size_t> sizes) {
  const std::vector<std::uint64_t> numbers(sizes.begin(), sizes.end());
  return checksum(std::as_bytes(std::span(numbers)));
}

std::optional<Failure> disagreement(const OperationHeader& mine, const HeaderBytes& received, Rank peer) {
  const std::optional<OperationHeader> theirs = decode(received);
  if (!theirs || theirs->sender != peer) {
    return Failure{FailureKind::kCorrupt,
                   fmt::format("{}: what came from rank {} is no header of an operation of its", describe(mine), peer)};
  }
  OperationHeader expected = mine;
  expected.sender = peer;
  if (*theirs == expected) return std::nullopt;
  if (theirs->kind != mine.kind || !(theirs->tag == mine.tag)) {
    return Failure{FailureKind::kMismatch, fmt::format("rank {} is at {}, rank {} at {}", mine.sender, describe(mine),
                                                       peer, describe(*theirs))};
  }
  return Failure{FailureKind::kMismatch, fmt::format("ranks {} and {} do not agree on {}: {}", mine.sender, peer,
                                                     describe(mine), difference(mine, *theirs))};
}

}  // namespace concerto
