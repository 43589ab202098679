// What a mesh promises, over every network.
#include "concerto/comm/mesh.hpp"

#include <algorithm>
#include <map>
#include <thread>

#include <gmock/gmock.h>

#include "concerto/base/error.hpp"

#include "links.hpp"
#include "support/folder_store.hpp"

namespace concerto {
namespace {

using ::testing::HasSubstr;

struct Told {
  enum class What { kConnected, kMessage, kDisconnected, kRoom, kRefused } what;
  Rank peer = kNoRank;
  ConnectionNumber connection = 0;
  Incarnation incarnation = 0;
  Message message;
  Failure failure;
};
using What = Told::What;

/// A rank of a mesh, and what it has been told. What only goes to logs is kept apart.
class Member {
 public:
  Member(World& world, const std::filesystem::path& folder, const Identity& self, Rank size,
         const NetworkLimits& limits = {}, const std::function<void(MeshOptions&)>& change = {})
      : store_(folder), network_(world.network(self, limits)) {
    MeshOptions options;
    options.self = self;
    options.size = size;
    options.seed = 7;
    options.first_pause = milliseconds(2);
    options.longest_pause = milliseconds(50);
    if (change) change(options);
    MeshEvents events;
    events.on_connected = [this](Rank peer, Incarnation incarnation, ConnectionNumber connection) {
      told.add({What::kConnected, peer, connection, incarnation, {}, {}});
    };
    events.on_message = [this](Rank peer, ConnectionNumber connection, Message message) {
      door.pass();
      told.add({What::kMessage, peer, connection, 0, std::move(message), {}});
    };
    events.on_disconnected = [this](Rank peer, ConnectionNumber connection, const Failure& failure) {
      told.add({What::kDisconnected, peer, connection, 0, {}, failure});
    };
    events.on_room = [this](Rank peer, ConnectionNumber connection) {
      told.add({What::kRoom, peer, connection, 0, {}, {}});
    };
    events.on_refused = [this](const Failure& failure) { refused.add({What::kRefused, kNoRank, 0, 0, {}, failure}); };
    mesh = make_mesh(*network_, store_, options, std::move(events));
  }
  ~Member() { door.open(); }
  Member(const Member&) = delete;
  Member& operator=(const Member&) = delete;

  Told next(What what) {
    const auto one = told.next();
    EXPECT_TRUE(one) << "nothing is told";
    if (!one) return {};
    EXPECT_EQ(static_cast<int>(one->what), static_cast<int>(what)) << one->failure.message;
    return *one;
  }
  Network& network() { return *network_; }

  Arrivals<Told> told;
  Arrivals<Told> refused;
  Door door;

 private:
  FolderStore store_;
  std::unique_ptr<Network> network_;

 public:
  std::unique_ptr<Mesh> mesh;  ///< ends first
};

class Meshes : public ::testing::TestWithParam<Kind> {
 protected:
  std::unique_ptr<Member> member(Rank rank, Rank size, Incarnation incarnation = 1, const NetworkLimits& limits = {},
                                 const std::function<void(MeshOptions&)>& change = {}) {
    return std::make_unique<Member>(world_, folder_.path(), rank_identity(rank, incarnation), size, limits, change);
  }
  World world_{GetParam()};
  TemporaryFolder folder_;
};

TEST_P(Meshes, AllMeetWhateverTheOrderAndMessagesArriveOnceInOrder) {
  constexpr Rank kSize = 4;
  std::vector<std::unique_ptr<Member>> members(kSize);
  for (const Rank rank : {2, 0, 3, 1}) members[rank] = member(rank, kSize, 10 + rank);
  for (Rank rank = 0; rank < kSize; ++rank) {
    std::map<Rank, Incarnation> met;
    for (Rank i = 0; i + 1 < kSize; ++i) {
      const Told told = members[rank]->next(What::kConnected);
      EXPECT_EQ(told.connection, 1U);
      met[told.peer] = told.incarnation;
    }
    EXPECT_EQ(met.size(), kSize - 1);
    for (const auto& [peer, incarnation] : met) EXPECT_EQ(incarnation, 10 + peer);
  }
  constexpr std::uint32_t kMessages = 300;
  for (std::uint32_t i = 0; i < kMessages; ++i) {
    for (Rank from = 0; from < kSize; ++from) {
      for (Rank to = 0; to < kSize; ++to) {
        if (to == from) continue;
        ASSERT_TRUE(members[from]->mesh->send(to, 1, numbered(i, i * 13)));
      }
    }
  }
  for (Rank rank = 0; rank < kSize; ++rank) {
    std::map<Rank, std::uint32_t> next;
    for (std::uint32_t i = 0; i < kMessages * (kSize - 1); ++i) {
      const Told told = members[rank]->next(What::kMessage);
      const std::uint32_t number = next[told.peer]++;
      ASSERT_TRUE(is_numbered(told.message, number, number * 13)) << rank << " from " << told.peer;
    }
    EXPECT_EQ(members[rank]->told.size(), 0U);
    EXPECT_EQ(members[rank]->mesh->counters((rank + 1) % kSize).channel.messages_received, kMessages + 1);
  }
}

TEST_P(Meshes, ARejectedPeerIsNamedAndConnectsAnew) {
  const auto low = member(0, 2);
  const auto high = member(1, 2);
  (void)low->next(What::kConnected);
  (void)high->next(What::kConnected);
  ASSERT_TRUE(high->mesh->send(0, 1, Message{4711, 0, {}}));
  EXPECT_EQ(low->next(What::kMessage).message.type, 4711);
  low->mesh->reject(1, 1, "a message of unknown type 4711");
  const Told cut = low->next(What::kDisconnected);
  EXPECT_EQ(cut.failure.kind, FailureKind::kCorrupt);
  EXPECT_EQ(cut.failure.message, "rank 1 sent a message of unknown type 4711; it is cut off");
  EXPECT_EQ(high->next(What::kDisconnected).failure.kind, FailureKind::kLost);
  EXPECT_EQ(low->next(What::kConnected).connection, 2U);
  EXPECT_EQ(high->next(What::kConnected).connection, 2U);
  const auto late = high->mesh->send(0, 1, Message{1, 0, {}});
  ASSERT_FALSE(late);
  EXPECT_EQ(late.failure().kind, FailureKind::kLost);
  ASSERT_TRUE(high->mesh->send(0, 2, Message{1, 0, {}}));
  EXPECT_EQ(low->next(What::kMessage).connection, 2U);
  low->mesh->reject(1, 1, "something long ago");  // of a connection that is over: nothing happens
  ASSERT_TRUE(high->mesh->send(0, 2, Message{2, 0, {}}));
  EXPECT_EQ(low->next(What::kMessage).message.type, 2);
  EXPECT_EQ(low->mesh->counters(1).connections, 2U);
}

TEST_P(Meshes, AConnectionThatIsCutAgainAndAgainComesBackAndNothingComesTwice) {
  const auto low = member(0, 2);
  const auto high = member(1, 2);
  std::uint32_t sent = 0;
  std::uint32_t least = 0;
  for (ConnectionNumber connection = 1; connection <= 10; ++connection) {
    EXPECT_EQ(low->next(What::kConnected).connection, connection);
    EXPECT_EQ(high->next(What::kConnected).connection, connection);
    for (int i = 0; i < 20; ++i) ASSERT_TRUE(high->mesh->send(0, connection, numbered(sent++, 10'000)));
    low->mesh->reject(1, connection, "what the test does not like");
    for (;;) {  // a prefix of what was sent has arrived
      const auto told = low->told.next();
      ASSERT_TRUE(told);
      if (told->what == What::kDisconnected) break;
      ASSERT_TRUE(told->what == What::kMessage && told->connection == connection);
      EXPECT_GE(told->message.epoch, least);
      least = told->message.epoch + 1;
    }
    least = sent;
    EXPECT_EQ(high->next(What::kDisconnected).connection, connection);
  }
}

TEST_P(Meshes, AFullQueueRefusesAndTellsOfRoom) {
  NetworkLimits limits;
  limits.queue_bytes = 1'000'000;
  const auto low = member(0, 2, 1, limits);
  const auto high = member(1, 2, 1, limits);
  (void)low->next(What::kConnected);
  (void)high->next(What::kConnected);
  low->door.shut();
  std::uint32_t taken = 0;
  for (;; ++taken) {
    const auto sent = high->mesh->send(0, 1, numbered(taken, 200'000));
    if (sent) continue;
    EXPECT_EQ(sent.failure().kind, FailureKind::kConflict);
    break;
  }
  EXPECT_EQ(high->mesh->counters(0).refused_sends, 1U);
  EXPECT_LE(high->mesh->counters(0).channel.queued_bytes, limits.queue_bytes);
  low->door.open();
  EXPECT_EQ(high->next(What::kRoom).connection, 1U);
  ASSERT_TRUE(high->mesh->send(0, 1, numbered(taken, 200'000)));
  for (std::uint32_t i = 0; i <= taken; ++i) {
    ASSERT_TRUE(is_numbered(low->next(What::kMessage).message, i, 200'000)) << i;
  }
}

TEST_P(Meshes, ALargePayloadBothWaysAtOnce) {
  const auto low = member(0, 2);
  const auto high = member(1, 2);
  (void)low->next(What::kConnected);
  (void)high->next(What::kConnected);
  ASSERT_TRUE(high->mesh->send(0, 1, numbered(1, kMaxPayload)));
  ASSERT_TRUE(low->mesh->send(1, 1, numbered(2, kMaxPayload)));
  EXPECT_TRUE(is_numbered(low->next(What::kMessage).message, 1, kMaxPayload));
  EXPECT_TRUE(is_numbered(high->next(What::kMessage).message, 2, kMaxPayload));
}

TEST_P(Meshes, ARankThatEndsIsLostAndItsNextLifeIsMet) {
  auto low = member(0, 2);
  auto high = member(1, 2);
  (void)low->next(What::kConnected);
  (void)high->next(What::kConnected);
  high.reset();
  EXPECT_EQ(low->next(What::kDisconnected).failure.kind, FailureKind::kLost);
  high = member(1, 2, 2);
  EXPECT_EQ(low->next(What::kConnected).incarnation, 2U);
  EXPECT_EQ(high->next(What::kConnected).incarnation, 1U);
  low.reset();  // and the one that is connected to
  EXPECT_EQ(high->next(What::kDisconnected).failure.kind, FailureKind::kLost);
  low = member(0, 2, 5);
  const Told again = high->next(What::kConnected);
  EXPECT_EQ(again.incarnation, 5U);
  EXPECT_EQ(again.connection, 2U);
  EXPECT_EQ(low->next(What::kConnected).incarnation, 2U);
  EXPECT_THROW((void)member(0, 2, 4), Error);  // a life that is over
}

TEST_P(Meshes, AProcessOfAnEarlierLifeIsRefused) {
  const auto low = member(0, 2);
  const auto high = member(1, 2, 3);
  (void)low->next(What::kConnected);
  TemporaryFolder elsewhere;  // an old process that does not hear of its successor
  FolderStore store(elsewhere.path());
  ASSERT_TRUE(store.put("ranks/0/mesh", "1 " + low->mesh->address(), 0));
  const Member old(world_, elsewhere.path(), rank_identity(1, 2), 2);
  const auto refused = low->refused.next();
  ASSERT_TRUE(refused);
  EXPECT_EQ(refused->failure.kind, FailureKind::kRefused);
  EXPECT_THAT(refused->failure.message, HasSubstr("of life 2, and has been met in life 3"));
  EXPECT_EQ(low->mesh->connection(1), 1U);
}

TEST_P(Meshes, WhoHasNoBusinessHereIsRefusedAndNamed) {
  const auto middle = member(1, 3);
  for (const Identity& who : {rank_identity(0), rank_identity(1, 9), rank_identity(3)}) {
    const auto network = world_.network(who);
    Arrivals<Failure> ends;
    ChannelEvents events;
    events.on_closed = [&](Channel&, const Failure& failure) { ends.add(failure); };
    const auto made = network->connect(middle->mesh->address(), rank_identity(1), events, kPatience);
    if (made) {
      EXPECT_TRUE(ends.next());
    }
    const auto refused = middle->refused.next();
    ASSERT_TRUE(refused);
    EXPECT_THAT(refused->failure.message, HasSubstr("rank " + std::to_string(who.index)));
    EXPECT_THAT(refused->failure.message, HasSubstr("does not connect to rank 1"));
  }
}

TEST_P(Meshes, APeerThatGreetsWithSomethingElseOrOfAnotherMeshIsCutOff) {
  const auto low = member(0, 2);
  Message other{kMeshMessage, 0, std::vector<std::byte>(8)};
  for (const auto& [message, kind] :
       {std::pair(Message{7, 0, {}}, FailureKind::kCorrupt), std::pair(other, FailureKind::kMismatch)}) {
    const auto network = world_.network(rank_identity(1));
    Arrivals<Failure> ends;
    ChannelEvents events;
    events.on_closed = [&](Channel&, const Failure& failure) { ends.add(failure); };
    auto made = network->connect(low->mesh->address(), rank_identity(0), events, kPatience);
    ASSERT_TRUE(made) << made.failure().message;
    ASSERT_TRUE(made.value()->send(message));
    EXPECT_TRUE(ends.next());
    const auto refused = low->refused.next();
    ASSERT_TRUE(refused);
    EXPECT_EQ(refused->failure.kind, kind);
    EXPECT_THAT(refused->failure.message, HasSubstr("rank 1"));
  }
}

TEST_P(Meshes, APeerThatDoesNotGreetIsCutOff) {
  const auto low = member(0, 2, 1, {}, [](MeshOptions& options) { options.connect_limit = milliseconds(100); });
  const auto network = world_.network(rank_identity(1));
  Arrivals<Failure> ends;
  ChannelEvents events;
  events.on_closed = [&](Channel&, const Failure& failure) { ends.add(failure); };
  const auto made = network->connect(low->mesh->address(), rank_identity(0), events, kPatience);
  ASSERT_TRUE(made) << made.failure().message;
  EXPECT_TRUE(ends.next());
  const auto refused = low->refused.next();
  ASSERT_TRUE(refused);
  EXPECT_EQ(refused->failure.message, "rank 1 did not greet in time");
}

TEST_P(Meshes, WhoCannotBeReachedIsTriedAgain) {
  FolderStore store(folder_.path());
  ASSERT_TRUE(store.put("ranks/0/mesh", "1 127.0.0.1:1", 0));
  const auto high = member(1, 2);
  for (int i = 0; i < 3; ++i) {
    const auto refused = high->refused.next();
    ASSERT_TRUE(refused);
    EXPECT_THAT(refused->failure.message, HasSubstr("no connection with rank 0"));
  }
  EXPECT_GE(high->mesh->counters(0).failed_attempts, 3U);
  const auto low = member(0, 2);
  EXPECT_EQ(high->next(What::kConnected).peer, 0U);
}

TEST_P(Meshes, WhatIsPublishedMayBeAnotherAddress) {
  const auto low = member(0, 2, 1, {}, [](MeshOptions& options) { options.reached_at = "127.0.0.1:9"; });
  FolderStore store(folder_.path());
  const auto entry = store.get("ranks/0/mesh");
  ASSERT_TRUE(entry && entry.value());
  EXPECT_EQ(entry.value()->value, "1 127.0.0.1:9");
  EXPECT_NE(low->mesh->address(), "127.0.0.1:9");
}

INSTANTIATE_TEST_SUITE_P(All, Meshes, ::testing::Values(Kind::kInproc, Kind::kTls, Kind::kPlain), name_of);

}  // namespace
}  // namespace concerto
