// What every network promises of a channel.
#include <algorithm>
#include <atomic>
#include <thread>

#include <gmock/gmock.h>

#include "links.hpp"

namespace concerto {
namespace {

using ::testing::HasSubstr;

/// One side's.
struct Side {
  std::shared_ptr<Channel> channel;
  Arrivals<Message> messages;
  Arrivals<Failure> ends;
  Arrivals<bool> room;
  Door door;

  ChannelEvents events() {
    ChannelEvents events;
    events.on_message = [this](Channel&, Message message) {
      door.pass();
      messages.add(std::move(message));
    };
    events.on_closed = [this](Channel&, const Failure& failure) { ends.add(failure); };
    events.on_room = [this](Channel&) { room.add(true); };
    return events;
  }
};

class Channels : public ::testing::TestWithParam<Kind> {
 protected:
  /// Rank 1 connects to rank 0.
  void connect(const NetworkLimits& limits = {}) {
    networks_.push_back(world_.network(rank_identity(0), limits));
    networks_.push_back(world_.network(rank_identity(1), limits));
    listener_ = networks_[0]->listen("127.0.0.1:0", [this](std::shared_ptr<Channel> channel) {
      accepted_.add(std::move(channel));
      return low_.events();
    });
    auto made = networks_[1]->connect(listener_->address(), rank_identity(0), high_.events(), kPatience);
    ASSERT_TRUE(made) << made.failure().message;
    high_.channel = made.value();
    low_.channel = accepted_.next().value_or(nullptr);
    ASSERT_NE(low_.channel, nullptr);
  }
  ~Channels() override {
    low_.door.open();
    high_.door.open();
    low_.channel.reset();
    high_.channel.reset();
    listener_.reset();
    networks_.clear();
  }
  /// Sends until the queue refuses; how many it took.
  std::uint32_t fill(Side& side, std::size_t size) {
    for (std::uint32_t number = 0; number < 1'000'000; ++number) {
      const auto sent = side.channel->send(numbered(number, size));
      if (sent) continue;
      EXPECT_EQ(sent.failure().kind, FailureKind::kConflict) << sent.failure().message;
      return number;
    }
    ADD_FAILURE() << "the queue has no end";
    return 0;
  }

  World world_{GetParam()};
  Side low_;
  Side high_;
  Arrivals<std::shared_ptr<Channel>> accepted_;
  std::vector<std::unique_ptr<Network>> networks_;
  std::unique_ptr<Listener> listener_;
};

TEST_P(Channels, ManyMessagesBothWaysArriveOnceAndInOrder) {
  connect();
  constexpr std::uint32_t kMessages = 3'000;
  const auto size_of = [](std::uint32_t number) { return number % 7 == 0 ? 0 : number * 37 % 5'000; };
  const auto send_all = [&](Side& side) {
    for (std::uint32_t i = 0; i < kMessages; ++i) ASSERT_TRUE(side.channel->send(numbered(i, size_of(i))));
  };
  std::thread other([&] { send_all(high_); });
  send_all(low_);
  other.join();
  for (Side* side : {&low_, &high_}) {
    for (std::uint32_t i = 0; i < kMessages; ++i) {
      const auto message = side->messages.next();
      ASSERT_TRUE(message && is_numbered(*message, i, size_of(i))) << i;
    }
    EXPECT_EQ(side->messages.size(), 0U);
    EXPECT_EQ(side->channel->counters().messages_received, kMessages);
  }
}

TEST_P(Channels, SeveralThreadsSendEachInItsOrder) {
  connect();
  constexpr std::uint32_t kThreads = 4;
  constexpr std::uint32_t kMessages = 500;
  std::vector<std::thread> threads;
  for (std::uint32_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (std::uint32_t i = 0; i < kMessages; ++i) {
        EXPECT_TRUE(high_.channel->send(Message{static_cast<std::uint16_t>(t), i, std::vector<std::byte>(i)}));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::vector<std::uint32_t> next(kThreads);
  for (std::uint32_t i = 0; i < kThreads * kMessages; ++i) {
    const auto message = low_.messages.next();
    ASSERT_TRUE(message);
    ASSERT_LT(message->type, kThreads);
    EXPECT_EQ(message->epoch, next[message->type]++);
  }
}

TEST_P(Channels, ALargePayloadArrivesAndALargerOneIsRefused) {
  connect();
  ASSERT_TRUE(high_.channel->send(numbered(5, kMaxPayload)));
  const auto message = low_.messages.next();
  ASSERT_TRUE(message);
  EXPECT_TRUE(is_numbered(*message, 5, kMaxPayload));
  const auto refused = high_.channel->send(numbered(5, kMaxPayload + 1));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.failure().kind, FailureKind::kConflict);
}

TEST_P(Channels, APayloadInTwoPiecesArrivesAsOneAndItsOwnerIsLetGo) {
  connect();
  auto bytes = std::make_shared<std::vector<std::byte>>(numbered(9, 300'000).payload);
  const std::weak_ptr<std::vector<std::byte>> watched = bytes;
  Outgoing outgoing(9, 9, std::vector<std::byte>(bytes->begin(), bytes->begin() + 20));
  outgoing.body = std::span(*bytes).subspan(20);
  outgoing.owner = bytes;
  ASSERT_TRUE(high_.channel->send(outgoing));
  outgoing.owner.reset();
  const auto message = low_.messages.next();
  ASSERT_TRUE(message);
  EXPECT_TRUE(is_numbered(*message, 9, 300'000));
  bytes.reset();
  high_.channel->close();
  ASSERT_TRUE(high_.ends.next());
  EXPECT_TRUE(watched.expired());
}

TEST_P(Channels, AFullQueueRefusesAndTellsOfRoom) {
  NetworkLimits limits;
  limits.queue_bytes = 1'000'000;
  connect(limits);
  low_.door.shut();
  const std::uint32_t taken = fill(high_, 200'000);
  EXPECT_LE(high_.channel->counters().queued_bytes, limits.queue_bytes);
  low_.door.open();
  ASSERT_TRUE(high_.room.next());
  ASSERT_TRUE(high_.channel->send(numbered(taken, 200'000)));
  for (std::uint32_t i = 0; i <= taken; ++i) {
    const auto message = low_.messages.next();
    ASSERT_TRUE(message && is_numbered(*message, i, 200'000)) << i;
  }
}

TEST_P(Channels, ClosingAFullQueueSendsWhatIsInIt) {
  NetworkLimits limits;
  limits.queue_bytes = 1'000'000;
  limits.linger = kPatience;
  connect(limits);
  low_.door.shut();
  const std::uint32_t taken = fill(high_, 200'000);
  high_.channel->close();
  EXPECT_FALSE(high_.channel->send(numbered(0, 1)));
  low_.door.open();
  for (std::uint32_t i = 0; i < taken; ++i) {
    const auto message = low_.messages.next();
    ASSERT_TRUE(message && is_numbered(*message, i, 200'000)) << i;
  }
  const auto end = low_.ends.next();
  ASSERT_TRUE(end);
  EXPECT_EQ(end->kind, FailureKind::kLost) << end->message;
  const auto own = high_.ends.next();
  ASSERT_TRUE(own);
  EXPECT_EQ(own->kind, FailureKind::kAborted) << own->message;
}

TEST_P(Channels, CuttingAFullQueueEndsAtOnceAndSaysWhy) {
  NetworkLimits limits;
  limits.queue_bytes = 1'000'000;
  connect(limits);
  low_.door.shut();
  (void)fill(high_, 200'000);
  high_.channel->cut({FailureKind::kCorrupt, "what it says is nonsense"});
  const auto own = high_.ends.next();  // although the other side takes nothing
  ASSERT_TRUE(own);
  EXPECT_EQ(own->kind, FailureKind::kCorrupt);
  EXPECT_EQ(own->message, "what it says is nonsense");
  EXPECT_EQ(high_.channel->counters().queued_bytes, 0U);
  const auto refused = high_.channel->send(numbered(0, 1));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.failure().kind, FailureKind::kLost);
  low_.door.open();
  const auto end = low_.ends.next();
  ASSERT_TRUE(end);
  EXPECT_EQ(end->kind, FailureKind::kLost);
}

TEST_P(Channels, APeerThatIsSomebodyElseIsRefused) {
  connect();
  for (const Identity& other : {rank_identity(3), rank_identity(0, 2)}) {
    Side side;
    const auto made = networks_[1]->connect(listener_->address(), other, side.events(), kPatience);
    ASSERT_FALSE(made);
    EXPECT_EQ(made.failure().kind, FailureKind::kRefused) << made.failure().message;
  }
}

TEST_P(Channels, AnotherJobsProcessIsRefused) {
  connect();
  const auto stranger = world_.network(rank_identity(2, 1, "other"));
  Side side;
  const auto made = stranger->connect(listener_->address(), rank_identity(0), side.events(), kPatience);
  ASSERT_FALSE(made);
  EXPECT_EQ(made.failure().kind, FailureKind::kRefused) << made.failure().message;
  EXPECT_EQ(accepted_.size(), 0U);
}

INSTANTIATE_TEST_SUITE_P(All, Channels, ::testing::Values(Kind::kInproc, Kind::kTls, Kind::kPlain), name_of);

TEST(ChannelKinds, DoNotFallBackToEachOther) {
  World encrypted(Kind::kTls);
  World plain(Kind::kPlain);
  Side side;
  const auto try_it = [&](World& from, World& to) {
    const auto server = to.network(rank_identity(0));
    const auto listener = server->listen("127.0.0.1:0", [](const std::shared_ptr<Channel>&) {
      ADD_FAILURE() << "a session of two kinds";
      return ChannelEvents{};
    });
    const auto client = from.network(rank_identity(1));
    const auto made = client->connect(listener->address(), rank_identity(0), side.events(), milliseconds(20'000));
    ASSERT_FALSE(made);
    EXPECT_THAT(made.failure().kind, ::testing::AnyOf(FailureKind::kRefused, FailureKind::kLost))
        << made.failure().message;
  };
  try_it(encrypted, plain);
  try_it(plain, encrypted);
}

}  // namespace
}  // namespace concerto
