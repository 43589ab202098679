// What a rank learns from its environment, and what each mistake in it is answered with.
#include "concerto/comm/job_environment.hpp"

#include <gmock/gmock.h>

#include "concerto/base/error.hpp"

namespace concerto {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

JobEnvironment example() {
  JobEnvironment job;
  job.job = "night-run_7";
  job.rank = 5;
  job.world_size = 8;
  job.local_rank = 1;
  job.local_size = 4;
  job.node_rank = 1;
  job.incarnation = 3;
  job.store = "embedded://10.0.0.1:4711";
  job.credentials = "fd:3";
  job.store_files = {"/etc/authority.pem", "/etc/rank.pem", "/etc/rank.key", "/etc/login"};
  return job;
}

std::string error_of(const EnvironmentVariables& variables) {
  try {
    const auto job = parse_job_environment(variables);
    return job ? "parsed" : "nothing";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kBadInput);
    return error.what();
  }
}

std::string error_with(const std::string& name, const std::string& value) {
  EnvironmentVariables variables = format_job_environment(example());
  variables[name] = value;
  return error_of(variables);
}

TEST(JobEnvironment, GoesThroughTheVariablesAndBack) {
  EXPECT_EQ(parse_job_environment(format_job_environment(example())), example());
  JobEnvironment alone;
  alone.job = "a";
  const EnvironmentVariables variables = format_job_environment(alone);
  EXPECT_FALSE(variables.contains("CONCERTO_STORE"));
  EXPECT_FALSE(variables.contains("CONCERTO_CREDENTIALS"));
  EXPECT_EQ(parse_job_environment(variables), alone);
}

TEST(JobEnvironment, NamesAreThoseOfTheInterface) {
  const EnvironmentVariables expected = {
      {"CONCERTO_JOB", "night-run_7"},
      {"CONCERTO_RANK", "5"},
      {"CONCERTO_WORLD_SIZE", "8"},
      {"CONCERTO_LOCAL_RANK", "1"},
      {"CONCERTO_LOCAL_SIZE", "4"},
      {"CONCERTO_NODE_RANK", "1"},
      {"CONCERTO_INCARNATION", "3"},
      {"CONCERTO_STORE", "embedded://10.0.0.1:4711"},
      {"CONCERTO_CREDENTIALS", "fd:3"},
      {"CONCERTO_STORE_AUTHORITY", "/etc/authority.pem"},
      {"CONCERTO_STORE_CERTIFICATE", "/etc/rank.pem"},
      {"CONCERTO_STORE_KEY", "/etc/rank.key"},
      {"CONCERTO_STORE_CREDENTIALS", "/etc/login"},
  };
  EXPECT_EQ(format_job_environment(example()), expected);
}

TEST(JobEnvironment, AProcessOfItsOwnHasNone) {
  EXPECT_EQ(parse_job_environment({}), std::nullopt);
  EXPECT_EQ(parse_job_environment({{"PATH", "/bin"}, {"CONCERTO_THREADS", "2"}}), std::nullopt);
  // A store alone says where to meet, not who one is.
  EXPECT_EQ(parse_job_environment({{"CONCERTO_STORE", "nonsense"}}), std::nullopt);
}

TEST(JobEnvironment, EachMissingVariableIsNamed) {
  for (const char* name : {"CONCERTO_JOB", "CONCERTO_RANK", "CONCERTO_WORLD_SIZE", "CONCERTO_LOCAL_RANK",
                           "CONCERTO_LOCAL_SIZE", "CONCERTO_NODE_RANK", "CONCERTO_INCARNATION"}) {
    EnvironmentVariables variables = format_job_environment(example());
    variables.erase(name);
    EXPECT_THAT(error_of(variables), StartsWith(std::string(name) + ": missing, though CONCERTO_"));
  }
}

TEST(JobEnvironment, EachMalformedVariableIsNamed) {
  EXPECT_EQ(error_with("CONCERTO_RANK", "8"), "CONCERTO_RANK: must be a whole number from 0 to 7, not '8'");
  EXPECT_EQ(error_with("CONCERTO_RANK", "-1"), "CONCERTO_RANK: must be a whole number from 0 to 7, not '-1'");
  EXPECT_EQ(error_with("CONCERTO_RANK", ""), "CONCERTO_RANK: must be a whole number from 0 to 7, not ''");
  EXPECT_EQ(error_with("CONCERTO_RANK", "1 "), "CONCERTO_RANK: must be a whole number from 0 to 7, not '1 '");
  EXPECT_THAT(error_with("CONCERTO_WORLD_SIZE", "0"), StartsWith("CONCERTO_WORLD_SIZE: must be a whole number from 1"));
  EXPECT_THAT(error_with("CONCERTO_WORLD_SIZE", "99999999999999999999"), StartsWith("CONCERTO_WORLD_SIZE: "));
  EXPECT_THAT(error_with("CONCERTO_LOCAL_SIZE", "9"), StartsWith("CONCERTO_LOCAL_SIZE: "));
  EXPECT_THAT(error_with("CONCERTO_LOCAL_RANK", "4"), StartsWith("CONCERTO_LOCAL_RANK: "));
  EXPECT_THAT(error_with("CONCERTO_NODE_RANK", "8"), StartsWith("CONCERTO_NODE_RANK: "));
  EXPECT_THAT(error_with("CONCERTO_INCARNATION", "0"), StartsWith("CONCERTO_INCARNATION: "));
  EXPECT_THAT(error_with("CONCERTO_JOB", "two words"), HasSubstr("CONCERTO_JOB: must be 1 to 64 letters"));
  EXPECT_THAT(error_with("CONCERTO_JOB", ""), StartsWith("CONCERTO_JOB: "));
  EXPECT_THAT(error_with("CONCERTO_JOB", std::string(65, 'a')), StartsWith("CONCERTO_JOB: "));
}

TEST(JobEnvironment, StoresAreAddresses) {
  for (const char* store : {"embedded://h:1", "embedded://[::1]:4711", "etcd://a:2379", "etcd://a:1,b:2,[fe80::1]:3"}) {
    EXPECT_EQ(error_with("CONCERTO_STORE", store), "parsed") << store;
  }
  for (const char* store : {"embedded://", "embedded://h", "embedded://h:0", "embedded://h:65536", "embedded://:1",
                            "embedded://a:1,b:2", "embedded://::1:5", "etcd://", "etcd://a:1,", "http://a:1", "a:1"}) {
    EXPECT_THAT(error_with("CONCERTO_STORE", store), StartsWith("CONCERTO_STORE: must be embedded://")) << store;
  }
}

TEST(JobEnvironment, CredentialsAreAFileOrADescriptor) {
  JobEnvironment job = example();
  EXPECT_EQ(credentials_descriptor(job), 3);
  job.credentials = "/run/secret";
  EXPECT_EQ(credentials_descriptor(job), std::nullopt);
  EXPECT_EQ(parse_job_environment(format_job_environment(job)), job);
  for (const char* credentials : {"fd:", "fd:2", "fd:-3", "fd:99999999999", "relative/path", "fd:3x"}) {
    EXPECT_THAT(error_with("CONCERTO_CREDENTIALS", credentials), StartsWith("CONCERTO_CREDENTIALS: ")) << credentials;
  }
}

TEST(JobEnvironment, FilesOfTheStoreAreAbsolutePaths) {
  EXPECT_EQ(error_with("CONCERTO_STORE_KEY", "key"), "CONCERTO_STORE_KEY: must be an absolute path, not 'key'");
  EXPECT_EQ(error_with("CONCERTO_STORE_CREDENTIALS", ""), "parsed");
}

TEST(JobEnvironment, ErasingLeavesTheRest) {
  EnvironmentVariables variables = format_job_environment(example());
  variables["PATH"] = "/bin";
  erase_job_environment(variables);
  EXPECT_EQ(variables, (EnvironmentVariables{{"PATH", "/bin"}}));
}

}  // namespace
}  // namespace concerto
