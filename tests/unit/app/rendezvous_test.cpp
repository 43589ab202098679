// Ranks that meet: all alike, or one clear error that names who differs in what.
#include "../src/app/rendezvous.hpp"

#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "concerto/base/error.hpp"
#include "concerto/comm/stores.hpp"

#include "../src/app/ranked_training.hpp"
#include "support/inproc_network.hpp"

namespace concerto {
namespace {

using ::testing::HasSubstr;

RankFacts facts_of(Rank world_size) {
  RankFacts facts;
  facts.version = "1.2.3";
  facts.world_size = world_size;
  facts.config_json = R"({"solver": {"epochs": 3, "kind": "als"}})";
  facts.data_digest = 77;
  facts.data_words = "10 users, 20 items, 30 entries";
  facts.place = {"here", "boot net", "10.0.0.1", "", "0000:17:00.0", ""};
  facts.process = 4711;
  return facts;
}

std::string error_of(const std::vector<RankFacts>& ranks) {
  try {
    require_alike(ranks);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(Rendezvous, FactsRoundTripAndNonsenseIsAnError) {
  const RankFacts facts = facts_of(4);
  EXPECT_EQ(parse_facts(facts_to_json(facts)), facts);
  EXPECT_THROW((void)parse_facts("{}"), Error);
  EXPECT_THROW((void)parse_facts("nonsense"), Error);
}

TEST(Rendezvous, WhatDiffersIsNamedWithBothRanks) {
  EXPECT_EQ(error_of({facts_of(2), facts_of(2)}), "");
  auto other = facts_of(3);
  EXPECT_THAT(error_of({facts_of(2), other}), HasSubstr("rank 0 was told of 2 ranks, rank 1 of 3"));
  other = facts_of(2);
  other.version = "1.2.4";
  EXPECT_THAT(error_of({facts_of(2), other}), HasSubstr("rank 1 on here is version 1.2.4"));
  other = facts_of(2);
  other.config_json = R"({"solver": {"epochs": 5, "kind": "als"}})";
  EXPECT_THAT(error_of({facts_of(2), other}), HasSubstr("solver.epochs is 3 on rank 0 and 5 on rank 1"));
  other = facts_of(2);
  other.data_digest = 78;
  EXPECT_THAT(error_of({facts_of(2), other}), HasSubstr("but not the same ones"));
}

/// A served store and a client for each rank, in this process.
class Meeting : public ::testing::Test {
 protected:
  static Identity launcher() { return {"job", Role::kLauncher, 0, 0}; }
  JobEnvironment job(Rank rank, Rank world_size) {
    JobEnvironment environment;
    environment.job = "job";
    environment.rank = rank;
    environment.world_size = world_size;
    return environment;
  }
  Store& store(Rank rank) {
    networks_.push_back(hub_.network({"job", Role::kRank, rank, 1}));
    stores_.push_back(make_embedded_store(*networks_.back(), server_->address(), launcher()));
    return *stores_.back();
  }
  std::string meet_error(Store& at, Rank rank, Rank world_size, const RankFacts& facts,
                         std::chrono::milliseconds limit = std::chrono::seconds(20)) {
    try {
      const auto ranks = meet(at, job(rank, world_size), facts, limit);
      EXPECT_EQ(ranks.size(), world_size);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  }

  test::InprocHub hub_;
  std::unique_ptr<Network> server_network_ = hub_.network(launcher());
  std::unique_ptr<StoreServer> server_ = make_embedded_store_server(*server_network_, "127.0.0.1:0", "job");
  std::vector<std::unique_ptr<Network>> networks_;
  std::vector<std::unique_ptr<Store>> stores_;
};

TEST_F(Meeting, RanksThatComeInAnyOrderMeet) {
  std::vector<std::string> errors(3);
  {
    std::vector<std::jthread> threads;
    for (const Rank r : {2U, 0U, 1U}) {
      Store& own = store(r);
      threads.emplace_back([this, &own, &errors, r] { errors[r] = meet_error(own, r, 3, facts_of(3)); });
    }
  }
  EXPECT_THAT(errors, ::testing::Each(""));
}

TEST_F(Meeting, ARankThatDoesNotComeIsNamed) {
  EXPECT_THAT(meet_error(store(1), 1, 3, facts_of(3), std::chrono::milliseconds(50)),
              HasSubstr("ranks 0 and 2 did not come within 0 s; 1 of 3 ranks are here"));
}

TEST_F(Meeting, TwoProcessesOfOneRankAreNamed) {
  (void)meet_error(store(0), 0, 2, facts_of(2), std::chrono::milliseconds(10));
  RankFacts second = facts_of(2);
  second.process = 4712;
  EXPECT_THAT(meet_error(store(0), 0, 2, second),
              HasSubstr("two processes are rank 0 of job job: process 4711 on here and process 4712 on here"));
}

TEST_F(Meeting, AllRanksSeeWhatDiffers) {
  std::vector<std::string> errors(2);
  {
    std::vector<std::jthread> threads;
    for (Rank r = 0; r < 2; ++r) {
      Store& own = store(r);
      RankFacts facts = facts_of(2);
      if (r == 1) facts.config_json = R"({"solver": {"epochs": 3, "kind": "sgd"}})";
      threads.emplace_back([this, &own, &errors, r, facts] { errors[r] = meet_error(own, r, 2, facts); });
    }
  }
  EXPECT_THAT(errors, ::testing::Each(HasSubstr("solver.kind is als on rank 0 and sgd on rank 1")));
}

TEST(RankedTraining, ThreadsAreAnEqualShareOrWhatTheLauncherBoundTo) {
  JobEnvironment job;
  job.local_size = 4;
  EXPECT_EQ(threads_of_rank(job, 3, 16, 16), 3U);  // as configured
  EXPECT_EQ(threads_of_rank(job, 0, 16, 16), 4U);  // not bound: a share
  EXPECT_EQ(threads_of_rank(job, 0, 4, 16), 4U);   // bound to a share
  EXPECT_EQ(threads_of_rank(job, 0, 1, 2), 1U);
}

TEST(Rendezvous, WhatMayDifferIsNotCompared) {
  EXPECT_EQ(
      comparable_config(R"({"compute": {"threads": 1, "backend": "cpu"}, "output": {"model": "m", "report": "a"}})"),
      comparable_config(R"({"compute": {"threads": 2, "backend": "cpu"}, "output": {"model": "m", "report": "b"}})"));
}

}  // namespace
}  // namespace concerto
