// Frames: whatever pieces bytes come in, the same messages; and nothing but what was written.
#include "framing.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "concerto/base/rng.hpp"
#include "concerto/comm/identity.hpp"

namespace concerto {
namespace {

std::vector<Message> parse(std::span<const std::byte> bytes, std::size_t piece, std::string* error = nullptr) {
  FrameParser parser;
  std::vector<Message> messages;
  for (std::size_t at = 0; at < bytes.size(); at += piece) {
    const auto fed = parser.feed(bytes.subspan(at, std::min(piece, bytes.size() - at)),
                                 [&](Message message) { messages.push_back(std::move(message)); });
    if (fed) continue;
    if (error != nullptr) *error = fed.failure().message;
    break;
  }
  return messages;
}

std::vector<std::byte> stream_of(const std::vector<std::size_t>& sizes) {
  std::vector<std::byte> stream;
  Random random(5);
  for (const std::size_t size : sizes) {
    Message message{static_cast<std::uint16_t>(size), static_cast<std::uint32_t>(3 * size), {}};
    for (std::size_t i = 0; i < size; ++i) message.payload.push_back(static_cast<std::byte>(random()));
    const auto frame = encode_frame(message);
    stream.insert(stream.end(), frame.begin(), frame.end());
  }
  return stream;
}

TEST(Framing, PiecesOfAnySizeGiveTheSameMessages) {
  const std::vector<std::size_t> sizes = {0, 1, 23, 24, 25, 1000, 0, 7};
  const auto stream = stream_of(sizes);
  for (const std::size_t piece : {1UL, 2UL, 3UL, 7UL, 24UL, 100UL, stream.size()}) {
    const auto messages = parse(stream, piece);
    ASSERT_EQ(messages.size(), sizes.size()) << piece;
    for (std::size_t i = 0; i < sizes.size(); ++i) {
      EXPECT_EQ(messages[i].type, sizes[i]);
      EXPECT_EQ(messages[i].epoch, 3 * sizes[i]);
      EXPECT_EQ(messages[i].payload.size(), sizes[i]);
    }
  }
}

TEST(Framing, AnyChangedByteIsNoticed) {
  const auto stream = stream_of({40});
  for (std::size_t at = 0; at < stream.size(); ++at) {
    auto changed = stream;
    changed[at] ^= std::byte{0x10};
    std::string error;
    const auto messages = parse(changed, changed.size(), &error);
    // A longer length waits for bytes that never come; anything else is an error at once.
    EXPECT_TRUE(messages.empty()) << at;
    if (at < 12 || at > 15) {
      EXPECT_FALSE(error.empty()) << at;
    }
  }
}

TEST(Framing, WhatIsWrongIsSaid) {
  std::string error;
  std::vector<std::byte> zeros(24);
  (void)parse(zeros, 24, &error);
  EXPECT_EQ(error, "bytes that are no frame of this version");
  auto huge = stream_of({1});
  huge[15] = std::byte{0xff};
  (void)parse(huge, huge.size(), &error);
  EXPECT_THAT(error, ::testing::HasSubstr("announces"));
}

TEST(Identity, UrisRoundTripAndNothingElseIsOne) {
  const Identity rank{"a-job_1", Role::kRank, 3, 12};
  const Identity launcher{"j", Role::kLauncher, 0, 0};
  EXPECT_EQ(to_uri(rank), "concerto://a-job_1/rank/3/12");
  EXPECT_EQ(to_uri(launcher), "concerto://j/launcher/0");
  EXPECT_EQ(parse_identity(to_uri(rank)), rank);
  EXPECT_EQ(parse_identity(to_uri(launcher)), launcher);
  for (const char* uri : {"", "concerto://", "concerto://j/rank/3", "concerto://j/rank/3/", "concerto://j/rank//1",
                          "concerto://j/rank/3/1/", "concerto://j/rank/03/1", "concerto://j/rank/3/-1",
                          "concerto://j/boss/3", "concerto:///rank/3/1", "concerto://j j/rank/3/1", "http://j/rank/3/1",
                          "concerto://j/launcher/0/1", "concerto://j/launcher/4294967296"}) {
    EXPECT_FALSE(parse_identity(uri)) << uri;
  }
}

TEST(Identity, ARankWritesItsOwnKeysOnly) {
  const Identity rank{"j", Role::kRank, 3, 1};
  EXPECT_TRUE(may_write(rank, "ranks/3/heartbeat"));
  EXPECT_FALSE(may_write(rank, "ranks/3/"));
  EXPECT_FALSE(may_write(rank, "ranks/31/heartbeat"));
  EXPECT_FALSE(may_write(rank, "ranks/1/heartbeat"));
  EXPECT_FALSE(may_write(rank, "members/3"));
  EXPECT_TRUE(may_write({"j", Role::kLauncher, 0, 0}, "members/3"));
}

}  // namespace
}  // namespace concerto
