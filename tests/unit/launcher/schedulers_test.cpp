// What Slurm and Kubernetes say, how options override it, and what each mistake is answered with.
#include <gmock/gmock.h>

#include "concerto/base/error.hpp"

#include "assignment.hpp"
#include "kubernetes.hpp"
#include "slurm.hpp"

namespace concerto {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

template <class Call>
std::string error_of(const Call& call) {
  try {
    (void)call();
    return "none";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kBadInput);
    return error.what();
  }
}

std::vector<std::string> hosts(std::string_view text) {
  return expand_host_list(text, "LIST");
}
std::string host_error(std::string_view text) {
  return error_of([&] { return hosts(text); });
}

TEST(SlurmHostList, ExpandsRangesListsAndPlainNames) {
  EXPECT_THAT(hosts("n[1-3,7],m04"), ElementsAre("n1", "n2", "n3", "n7", "m04"));
  EXPECT_THAT(hosts("one"), ElementsAre("one"));
  EXPECT_THAT(hosts("a,b.example.org,c-1"), ElementsAre("a", "b.example.org", "c-1"));
  EXPECT_THAT(hosts("n[08-11]"), ElementsAre("n08", "n09", "n10", "n11"));
  EXPECT_THAT(hosts("n[8-11]"), ElementsAre("n8", "n9", "n10", "n11"));
  EXPECT_THAT(hosts("n[0099-0100]x"), ElementsAre("n0099x", "n0100x"));
  EXPECT_THAT(hosts("r[1-2]n[3,5]-ib"), ElementsAre("r1n3-ib", "r1n5-ib", "r2n3-ib", "r2n5-ib"));
  EXPECT_EQ(hosts("n[0-65535]").size(), 65'536U);
}

TEST(SlurmHostList, AnswersNonsense) {
  EXPECT_EQ(host_error("n[1-3"), "LIST: 'n[1-3' has a bracket that is not closed");
  EXPECT_EQ(host_error("n1-3]"), "LIST: 'n1-3]' has brackets that do not match");
  EXPECT_THAT(host_error("n[1[2]]"), HasSubstr("do not match"));
  EXPECT_THAT(host_error(""), HasSubstr("empty name"));
  EXPECT_THAT(host_error("a,,b"), HasSubstr("empty name"));
  EXPECT_THAT(host_error("a,"), HasSubstr("empty name"));
  EXPECT_EQ(host_error("n[3-1]"), "LIST: '3-1' is not a range of numbers");
  EXPECT_THAT(host_error("n[]"), HasSubstr("not a range"));
  EXPECT_THAT(host_error("n[1-]"), HasSubstr("not a range"));
  EXPECT_THAT(host_error("n[a]"), HasSubstr("not a range"));
  EXPECT_THAT(host_error("n[1,]"), HasSubstr("not a range"));
  EXPECT_THAT(host_error("n[0-65536]"), HasSubstr("too many names"));
  EXPECT_THAT(host_error("n[0-4294967295]"), HasSubstr("too many names"));
  EXPECT_THAT(host_error("a[0-999]b[0-999]"), HasSubstr("too many names"));
}

TEST(SlurmTasksPerNode, ExpandsRepetitions) {
  EXPECT_THAT(expand_tasks_per_node("4(x2),3", "T"), ElementsAre(4, 4, 3));
  EXPECT_THAT(expand_tasks_per_node("1", "T"), ElementsAre(1));
  for (const char* text : {"", "0", "4(x0)", "4(x", "4(x2", "4(2)", "x", "4,,3", "4(x99999999)"}) {
    EXPECT_THAT(error_of([&] { return expand_tasks_per_node(text, "T"); }), StartsWith("T: ")) << text;
  }
}

/// `srun --ntasks-per-node=1` on three nodes, as seen on the second.
EnvironmentVariables launcher_a_node() {
  return {{"SLURM_JOB_ID", "17"}, {"SLURM_STEP_ID", "2"},           {"SLURM_PROCID", "1"},
          {"SLURM_NTASKS", "3"},  {"SLURM_LOCALID", "0"},           {"SLURM_NODEID", "1"},
          {"SLURM_NNODES", "3"},  {"SLURM_JOB_NODELIST", "n[1-3]"}, {"SLURM_TASKS_PER_NODE", "1(x3)"}};
}

/// `srun -n 8` on three nodes, as seen by the second task of the last.
EnvironmentVariables launcher_a_rank() {
  return {{"SLURM_JOB_ID", "17"}, {"SLURM_STEP_ID", "2"},           {"SLURM_PROCID", "7"},
          {"SLURM_NTASKS", "8"},  {"SLURM_LOCALID", "1"},           {"SLURM_NODEID", "2"},
          {"SLURM_NNODES", "3"},  {"SLURM_JOB_NODELIST", "n[1-3]"}, {"SLURM_STEP_TASKS_PER_NODE", "3(x2),2"}};
}

TEST(Slurm, OneLauncherANode) {
  const auto view = read_slurm(launcher_a_node());
  ASSERT_TRUE(view);
  EXPECT_EQ(view->name, "Slurm job 17");
  EXPECT_EQ(view->job, "slurm-17-2");
  EXPECT_EQ(view->nodes, 3U);
  EXPECT_EQ(view->node_rank, 1U);
  EXPECT_EQ(view->first_host, "n1");
  EXPECT_EQ(view->port, 20'017U);
  EXPECT_FALSE(view->one_rank);
}

TEST(Slurm, OneLauncherARank) {
  const auto view = read_slurm(launcher_a_rank());
  ASSERT_TRUE(view);
  EXPECT_EQ(view->nodes, 8U);
  EXPECT_EQ(view->node_rank, 7U);
  ASSERT_TRUE(view->one_rank);
  EXPECT_EQ(view->one_rank->local_rank, 1U);
  EXPECT_EQ(view->one_rank->local_size, 2U);
}

TEST(Slurm, TheStepsOwnVariablesWinOverTheJobs) {
  EnvironmentVariables variables = launcher_a_node();
  variables["SLURM_STEP_NUM_TASKS"] = "2";
  variables["SLURM_STEP_NUM_NODES"] = "2";
  variables["SLURM_STEP_NODELIST"] = "n[2-3]";
  const auto view = read_slurm(variables);
  EXPECT_EQ(view->nodes, 2U);
  EXPECT_EQ(view->first_host, "n2");
}

TEST(Slurm, FewVariablesAreEnough) {
  const auto view =
      read_slurm({{"SLURM_PROCID", "1"}, {"SLURM_NTASKS", "2"}, {"SLURM_LOCALID", "1"}, {"SLURM_JOB_NODELIST", "m04"}});
  ASSERT_TRUE(view);
  EXPECT_EQ(view->nodes, 2U);
  ASSERT_TRUE(view->one_rank);
  EXPECT_EQ(view->one_rank->local_size, 2U);
  EXPECT_EQ(view->first_host, "m04");
}

TEST(Slurm, OutsideAStepThereIsNone) {
  EXPECT_FALSE(read_slurm({}));
  EXPECT_FALSE(read_slurm({{"SLURM_JOB_ID", "17"}, {"SLURM_JOB_NUM_NODES", "2"}}));  // salloc
  EnvironmentVariables batch = launcher_a_node();
  batch.erase("SLURM_STEP_ID");
  batch["ENVIRONMENT"] = "BATCH";
  EXPECT_FALSE(read_slurm(batch));
  EXPECT_EQ(slurm_nodes_without_step(batch), 3U);
  EXPECT_EQ(slurm_nodes_without_step(launcher_a_node()), 0U);
  EXPECT_EQ(slurm_nodes_without_step({}), 0U);
}

TEST(Slurm, NonsenseIsNamed) {
  const auto error_with = [](EnvironmentVariables variables, const char* name, const char* value) {
    if (value == nullptr) {
      variables.erase(name);
    } else {
      variables[name] = value;
    }
    return error_of([&] { return read_slurm(variables); });
  };
  EXPECT_EQ(error_with(launcher_a_node(), "SLURM_PROCID", "3"),
            "SLURM_PROCID: must be a whole number from 0 to 2, not '3'");
  EXPECT_THAT(error_with(launcher_a_node(), "SLURM_PROCID", "x"), StartsWith("SLURM_PROCID: "));
  EXPECT_EQ(error_with(launcher_a_node(), "SLURM_NTASKS", nullptr),
            "SLURM_NTASKS: is not set, though SLURM_PROCID is: srun sets both");
  EXPECT_THAT(error_with(launcher_a_node(), "SLURM_NTASKS", "0"), StartsWith("SLURM_NTASKS: "));
  EXPECT_THAT(error_with(launcher_a_node(), "SLURM_LOCALID", nullptr), StartsWith("SLURM_LOCALID: "));
  EXPECT_THAT(error_with(launcher_a_node(), "SLURM_NODEID", "3"), StartsWith("SLURM_NODEID: "));
  EXPECT_THAT(error_with(launcher_a_node(), "SLURM_NNODES", "4"), StartsWith("SLURM_NNODES: "));
  EXPECT_EQ(error_with(launcher_a_node(), "SLURM_JOB_NODELIST", "n1"),
            "SLURM_NNODES: says 3 nodes, but the list of nodes has 1");
  EXPECT_THAT(error_with(launcher_a_node(), "SLURM_JOB_NODELIST", "n["), StartsWith("SLURM_JOB_NODELIST: "));
  EXPECT_EQ(error_with(launcher_a_rank(), "SLURM_LOCALID", "2"), "SLURM_LOCALID: is 2, but this node has 2 tasks");
  EXPECT_THAT(error_with(launcher_a_rank(), "SLURM_STEP_TASKS_PER_NODE", "3(y2)"),
              StartsWith("SLURM_STEP_TASKS_PER_NODE: "));
}

EnvironmentVariables pod() {
  return {{"JOB_COMPLETION_INDEX", "2"}, {"CONCERTO_NNODES", "4"}, {"CONCERTO_RENDEZVOUS", "train-0.train:29500"}};
}

TEST(Kubernetes, AnIndexedJob) {
  EXPECT_FALSE(read_kubernetes({{"CONCERTO_NNODES", "4"}}));
  const auto view = read_kubernetes(pod());
  ASSERT_TRUE(view);
  EXPECT_EQ(view->nodes, 4U);
  EXPECT_EQ(view->node_rank, 2U);
  EXPECT_EQ(view->rendezvous, "train-0.train:29500");
  EnvironmentVariables named = pod();
  named["CONCERTO_JOB"] = "train";
  EXPECT_EQ(read_kubernetes(named)->job, "train");
}

TEST(Kubernetes, NonsenseIsNamed) {
  const auto error_with = [](const char* name, const char* value) {
    EnvironmentVariables variables = pod();
    variables[name] = value;
    return error_of([&] { return read_kubernetes(variables); });
  };
  EXPECT_THAT(error_with("CONCERTO_NNODES", ""),
              StartsWith("CONCERTO_NNODES: is not set, though JOB_COMPLETION_INDEX"));
  EXPECT_THAT(error_with("CONCERTO_NNODES", "2"),
              StartsWith("JOB_COMPLETION_INDEX: must be a whole number from 0 to 1"));
  EXPECT_THAT(error_with("JOB_COMPLETION_INDEX", "first"), StartsWith("JOB_COMPLETION_INDEX: "));
  EXPECT_THAT(error_with("CONCERTO_RENDEZVOUS", ""), StartsWith("CONCERTO_RENDEZVOUS: is not set"));
  EXPECT_THAT(error_with("CONCERTO_JOB", "a b"), StartsWith("CONCERTO_JOB: "));
}

LauncherOptions options_of(std::optional<std::uint32_t> ranks = std::nullopt) {
  LauncherOptions options;
  options.ranks_per_node = ranks;
  options.command = {"true"};
  return options;
}

TEST(Assignment, OnItsOwnALauncherHasTheWholeJob) {
  const Assignment assignment = assign(options_of(4), {});
  EXPECT_EQ(assignment.nodes, 1U);
  EXPECT_EQ(assignment.world_size(), 4U);
  EXPECT_EQ(assignment.first_rank(), 0U);
  EXPECT_EQ(assignment.local_size, 4U);
  EXPECT_TRUE(assignment.rendezvous.empty());
  EXPECT_THAT(assignment.notices, IsEmpty());
  EXPECT_EQ(assign(options_of(), {}).world_size(), 1U);
}

TEST(Assignment, BothWaysOfSlurm) {
  const Assignment by_node = assign(options_of(2), launcher_a_node());
  EXPECT_EQ(by_node.job, "slurm-17-2");
  EXPECT_EQ(by_node.world_size(), 6U);
  EXPECT_EQ(by_node.first_rank(), 2U);
  EXPECT_EQ(by_node.local_size, 2U);
  EXPECT_EQ(by_node.rendezvous, "n1:20017");

  const Assignment by_rank = assign(options_of(), launcher_a_rank());
  EXPECT_EQ(by_rank.world_size(), 8U);
  EXPECT_EQ(by_rank.first_rank(), 7U);
  EXPECT_EQ(by_rank.local_rank, 1U);
  EXPECT_EQ(by_rank.local_size, 2U);
  EXPECT_THAT(error_of([] { return assign(options_of(2), launcher_a_rank()); }),
              StartsWith("--nproc-per-node: Slurm job 17 starts several tasks a node"));
}

TEST(Assignment, OptionsWinWithANotice) {
  LauncherOptions options = options_of();
  options.nodes = 5;
  options.node_rank = 1;  // as Slurm says
  options.rendezvous = "elsewhere:1";
  options.job = "mine";
  const Assignment assignment = assign(options, launcher_a_node());
  EXPECT_EQ(assignment.nodes, 5U);
  EXPECT_EQ(assignment.rendezvous, "elsewhere:1");
  EXPECT_EQ(assignment.job, "mine");
  EXPECT_THAT(assignment.notices, ElementsAre("--nnodes 5 is used, though Slurm job 17 says 3",
                                              "--rendezvous elsewhere:1 is used, though Slurm job 17 says n1:20017"));
}

TEST(Assignment, OptionsThatSayAllNeedNoScheduler) {
  LauncherOptions options = options_of();
  options.nodes = 1;
  options.node_rank = 0;
  EnvironmentVariables variables = launcher_a_node();
  variables["SLURM_NTASKS"] = "many";
  const Assignment assignment = assign(options, variables);
  EXPECT_EQ(assignment.nodes, 1U);
  EXPECT_THAT(assignment.notices, ElementsAre(HasSubstr("SLURM_NTASKS: must be a whole number")));
}

TEST(Assignment, ABatchScriptWithoutSrunIsAnswered) {
  const EnvironmentVariables batch = {{"SLURM_JOB_ID", "17"}, {"SLURM_JOB_NUM_NODES", "3"}};
  EXPECT_THAT(error_of([&] { return assign(options_of(), batch); }),
              StartsWith("SLURM_JOB_NUM_NODES: this Slurm job has 3 nodes, but srun has not started the launcher"));
  LauncherOptions options = options_of();
  options.nodes = 1;
  EXPECT_EQ(assign(options, batch).nodes, 1U);
  EXPECT_EQ(assign(options_of(), {{"SLURM_JOB_ID", "17"}, {"SLURM_JOB_NUM_NODES", "1"}}).nodes, 1U);
}

TEST(Assignment, WhatIsMissingOrTooMuchIsNamed) {
  LauncherOptions options = options_of();
  options.nodes = 2;
  EXPECT_EQ(error_of([&] { return assign(options, {}); }), "--node-rank: is needed with --nnodes 2");
  options.node_rank = 1;
  EXPECT_EQ(error_of([&] { return assign(options, {}); }), "--rendezvous: is needed with --nnodes 2");
  options.node_rank = 2;
  EXPECT_EQ(error_of([&] { return assign(options, {}); }), "--node-rank: must be below --nnodes: 2 of 2");
  options.nodes = 65'536;
  options.ranks_per_node = 4'096;
  EXPECT_THAT(error_of([&] { return assign(options, {}); }), HasSubstr("are too many: at most 1048576"));
}

}  // namespace
}  // namespace concerto
