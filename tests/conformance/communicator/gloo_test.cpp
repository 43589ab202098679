// What only the communicator over TCP can meet: ranks that do not come, addresses that are not there.
#include <future>

#include <gmock/gmock.h>

#include "concerto/base/error.hpp"

#include "groups.hpp"

namespace concerto {
namespace {

using ::testing::HasSubstr;

class Gloo : public ::testing::Test {
 protected:
  Result<std::unique_ptr<Communicator>> make(Rank rank, Rank size, GlooOptions options, milliseconds connect) {
    FolderStore store(folder.path());
    if (options.network_interface.empty() && options.address.empty()) options.address = "127.0.0.1";
    return make_gloo_communicator(store, rank, size, options, {milliseconds(60'000), connect});
  }
  TemporaryFolder folder;
};

TEST_F(Gloo, NamesTheRanksThatDoNotCome) {
  const auto made = make(1, 4, {}, milliseconds(50));
  ASSERT_FALSE(made);
  EXPECT_EQ(made.failure().kind, FailureKind::kTimeout);
  EXPECT_THAT(made.failure().message, HasSubstr("0, 2, 3"));
}

TEST_F(Gloo, ARankThatAnnouncedItselfAndIsGoneCannotBeReached) {
  (void)make(0, 2, {}, milliseconds(50));
  const auto made = make(1, 2, {}, milliseconds(500));
  ASSERT_FALSE(made);
  EXPECT_THAT(made.failure().kind, ::testing::AnyOf(FailureKind::kTimeout, FailureKind::kUnreachable));
  EXPECT_THAT(made.failure().message, HasSubstr("rank 0"));
}

TEST_F(Gloo, ATakenRankIsRefused) {
  (void)make(0, 2, {}, milliseconds(50));
  const auto made = make(0, 2, {}, milliseconds(50));
  ASSERT_FALSE(made);
  EXPECT_EQ(made.failure().kind, FailureKind::kConflict);
}

TEST_F(Gloo, AnotherPrefixIsAnotherGroup) {
  (void)make(0, 2, {}, milliseconds(50));
  GlooOptions next;
  next.prefix = "collectives/1";
  auto other = std::async(std::launch::async, [&] { return make(1, 2, next, milliseconds(60'000)); });
  const auto made = make(0, 2, next, milliseconds(60'000));
  const auto made_there = other.get();
  ASSERT_TRUE(made) << made.failure().message;
  ASSERT_TRUE(made_there) << made_there.failure().message;
  const auto there = made_there.value()->barrier(tag(0));
  EXPECT_TRUE(made.value()->wait(made.value()->barrier(tag(0))));
  EXPECT_TRUE(made_there.value()->wait(there));
}

TEST_F(Gloo, AnotherNumberOfRanksIsNoticed) {
  auto other = std::async(std::launch::async, [&] { return make(1, 2, {}, milliseconds(60'000)); });
  const auto made = make(0, 3, {}, milliseconds(2'000));
  EXPECT_FALSE(made);
  const auto there = other.get();
  ASSERT_FALSE(there);
  EXPECT_EQ(there.failure().kind, FailureKind::kCorrupt) << there.failure().message;
}

TEST_F(Gloo, RefusesAddressesThatAreNotThisMachines) {
  GlooOptions options;
  options.address = "no.such.host.invalid";
  EXPECT_THROW((void)make(0, 2, options, milliseconds(50)), Error);
  options.address = "192.0.2.1";  // for documentation: nobody's
  EXPECT_THROW((void)make(0, 2, options, milliseconds(50)), Error);
  options.network_interface = "nosuch0";
  EXPECT_THROW((void)make(0, 2, options, milliseconds(50)), Error);
}

TEST_F(Gloo, AnInterfaceServesAsWellAsAnAddress) {
  GlooOptions options;
  options.network_interface = "lo";
  auto other = std::async(std::launch::async, [&] { return make(1, 2, options, milliseconds(60'000)); });
  const auto made = make(0, 2, options, milliseconds(60'000));
  const auto made_there = other.get();
  EXPECT_TRUE(made) << made.failure().message;
  EXPECT_TRUE(made_there) << made_there.failure().message;
}

}  // namespace
}  // namespace concerto
