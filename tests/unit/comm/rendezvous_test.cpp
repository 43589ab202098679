// Meeting in the store: late ranks, taken ranks, lost answers.
#include "rendezvous.hpp"

#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/folder_store.hpp"

namespace concerto {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::HasSubstr;

Deadline in(milliseconds time) {
  return std::chrono::steady_clock::now() + time;
}

class Rendezvous : public ::testing::Test {
 protected:
  TemporaryFolder folder;
  FolderStore store{folder.path()};
};

TEST_F(Rendezvous, EachRankLearnsWhatAllHaveAnnounced) {
  std::vector<std::thread> ranks;
  for (Rank rank = 0; rank < 4; ++rank) {
    ranks.emplace_back([&, rank] {
      FolderStore own(folder.path());
      EXPECT_TRUE(announce(own, rank, "meeting/1", std::string(3, static_cast<char>('a' + rank)), in(seconds(60))));
      const auto all = await_announcements(own, 4, "meeting/1", in(seconds(60)));
      ASSERT_TRUE(all);
      EXPECT_EQ(all.value(), (std::vector<std::string>{"aaa", "bbb", "ccc", "ddd"}));
    });
  }
  for (std::thread& rank : ranks) rank.join();
}

TEST_F(Rendezvous, ThoseWhoDoNotComeAreNamed) {
  ASSERT_TRUE(announce(store, 1, "meeting/1", "here", in(seconds(60))));
  const auto all = await_announcements(store, 4, "meeting/1", in(milliseconds(20)));
  ASSERT_FALSE(all);
  EXPECT_EQ(all.failure().kind, FailureKind::kTimeout);
  EXPECT_THAT(all.failure().message, HasSubstr("3 of 4 ranks did not come to meeting/1 in time: 0, 2, 3"));
}

TEST_F(Rendezvous, ARankIsThereOnce) {
  ASSERT_TRUE(announce(store, 1, "meeting/1", "one", in(seconds(60))));
  EXPECT_TRUE(announce(store, 1, "meeting/1", "one", in(seconds(60)))) << "the same: a call whose answer was lost";
  const auto second = announce(store, 1, "meeting/1", "two", in(seconds(60)));
  ASSERT_FALSE(second);
  EXPECT_EQ(second.failure().kind, FailureKind::kConflict);
  EXPECT_TRUE(announce(store, 1, "meeting/2", "two", in(seconds(60)))) << "another epoch";
}

TEST_F(Rendezvous, RanksWriteUnderTheirOwnKeys) {
  EXPECT_EQ(rendezvous_key(3, "collectives/7"), "ranks/3/collectives/7");
}

}  // namespace
}  // namespace concerto
