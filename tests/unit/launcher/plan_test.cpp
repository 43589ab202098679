// Options, devices, processors and the environment of each rank.
#include "plan.hpp"

#include <filesystem>
#include <sstream>

#include <gmock/gmock.h>

#include "concerto/base/error.hpp"

#include "devices.hpp"

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

LauncherOptions parsed(const std::vector<std::string>& words) {
  std::ostringstream out;
  const auto options = parse_options(words, out);
  EXPECT_TRUE(options.has_value());
  return options.value_or(LauncherOptions{});
}
std::string parse_error(const std::vector<std::string>& words) {
  return error_of([&] {
    std::ostringstream out;
    return parse_options(words, out);
  });
}

TEST(Options, AllOfThem) {
  const LauncherOptions options = parsed({"--nnodes",
                                          "3",
                                          "--node-rank",
                                          "2",
                                          "--rendezvous",
                                          "concerto://h:4711",
                                          "--nproc-per-node=8",
                                          "--job",
                                          "j",
                                          "--devices",
                                          "0,1",
                                          "--bind",
                                          "none",
                                          "--log-dir",
                                          "d",
                                          "--grace",
                                          "2.5",
                                          "--time-limit",
                                          "60",
                                          "--dry-run",
                                          "--",
                                          "concerto",
                                          "train",
                                          "--set",
                                          "a.b=1",
                                          "--",
                                          "x"});
  EXPECT_EQ(options.nodes, 3U);
  EXPECT_EQ(options.node_rank, 2U);
  EXPECT_EQ(options.rendezvous, "h:4711");
  EXPECT_EQ(options.ranks_per_node, 8U);
  EXPECT_EQ(options.job, "j");
  EXPECT_EQ(options.devices, "0,1");
  EXPECT_EQ(options.bind, "none");
  EXPECT_EQ(options.log_folder, "d");
  EXPECT_EQ(options.grace.count(), 2'500);
  EXPECT_EQ(options.time_limit.count(), 60'000);
  EXPECT_TRUE(options.is_dry_run);
  EXPECT_THAT(options.command, ElementsAre("concerto", "train", "--set", "a.b=1", "--", "x"));
}

TEST(Options, AStoreOfItsOwn) {
  const LauncherOptions options = parsed({"--rendezvous", "etcd://a:1,b:2", "--store-authority", "/ca.pem",
                                          "--store-credentials", "login", "--trusted-fabric", "--", "x"});
  EXPECT_EQ(options.rendezvous, "etcd://a:1,b:2");
  EXPECT_EQ(options.store_files.authority, "/ca.pem");
  EXPECT_EQ(options.store_files.credentials, (std::filesystem::current_path() / "login").string());
  EXPECT_TRUE(options.is_trusted_fabric);
  const Machine machine{{{"CONCERTO_STORE_KEY", "/another.key"}}, {0}, 1, 0};
  const LaunchPlan plan = make_plan(options, machine, "drawn", "/bin/x");
  EXPECT_EQ(plan.assignment.rendezvous, "etcd://a:1,b:2");  // also of a launcher that is alone
  EXPECT_EQ(plan.assignment.job, "drawn");
  EXPECT_EQ(plan.ranks.front().job.store_files, options.store_files);
  EXPECT_THAT(parse_error({"--rendezvous", "etcd://a", "--", "x"}), HasSubstr("etcd://HOST:PORT[,HOST:PORT...]"));
  EXPECT_THAT(parse_error({"--store-key", "k", "--", "x"}),
              StartsWith("--store-key: --store-certificate and --store-key go together"));
  const auto nameless = parsed({"--rendezvous", "etcd://a:1", "--nnodes", "2", "--node-rank", "1", "--", "x"});
  EXPECT_THAT(error_of([&] { return make_plan(nameless, machine, "drawn", "/bin/x"); }),
              StartsWith("--job: is needed with etcd and several launchers"));
}

TEST(Options, HelpAndVersionRunNothing) {
  std::ostringstream out;
  EXPECT_FALSE(parse_options({"--help"}, out));
  EXPECT_THAT(out.str(), HasSubstr("--nproc-per-node"));
  EXPECT_THAT(out.str(), HasSubstr("Exit status"));
  EXPECT_FALSE(parse_options({"--version"}, out));
  EXPECT_THAT(out.str(), HasSubstr("concerto-launch "));
}

TEST(Options, MistakesAreOneLine) {
  EXPECT_THAT(parse_error({}), HasSubstr("no program to run"));
  EXPECT_THAT(parse_error({"--"}), HasSubstr("no program to run"));
  EXPECT_THAT(parse_error({"concerto", "train"}), HasSubstr("comes behind --"));
  EXPECT_THAT(parse_error({"--nproc-per-node", "0", "--", "x"}), HasSubstr("must be a whole number from 1 to 4096"));
  EXPECT_THAT(parse_error({"--nproc-per-node", "-1", "--", "x"}), HasSubstr("must be a whole number"));
  EXPECT_THAT(parse_error({"--grace", "-1", "--", "x"}), StartsWith("--grace: must be a number of seconds"));
  EXPECT_THAT(parse_error({"--time-limit", "soon", "--", "x"}), StartsWith("--time-limit: "));
  EXPECT_THAT(parse_error({"--grace", "nan", "--", "x"}), StartsWith("--grace: "));
  EXPECT_THAT(parse_error({"--job", "a b", "--", "x"}), StartsWith("--job: must be 1 to 64 letters"));
  for (const char* text : {"h", "h:", ":1", "h:0", "h:70000", "http://h:1", "h:1/x"}) {
    EXPECT_THAT(parse_error({"--rendezvous", text, "--", "x"}), StartsWith("--rendezvous: must be HOST:PORT")) << text;
  }
  EXPECT_THAT(parse_error({"--bind", "x", "--", "x"}), HasSubstr("--bind"));
}

std::vector<std::string> visible(const DevicePlan& plan) {
  std::vector<std::string> texts;
  for (const auto& device : plan.visible) texts.push_back(device.value_or("-"));
  return texts;
}

TEST(Devices, RankByRankFromTheVisibleOnes) {
  EXPECT_THAT(visible(plan_devices("auto", {}, 4, 0, 2, 2)), ElementsAre("0", "1"));
  EXPECT_THAT(visible(plan_devices("auto", {{"CUDA_VISIBLE_DEVICES", "3,GPU-ab,5"}}, 8, 0, 3, 3)),
              ElementsAre("3", "GPU-ab", "5"));
  EXPECT_THAT(visible(plan_devices("auto", {}, 0, 0, 2, 2)), ElementsAre("-", "-"));
  EXPECT_THAT(visible(plan_devices("auto", {{"CUDA_VISIBLE_DEVICES", ""}}, 8, 0, 1, 1)), ElementsAre("-"));
  EXPECT_THAT(visible(plan_devices("auto", {{"CUDA_VISIBLE_DEVICES", "1,-1,2"}}, 8, 0, 1, 1)), ElementsAre("1"));
  EXPECT_THAT(visible(plan_devices("none", {}, 8, 0, 2, 2)), ElementsAre("-", "-"));
  EXPECT_THAT(visible(plan_devices("4,5,6", {{"CUDA_VISIBLE_DEVICES", "0"}}, 8, 0, 2, 2)), ElementsAre("4", "5"));
}

TEST(Devices, ALauncherOfOneRankAmongSeveral) {
  EXPECT_THAT(visible(plan_devices("auto", {}, 4, 2, 1, 4)), ElementsAre("2"));
  // Slurm's --gpus-per-task shows each task its own only.
  const DevicePlan own = plan_devices("auto", {{"CUDA_VISIBLE_DEVICES", "6"}}, 8, 2, 1, 4);
  EXPECT_THAT(visible(own), ElementsAre("6"));
  EXPECT_THAT(own.notices, IsEmpty());
}

TEST(Devices, FewerThanRanksAreSharedWithANotice) {
  const DevicePlan plan = plan_devices("auto", {}, 2, 0, 3, 3);
  EXPECT_THAT(visible(plan), ElementsAre("0", "1", "0"));
  EXPECT_THAT(plan.notices, ElementsAre("3 ranks share 2 devices on this machine; with NCCL each needs its own"));
  const auto list_error = [](const char* list) { return error_of([&] { return plan_devices(list, {}, 8, 0, 3, 3); }); };
  EXPECT_EQ(list_error("0,1"), "--devices: lists 2 devices for 3 ranks on this machine");
  EXPECT_THAT(list_error("0,0,1"), StartsWith("--devices: must be a list of different devices"));
  EXPECT_THAT(list_error("0,,1"), StartsWith("--devices: must be a list"));
}

TEST(Processors, EqualShares) {
  const std::vector<int> processors = {0, 1, 2, 3, 8, 9, 10};
  EXPECT_THAT(share_of(processors, 0, 2), ElementsAre(0, 1, 2));
  EXPECT_THAT(share_of(processors, 1, 2), ElementsAre(3, 8, 9, 10));
  EXPECT_THAT(share_of(processors, 0, 8), IsEmpty());
  EXPECT_EQ(to_ranges(processors), "0-3,8-10");
  EXPECT_EQ(to_ranges({5}), "5");
  EXPECT_EQ(to_ranges({}), "");
}

/// Services that give nothing but names.
class NamedServices final : public JobServices {
 public:
  [[nodiscard]] std::string job() const override { return "j"; }
  [[nodiscard]] std::string store() const override { return "embedded://h:1"; }
  [[nodiscard]] RankGrant admit(Rank /*rank*/) override { return {}; }
  void publish_failure(const JobFailure& /*failure*/) override {}
  void publish_ended() override {}
  void publish_left() override {}
  [[nodiscard]] int wake_descriptor() const noexcept override { return -1; }
  [[nodiscard]] std::vector<PeerEvent> take_events() override { return {}; }
};

Machine machine_of(std::vector<int> allowed, std::size_t processors, std::uint32_t devices = 0) {
  return {{{"PATH", "/bin"}}, std::move(allowed), processors, devices};
}

TEST(Plan, EachRankGetsItsPlaceDeviceAndProcessors) {
  const Machine machine = machine_of({0, 1, 2, 3}, 4, 2);
  const LaunchPlan plan = make_plan(parsed({"--nproc-per-node", "2", "--", "sh", "-c", "x"}), machine, "j", "/bin/sh");
  ASSERT_EQ(plan.ranks.size(), 2U);
  const ProcessSpec spec = process_of(plan, plan.ranks[1], machine, NamedServices(), {});
  EXPECT_EQ(spec.program, "/bin/sh");
  EXPECT_THAT(spec.command, ElementsAre("sh", "-c", "x"));
  EXPECT_THAT(spec.processors, ElementsAre(2, 3));
  const EnvironmentVariables expected = {{"PATH", "/bin"},
                                         {"CONCERTO_JOB", "j"},
                                         {"CONCERTO_RANK", "1"},
                                         {"CONCERTO_WORLD_SIZE", "2"},
                                         {"CONCERTO_LOCAL_RANK", "1"},
                                         {"CONCERTO_LOCAL_SIZE", "2"},
                                         {"CONCERTO_NODE_RANK", "0"},
                                         {"CONCERTO_INCARNATION", "1"},
                                         {"CONCERTO_STORE", "embedded://h:1"},
                                         {"CONCERTO_THREADS", "2"},
                                         {"OMP_NUM_THREADS", "2"},
                                         {"CUDA_VISIBLE_DEVICES", "1"}};
  EXPECT_EQ(spec.environment, expected);
}

TEST(Plan, WhatIsSetAlreadyStaysButAnotherJobsVariablesDoNot) {
  Machine machine = machine_of({0, 1, 2, 3}, 4);
  machine.environment["OMP_NUM_THREADS"] = "7";
  machine.environment["CONCERTO_CREDENTIALS"] = "fd:9";
  machine.environment["CONCERTO_RANK"] = "55";
  const LaunchPlan plan = make_plan(parsed({"--", "sh"}), machine, "j", "/bin/sh");
  const ProcessSpec spec = process_of(plan, plan.ranks[0], machine, NamedServices(), {});
  EXPECT_EQ(spec.environment.at("OMP_NUM_THREADS"), "7");
  EXPECT_EQ(spec.environment.at("CONCERTO_RANK"), "0");
  EXPECT_FALSE(spec.environment.contains("CONCERTO_CREDENTIALS"));
  EXPECT_THAT(spec.processors, IsEmpty());  // alone: whoever started the launcher has bound it, or not
}

TEST(Plan, ThreadsAreTheShareAlsoWhereNothingIsBound) {
  const auto threads = [](const std::vector<std::string>& words, const Machine& machine) {
    return make_plan(parsed(words), machine, "j", "/bin/sh").ranks[0].threads;
  };
  EXPECT_EQ(threads({"--nproc-per-node", "2", "--bind", "none", "--", "sh"}, machine_of({0, 1, 2, 3}, 4)), 2U);
  EXPECT_EQ(threads({"--nproc-per-node", "8", "--", "sh"}, machine_of({0, 1, 2, 3}, 4)), 1U);
  Machine machine = machine_of({0, 1, 2, 3}, 8);
  for (const auto& [name, value] : EnvironmentVariables{
           {"SLURM_PROCID", "1"}, {"SLURM_NTASKS", "2"}, {"SLURM_LOCALID", "1"}, {"SLURM_JOB_NODELIST", "a"}}) {
    machine.environment[name] = value;
  }
  EXPECT_EQ(threads({"--", "sh"}, machine), 4U);  // Slurm has bound the task: these are all its own
  machine.processors = 4;
  EXPECT_EQ(threads({"--", "sh"}, machine), 2U);
}

TEST(Plan, IsPrintedInFull) {
  const Machine machine = machine_of({0, 1, 2, 3}, 4, 2);
  const LaunchPlan plan = make_plan(parsed({"--nproc-per-node", "2", "--job", "night", "--time-limit", "1.5",
                                            "--log-dir", "logs", "--", "sh", "-c", "x"}),
                                    machine, "j", "/bin/sh");
  std::ostringstream out;
  print_plan(plan, machine, out);
  for (const char* text : {"job         night\n", "ranks       0 to 1 of 2\n", "store       in this launcher",
                           "command     sh -c x\n", "time limit  1.5 s\n", "logs        logs\n",
                           "rank 1: device 1, processors 2-3\n", "  CONCERTO_RANK=1\n", "  CUDA_VISIBLE_DEVICES=1\n"}) {
    EXPECT_THAT(out.str(), HasSubstr(text));
  }
}

}  // namespace
}  // namespace concerto
