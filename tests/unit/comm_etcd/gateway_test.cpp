// The texts of etcd's JSON gateway: base64, what is asked word by word, and answers as etcd 3.4 gave them.
#include "gateway.hpp"

#include <gtest/gtest.h>

#include "concerto/base/rng.hpp"

#include "base64.hpp"

namespace concerto::etcd {
namespace {

constexpr const char* kHeader = R"("header":{"cluster_id":"10144879847569953045","member_id":"1","revision":"7"})";

std::string with_header(const std::string& rest) {
  return std::string("{") + kHeader + rest + "}";
}

TEST(Base64, KnownTexts) {
  // RFC 4648, section 10.
  const std::vector<std::pair<std::string, std::string>> known{{"", ""},
                                                               {"f", "Zg=="},
                                                               {"fo", "Zm8="},
                                                               {"foo", "Zm9v"},
                                                               {"foob", "Zm9vYg=="},
                                                               {"fooba", "Zm9vYmE="},
                                                               {"foobar", "Zm9vYmFy"}};
  for (const auto& [bytes, text] : known) {
    EXPECT_EQ(base64_encode(bytes), text);
    EXPECT_EQ(base64_decode(text), bytes);
  }
}

TEST(Base64, AnyBytesComeBack) {
  Random random(3);
  for (std::size_t size = 0; size < 200; ++size) {
    std::string bytes(size, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random.below(256));
    EXPECT_EQ(base64_decode(base64_encode(bytes)), bytes);
  }
}

TEST(Base64, NonsenseIsRefused) {
  for (const char* text :
       {"Z", "Zg", "Zg=", "Zg===", "====", "Z===", "Zh==", "Zm9=", "Zm9v!aaa", "Zg==Zg==", "Zm-v", " Zm9v"})
    EXPECT_EQ(base64_decode(text), std::nullopt) << text;
}

TEST(Gateway, PrefixesEndWhereTheNextKeyWouldBegin) {
  EXPECT_EQ(prefix_end("a/"), "a0");
  EXPECT_EQ(prefix_end("a\xff\xff"), "b");
  EXPECT_EQ(prefix_end(std::string("a\0", 2)), "a\x01");
}

TEST(Gateway, WhatIsAsked) {
  EXPECT_EQ(put_body("k", "v", 0), R"({"key":"aw==","value":"dg=="})");
  EXPECT_EQ(put_body("k", "", 7), R"({"key":"aw==","lease":"7","value":""})");
  EXPECT_EQ(range_body({"k", {}}), R"({"key":"aw=="})");
  EXPECT_EQ(range_body({"k", "l", 5, 6}), R"({"key":"aw==","limit":"5","range_end":"bA==","revision":"6"})");
  EXPECT_EQ(erase_body("k"), R"({"key":"aw=="})");
  EXPECT_EQ(grant_body(3), R"({"TTL":"3"})");
  EXPECT_EQ(lease_body(~std::uint64_t{0} >> 1), R"({"ID":"9223372036854775807"})");
  EXPECT_EQ(watch_body("k", "l", 8), R"({"create_request":{"key":"aw==","range_end":"bA==","start_revision":"8"}})");
  EXPECT_EQ(authenticate_body("me", "a\"b\xff"), "{\"name\":\"me\",\"password\":\"a\\\"b\xef\xbf\xbd\"}");
  EXPECT_EQ(put_if_body("k", Compared::kModified, 5, "v", 0),
            R"({"compare":[{"key":"aw==","mod_revision":"5","result":"EQUAL","target":"MOD"}],)"
            R"("failure":[{"request_range":{"key":"aw=="}}],)"
            R"("success":[{"request_put":{"key":"aw==","value":"dg=="}}]})");
  EXPECT_EQ(range_if_body("k", 9, {"q/", "q0", 1, 0, 9}),
            R"({"compare":[{"create_revision":"9","key":"aw==","result":"EQUAL","target":"CREATE"}],)"
            R"("success":[{"request_range":{"key":"cS8=","limit":"1","max_create_revision":"8","range_end":"cTA=",)"
            R"("sort_order":"DESCEND","sort_target":"CREATE"}}]})");
}

TEST(Gateway, RangesAndTransactions) {
  const StoreEntry entry{"k", "v", 2, 3, 9};
  const std::string kv =
      R"({"key":"aw==","create_revision":"2","mod_revision":"3","version":"1","value":"dg==","lease":"9"})";
  auto range = parse_range(with_header(",\"kvs\":[" + kv + "],\"more\":true,\"count\":\"5\""));
  ASSERT_TRUE(range);
  EXPECT_EQ(range->revision, 7U);
  EXPECT_TRUE(range->has_more);
  EXPECT_EQ(range->entries, std::vector<StoreEntry>{entry});
  range = parse_range(with_header(""));
  ASSERT_TRUE(range && range->entries.empty() && !range->has_more);

  auto transaction =
      parse_transaction(with_header(R"(,"succeeded":true,"responses":[{"response_put":{"header":{"revision":"7"}}}])"));
  ASSERT_TRUE(transaction && transaction->succeeded && transaction->entries.empty());
  transaction = parse_transaction(with_header(",\"responses\":[{\"response_range\":{\"kvs\":[" + kv + "]}}]"));
  ASSERT_TRUE(transaction && !transaction->succeeded);
  EXPECT_EQ(transaction->entries, std::vector<StoreEntry>{entry});
  EXPECT_EQ(parse_erased(with_header(R"(,"deleted":"2")")), 2);
  EXPECT_EQ(parse_erased(with_header("")), 0);
}

TEST(Gateway, LeasesTokensErrors) {
  const auto granted = parse_grant(with_header(R"(,"ID":"1418812059905323271","TTL":"2")"));
  ASSERT_TRUE(granted);
  EXPECT_EQ(granted->lease, 1418812059905323271U);
  EXPECT_EQ(granted->seconds, 2);
  EXPECT_EQ(parse_keep_alive("{\"result\":" + with_header(R"(,"ID":"5","TTL":"2")") + "}\n")->seconds, 2);
  EXPECT_EQ(parse_keep_alive("{\"result\":" + with_header(R"(,"ID":"5")") + "}\n")->seconds, 0) << "ended";
  EXPECT_EQ(parse_token(R"({"token":"abc.1"})"), "abc.1");
  EXPECT_EQ(parse_token("{}"), std::nullopt);
  const auto error = parse_error(R"({"error":"etcdserver: invalid auth token","message":"x","code":16})");
  ASSERT_TRUE(error && error->is(Code::kUnauthenticated));
  EXPECT_EQ(error->message, "etcdserver: invalid auth token");
  EXPECT_EQ(parse_error("Not Found"), std::nullopt);
}

TEST(Gateway, WatchLines) {
  auto line = parse_watch("{\"result\":" + with_header(R"(,"created":true)") + "}");
  ASSERT_TRUE(line && line->events.empty() && !line->is_cancelled && !line->error);
  EXPECT_EQ(line->revision, 7U);
  line = parse_watch(
      "{\"result\":" +
      with_header(R"(,"events":[{"kv":{"key":"aw==","create_revision":"6","mod_revision":"6","value":"dg=="}},)"
                  R"({"type":"DELETE","kv":{"key":"aw==","mod_revision":"7"}}])") +
      "}");
  ASSERT_TRUE(line && line->events.size() == 2);
  EXPECT_EQ(line->events[0], (StoreEvent{false, {"k", "v", 6, 6, 0}}));
  EXPECT_EQ(line->events[1], (StoreEvent{true, {"k", "", 0, 7, 0}}));
  line = parse_watch(R"({"result":{"header":{"raft_term":"2"},"canceled":true,"compact_revision":"3"}})");
  ASSERT_TRUE(line && line->is_cancelled);
  EXPECT_EQ(line->compacted, 3U);
  line = parse_watch(R"({"error":{"grpc_code":14,"http_code":503,"message":"no leader","http_status":"x"}})");
  ASSERT_TRUE(line && line->error && line->error->is(Code::kUnavailable));
  EXPECT_EQ(line->error->message, "no leader");
}

TEST(Gateway, WhatIsNoAnswerIsRefused) {
  for (const char* body :
       {"", "null", "[]", "{", "7", "\"x\"", "{}", R"({"header":7})", R"({"header":{"revision":"x"}})",
        R"({"header":{"revision":"-1"}})", R"({"header":{"revision":"99999999999999999999"}})"}) {
    EXPECT_EQ(parse_revision(body).value_or(0), 0U) << body;
    EXPECT_FALSE(parse_grant(body) && parse_grant(body)->lease != 0) << body;
  }
  EXPECT_FALSE(parse_range(with_header(R"(,"kvs":7)")));
  EXPECT_FALSE(parse_range(with_header(R"(,"kvs":[{"key":"?"}])")));
  EXPECT_FALSE(parse_range(with_header(R"(,"kvs":[7])")));
  EXPECT_FALSE(parse_range(with_header(R"(,"more":"yes")")));
  EXPECT_FALSE(parse_transaction(with_header(R"(,"responses":[{"response_range":[]}])")));
  EXPECT_FALSE(parse_watch(R"({"result":{"events":[{"type":7}]}})"));
  EXPECT_FALSE(parse_watch("Not Found"));
  const std::string deep(100'000, '[');
  EXPECT_FALSE(parse_range(deep));
}

}  // namespace
}  // namespace concerto::etcd
