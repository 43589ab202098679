// The relay: when bytes arrive, by imagined time; and that they do, unchanged, by real sockets.
#include "relay.hpp"

#include <future>
#include <thread>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace concerto::bench {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using ::testing::HasSubstr;
using Code = boost::system::error_code;

WireShape shape(const std::string& words) {
  return parse_shape(words, {}).value();
}

TEST(Shaper, DelayIsAddedAndRateSpreads) {
  Shaper shaper(shape("delay_ms=20 rate_mbit=100"), 1, 0);
  // 12,500 bytes take 1 ms at 100 Mbit/s.
  EXPECT_EQ(shaper.arrival(0, 12'500), 21'000);
  EXPECT_EQ(shaper.arrival(0, 12'500), 22'000);
  EXPECT_EQ(shaper.arrival(100'000, 12'500), 121'000);  // the wire was free meanwhile
}

TEST(Shaper, ALongTransferHasItsRate) {
  Shaper shaper(shape("delay_ms=5 rate_mbit=80"), 1, 0);
  Microseconds last = 0;
  for (int i = 0; i < 1000; ++i) last = shaper.arrival(0, 8192);
  const double seconds = 1e-6 * static_cast<double>(last - 5'000);
  EXPECT_NEAR(8192.0 * 1000 / seconds, 10e6, 100);  // 80 Mbit/s are 10 MB/s
}

TEST(Shaper, JitterIsWithinItsBoundsDrawnBySeedAndKeepsTheOrder) {
  const WireShape jittery = shape("delay_ms=10 jitter_ms=5");
  Shaper one(jittery, 7, 3);
  Shaper same(jittery, 7, 3);
  Shaper other(jittery, 8, 3);
  bool differs = false;
  Microseconds before = 0;
  Microseconds least = 100'000;
  Microseconds most = 0;
  for (Microseconds i = 0; i < 1000; ++i) {
    const Microseconds sent = i * 20'000;
    const Microseconds arrived = one.arrival(sent, 1000);
    EXPECT_EQ(arrived, same.arrival(sent, 1000));
    differs = differs || arrived != other.arrival(sent, 1000);
    EXPECT_GE(arrived, before);
    before = arrived;
    least = std::min(least, arrived - sent);
    most = std::max(most, arrived - sent);
  }
  EXPECT_TRUE(differs);
  EXPECT_GE(least, 10'000);
  EXPECT_LT(least, 10'500);
  EXPECT_GT(most, 14'500);
  EXPECT_LE(most, 15'000);
  Microseconds last = 0;  // sent at once, they do not pass each other
  for (int i = 0; i < 100; ++i) {
    const Microseconds arrived = one.arrival(30'000'000, 10);
    EXPECT_GE(arrived, last);
    last = arrived;
  }
}

TEST(Shaper, AFullQueueHasRoomWhenTheWireHasSentSome) {
  Shaper shaper(shape("rate_mbit=8 queue_kb=10 delay_ms=1000"), 1, 0);  // a byte takes a microsecond
  EXPECT_EQ(shaper.room(0), 10'240U);
  (void)shaper.arrival(0, 10'240);
  EXPECT_EQ(shaper.room(0), 0U);
  EXPECT_EQ(shaper.next_room(0), 1);
  (void)shaper.arrival(0, 1'000);
  EXPECT_EQ(shaper.next_room(0), 1'001);
  EXPECT_EQ(shaper.room(2'000), 1'000U);  // what was delayed is no longer in the queue
}

TEST(Shaper, NonsenseIsNoShape) {
  for (const char* words : {"delay", "delay_ms=", "delay_ms=x", "delay_ms=-1", "speed=3", "rate_mbit=1x"}) {
    EXPECT_FALSE(parse_shape(words, {})) << words;
  }
}

class RelayTest : public ::testing::Test {
 protected:
  RelayTest() {
    thread_ = std::thread([this] { io_.run(); });
  }
  ~RelayTest() override {
    asio::post(io_, [this] {
      relay_.stop();
      work_.reset();
    });
    thread_.join();
  }
  std::string command(const std::string& line) {
    std::promise<std::string> answer;
    asio::post(io_, [&] { answer.set_value(relay_.command(line)); });
    return answer.get_future().get();
  }
  /// A connection through the relay: both ends.
  void connect() {
    ends_[0].connect({asio::ip::make_address("127.0.0.1"), port_});
    acceptor_.accept(ends_[1]);
  }
  static std::vector<char> pattern(std::size_t size, unsigned salt) {
    std::vector<char> bytes(size);
    for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>(i * 31 + i / 251 + salt);
    return bytes;
  }

  asio::io_context own_;
  tcp::acceptor acceptor_{own_, {asio::ip::make_address("127.0.0.1"), 0}};
  std::array<tcp::socket, 2> ends_{tcp::socket(own_), tcp::socket(own_)};
  asio::io_context io_{1};
  asio::executor_work_guard<asio::io_context::executor_type> work_ = asio::make_work_guard(io_);
  Relay relay_{io_, 5};
  std::uint16_t port_ = static_cast<std::uint16_t>(std::stoul(
      relay_.forward("127.0.0.1:0", "127.0.0.1:" + std::to_string(acceptor_.local_endpoint().port())).substr(10)));
  std::thread thread_;
};

TEST_F(RelayTest, BytesPassBothWaysUnchangedAndAreCounted) {
  EXPECT_EQ(command("up delay_ms=1 jitter_ms=1 rate_mbit=800 queue_kb=32"), "ok");
  EXPECT_EQ(command("down delay_ms=2"), "ok");
  connect();
  const std::vector<char> up = pattern(3'000'000, 1);
  const std::vector<char> down = pattern(2'000'000, 2);
  std::thread writer([&] {
    asio::write(ends_[0], asio::buffer(up));
    ends_[0].shutdown(tcp::socket::shutdown_send);
  });
  std::thread other([&] { asio::write(ends_[1], asio::buffer(down)); });
  std::vector<char> got_up(up.size());
  std::vector<char> got_down(down.size());
  std::thread reader([&] { asio::read(ends_[0], asio::buffer(got_down)); });
  asio::read(ends_[1], asio::buffer(got_up));
  Code end;
  char more = 0;
  EXPECT_EQ(asio::read(ends_[1], asio::buffer(&more, 1), end), 0U);
  EXPECT_EQ(end, asio::error::eof);  // the end passes too
  writer.join();
  other.join();
  reader.join();
  EXPECT_EQ(got_up, up);
  EXPECT_EQ(got_down, down);
  EXPECT_EQ(command("counts"), "connections 1 up 3000000 down 2000000");
}

TEST_F(RelayTest, ACutEndsConnectionsAndRefusesNewOnesUntilItIsHealed) {
  connect();
  EXPECT_EQ(command("cut"), "ok");
  char byte = 0;
  Code error;
  for (tcp::socket& end : ends_) {
    EXPECT_EQ(asio::read(end, asio::buffer(&byte, 1), error), 0U);
    EXPECT_TRUE(error);
    end.close();
  }
  ends_[0].connect({asio::ip::make_address("127.0.0.1"), port_});
  EXPECT_EQ(asio::read(ends_[0], asio::buffer(&byte, 1), error), 0U);
  EXPECT_TRUE(error);
  ends_[0].close();
  EXPECT_EQ(command("heal"), "ok");
  connect();
  asio::write(ends_[0], asio::buffer("x", 1));
  EXPECT_EQ(asio::read(ends_[1], asio::buffer(&byte, 1)), 1U);
}

TEST_F(RelayTest, AHoldLetsNothingPassAndLosesNothing) {
  connect();
  EXPECT_EQ(command("hold"), "ok");
  asio::write(ends_[0], asio::buffer("abc", 3));
  EXPECT_EQ(command("counts"), "connections 1 up 0 down 0");
  EXPECT_EQ(command("heal"), "ok");
  std::array<char, 3> got{};
  asio::read(ends_[1], asio::buffer(got));
  EXPECT_EQ(std::string(got.data(), 3), "abc");
}

TEST_F(RelayTest, AHoldKeepsConnectionsThatBeginDuringIt) {
  EXPECT_EQ(command("hold"), "ok");
  connect();
  asio::write(ends_[0], asio::buffer("abc", 3));
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_EQ(command("counts"), "connections 1 up 0 down 0");
  EXPECT_EQ(command("heal"), "ok");
  std::array<char, 3> got{};
  asio::read(ends_[1], asio::buffer(got));
  EXPECT_EQ(std::string(got.data(), 3), "abc");
}

TEST_F(RelayTest, AnswersWhatItDoesNotKnow) {
  EXPECT_THAT(command("frob"), HasSubstr("error: no such command: frob"));
  EXPECT_THAT(command("up speed=1"), HasSubstr("error: no shape of a wire"));
}

}  // namespace
}  // namespace concerto::bench
