// Frames from arbitrary bytes: in pieces of any size a stream gives the same messages and ends in the same failure, and
// what was understood is exactly what encoding it gives. The first byte chooses the size of the pieces.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>
#include <vector>

#include "framing.hpp"

namespace {

using concerto::Message;

void must(bool holds) {
  if (!holds) std::abort();
}

struct Parsed {
  std::vector<std::byte> again;  ///< the messages, encoded
  std::string failure;
};

Parsed parse(std::span<const std::byte> bytes, std::size_t piece) {
  Parsed parsed;
  concerto::FrameParser parser;
  while (!bytes.empty()) {
    const auto part = bytes.first(std::min(piece, bytes.size()));
    bytes = bytes.subspan(part.size());
    const auto fed = parser.feed(part, [&](const Message& message) {
      const auto frame = concerto::encode_frame(message);
      parsed.again.insert(parsed.again.end(), frame.begin(), frame.end());
    });
    if (fed) continue;
    parsed.failure = fed.failure().message;
    must(fed.failure().kind == concerto::FailureKind::kCorrupt && !parsed.failure.empty());
    break;
  }
  return parsed;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::size_t piece = data[0] + std::size_t{1};
  const auto bytes = std::as_bytes(std::span(data + 1, size - 1));
  const Parsed whole = parse(bytes, bytes.size() + 1);
  const Parsed pieces = parse(bytes, piece);
  must(whole.again == pieces.again && whole.failure == pieces.failure);
  must(whole.again.size() <= bytes.size() && std::equal(whole.again.begin(), whole.again.end(), bytes.begin()));
  // The same bytes as payloads come back as they went.
  std::vector<std::byte> stream;
  for (std::size_t at = 0; at < bytes.size(); at += piece) {
    const auto part = bytes.subspan(at, std::min(piece, bytes.size() - at));
    const auto frame = concerto::encode_frame({data[0], 7, {part.begin(), part.end()}});
    stream.insert(stream.end(), frame.begin(), frame.end());
  }
  must(parse(stream, piece).again == stream);
  return 0;
}
