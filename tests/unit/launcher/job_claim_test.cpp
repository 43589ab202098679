// A job's name in a store that outlives it: one holder at a time, nothing left over, and nobody joins the dead.
#include "job_claim.hpp"

#include <atomic>

#include <gmock/gmock.h>

#include "concerto/base/error.hpp"
#include "concerto/comm/stores.hpp"

#include "support/inproc_network.hpp"

namespace concerto {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;

template <class Call>
std::string error_of(const Call& call) {
  try {
    call();
    return "none";
  } catch (const Error& error) {
    return error.what();
  }
}

class JobClaimTest : public ::testing::Test {
 protected:
  JobClaimTest()
      : network_(hub_.network({"job", Role::kLauncher, 0, 0})),
        server_(make_embedded_store_server(*network_, "store:1", "job")),
        store_(make_embedded_store(*network_, server_->address(), {"job", Role::kLauncher, 0, 0})) {
    assignment_.job = "job";
    assignment_.nodes = 2;
    limits_.announce_every = milliseconds(1);
    limits_.pause = [this] { ++pauses_; };
  }

  std::vector<std::string> keys() {
    std::vector<std::string> keys;
    for (const StoreEntry& entry : store_->list("").value().entries) keys.push_back(entry.key);
    return keys;
  }
  std::string await(std::uint32_t nodes = 2, milliseconds limit = milliseconds(20'000)) {
    Assignment mine = assignment_;
    mine.node_rank = 1;
    mine.nodes = nodes;
    return error_of([&] { await_claim(*store_, mine, limit, limits_.pause); });
  }

  test::InprocHub hub_;
  std::unique_ptr<Network> network_;
  std::unique_ptr<StoreServer> server_;
  std::unique_ptr<Store> store_;
  Assignment assignment_;
  ClaimLimits limits_;
  std::atomic<int> pauses_ = 0;
};

TEST_F(JobClaimTest, FindsTheNameEmptyAndLeavesItEmpty) {
  for (const char* key : {"ranks/0/failure", "incarnations/0", "launchers/failure", "job/open"}) {
    ASSERT_TRUE(store_->put(key, "old").ok());
  }
  {
    const JobClaim claim(*store_, assignment_, limits_);
    EXPECT_EQ(keys(), (std::vector<std::string>{"job/holder", "job/open"}));
    ASSERT_TRUE(store_->put("ranks/0/facts", "new").ok());
    EXPECT_EQ(await(), "none");
    EXPECT_THAT(await(3), HasSubstr("launcher 0 was told of 2 launchers and 2 ranks, launcher 1 of 3 launchers"));
  }
  EXPECT_TRUE(keys().empty());
}

TEST_F(JobClaimTest, ALauncherAloneAnnouncesNothing) {
  assignment_.nodes = 1;
  const JobClaim claim(*store_, assignment_, limits_);
  EXPECT_EQ(keys(), (std::vector<std::string>{"job/holder"}));
}

TEST_F(JobClaimTest, ALivingHolderIsNamed) {
  const JobClaim claim(*store_, assignment_, limits_);
  limits_.patience = milliseconds(1);
  const std::string error = error_of([&] { const JobClaim other(*store_, assignment_, limits_); });
  EXPECT_THAT(error, HasSubstr("--job: job job is running already: process "));
  EXPECT_THAT(error, HasSubstr("has the name; give this run another one"));
}

TEST_F(JobClaimTest, WhatNobodyWritesAnewIsNotJoined) {
  ASSERT_TRUE(store_->put("job/open", "2 launchers and 2 ranks").ok());
  EXPECT_THAT(await(2, milliseconds(1)), HasSubstr("what is there of job job may be left over"));
  ASSERT_TRUE(store_->erase("job/open").ok());
  EXPECT_THAT(await(2, milliseconds(1)),
              HasSubstr("--rendezvous: launcher 0 was not found within 0.001 s: nobody holds job"));
}

}  // namespace
}  // namespace concerto
