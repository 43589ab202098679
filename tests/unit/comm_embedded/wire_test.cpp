// The protocol of the embedded store: what is encoded is parsed, to the field; everything else is refused.
#include "wire.hpp"

#include <algorithm>

#include <gtest/gtest.h>

#include "concerto/base/rng.hpp"

namespace concerto::embedded {
namespace {

StoreEntry entry(std::string key, std::string value) {
  return {std::move(key), std::move(value), 3, 0x1234567890abcdef, 9};
}

std::vector<Request> requests() {
  const std::string bytes("\0\xff\n", 3);
  return {{1, Hello{}},
          {2, Ping{}},
          {3, Put{"members/3", bytes, 7}},
          {4, Get{std::string(kMaxStoreKey, 'k')}},
          {5, List{""}},
          {6, Swap{"a", ~Revision{0}, "", 0}},
          {7, Erase{bytes}},
          {8, Grant{1'500}},
          {9, KeepAlive{77}},
          {10, Revoke{78}},
          {11, Poll{"ranks/", 12}},
          {12, Lock{"coordinator", "token-1", 5}},
          {13, Unlock{"coordinator", "token-1"}},
          {~std::uint64_t{0}, Cancel{11}}};
}

std::vector<Answer> answers() {
  const StoreEntry one = entry("a", "value");
  return {{1, Failed{FailureKind::kAborted, "no"}},
          {2, Done{}},
          {3, Welcome{kProtocolVersion, "name"}},
          {4, Written{5}},
          {5, Found{std::nullopt}},
          {5, Found{one}},
          {6, Listed{8, {}}},
          {6, Listed{8, {one, entry("b", "")}}},
          {7, Swapped{true, 9, std::nullopt}},
          {7, Swapped{false, 0, one}},
          {8, Erased{true}},
          {9, Granted{4}},
          {10, Kept{1'500}},
          {11, Changed{true, 12, {{false, one}, {true, {"gone", "", 0, 12, 0}}}}},
          {12, Locked{13}}};
}

TEST(Wire, RequestsComeBack) {
  std::vector<bool> kinds(std::variant_size_v<RequestBody>);
  for (const Request& request : requests()) {
    EXPECT_EQ(parse_request(encode(request)), request) << request.id;
    kinds[request.body.index()] = true;
  }
  EXPECT_EQ(std::ranges::count(kinds, false), 0) << "a kind of request is not tested";
}

TEST(Wire, AnswersComeBack) {
  std::vector<bool> kinds(std::variant_size_v<AnswerBody>);
  for (const Answer& answer : answers()) {
    EXPECT_EQ(parse_answer(encode(answer)), answer) << answer.id;
    kinds[answer.body.index()] = true;
  }
  EXPECT_EQ(std::ranges::count(kinds, false), 0) << "a kind of answer is not tested";
}

TEST(Wire, EveryTruncationAndEveryByteTooManyIsRefused) {
  for (const Answer& answer : answers()) {
    Message message = encode(answer);
    for (std::size_t size = 0; size < message.payload.size(); ++size) {
      Message part = message;
      part.payload.resize(size);
      EXPECT_EQ(parse_answer(part), std::nullopt) << answer.id << " at " << size;
    }
    message.payload.push_back(std::byte{0});
    EXPECT_EQ(parse_answer(message), std::nullopt) << answer.id;
  }
  for (const Request& request : requests()) {
    Message message = encode(request);
    message.payload.pop_back();
    EXPECT_EQ(parse_request(message), std::nullopt) << request.id;
  }
}

TEST(Wire, RequestsAreNoAnswersAndUnknownTypesAreNeither) {
  for (const Request& request : requests()) EXPECT_EQ(parse_answer(encode(request)), std::nullopt);
  for (const Answer& answer : answers()) EXPECT_EQ(parse_request(encode(answer)), std::nullopt);
  Message message = encode(Request{1, Ping{}});
  for (const unsigned type : {0U, 1U, unsigned{kFirstRequest} + 14U, unsigned{kFirstAnswer} + 12U, 0xffffU}) {
    message.type = static_cast<std::uint16_t>(type);
    EXPECT_EQ(parse_request(message), std::nullopt) << type;
    EXPECT_EQ(parse_answer(message), std::nullopt) << type;
  }
}

/// The payload with the byte at `position` set.
Message with_byte(Message message, std::size_t position, unsigned value) {
  message.payload.at(position) = static_cast<std::byte>(value);
  return message;
}

TEST(Wire, FieldsOutOfTheirLimitsAreRefused) {
  EXPECT_EQ(parse_request(with_byte(encode(Request{1, Get{"k"}}), 8, 0)), std::nullopt) << "a key of 0 bytes";
  EXPECT_EQ(parse_answer(with_byte(encode(Answer{1, Erased{true}}), 8, 2)), std::nullopt) << "neither true nor false";
  EXPECT_EQ(parse_answer(with_byte(encode(Answer{1, Failed{}}), 8, 8)), std::nullopt) << "no such kind of failure";
  // A key one byte too long, whose bytes are there.
  Message message = encode(Request{1, Get{std::string(kMaxStoreKey, 'k')}});
  message.payload.push_back(std::byte{'k'});
  EXPECT_EQ(parse_request(with_byte(message, 8, (kMaxStoreKey + 1) & 0xff)), std::nullopt);
  // More entries than the message could hold must not take memory for them.
  for (std::size_t byte = 16; byte < 20; ++byte) {
    EXPECT_EQ(parse_answer(with_byte(encode(Answer{1, Listed{1, {}}}), byte, 0xff)), std::nullopt);
    EXPECT_EQ(parse_answer(with_byte(encode(Answer{1, Changed{false, 1, {}}}), byte + 1, 0xff)), std::nullopt);
  }
}

TEST(Wire, AnyBytesAreRefusedOrAreWhatWouldBeEncoded) {
  Random random(1);
  int accepted = 0;
  for (int round = 0; round < 20'000; ++round) {
    Message message;
    message.type = static_cast<std::uint16_t>((round % 2 == 0 ? kFirstRequest : kFirstAnswer) + random.below(16));
    message.payload.resize(8 + random.below(40));
    for (std::byte& byte : message.payload) byte = static_cast<std::byte>(random.below(3) == 0 ? random.below(256) : 0);
    const auto request = parse_request(message);
    const auto answer = parse_answer(message);
    EXPECT_FALSE(request && answer);
    if (request) {
      EXPECT_EQ(encode(*request).payload, message.payload);
    }
    if (answer) {
      EXPECT_EQ(encode(*answer).payload, message.payload);
    }
    accepted += request || answer ? 1 : 0;
  }
  EXPECT_GT(accepted, 100) << "nothing that is accepted was tried";
}

}  // namespace
}  // namespace concerto::embedded
