// `concerto doctor [CONFIG.toml]`: whether a run could go well here, alone or as one rank of a job.
#include <algorithm>

#include <fmt/format.h>

#include "concerto/base/error.hpp"
#include "concerto/base/file.hpp"
#include "concerto/comm/stores.hpp"

#include "commands.hpp"
#include "doctor/gather.hpp"
#include "doctor/judge.hpp"
#include "doctor/page.hpp"
#include "doctor/probe.hpp"
#include "job_store.hpp"

namespace concerto {
namespace {

using doctor::Facts;

/// Files by which etcd is shown who one is.
void look_at_files(const Config& config, const std::optional<JobEnvironment>& job, Facts& facts) {
  StoreFiles files = job ? job->store_files : StoreFiles{};
  if (!config.security.authority.empty()) files.authority = config.security.authority;
  if (!config.security.certificate.empty()) files.certificate = config.security.certificate;
  for (const std::string& file : {files.authority, files.certificate}) {
    if (file.empty()) continue;
    try {
      facts.certificates.push_back(doctor::look_at_certificate(read_file(file), file));
    } catch (const Error& error) {
      facts.certificates.push_back({file, 0.0, 0.0, error.what()});
    }
  }
}

/// Without a job there is no name in etcd to look under: who may not use this one has at least been answered.
void ask_configured_store(const Config& config, Facts& facts) {
  if (config.cluster.store == "embedded") return;
  JobEnvironment nobodys;
  nobodys.job = "doctor";
  facts.store = config.cluster.store;
  try {
    const JobStore store(nobodys, config);
    doctor::probe_store(store.store(), facts);
  } catch (const Error& error) {
    if (error.message().find("may not use /concerto/doctor/") == std::string::npos) facts.store_problem = error.what();
  }
}

std::vector<Facts> ask_as_rank(const JobEnvironment& job, const Config& config, bool has_config, Facts mine) {
  try {
    const JobStore store(job, config);
    if (store.credentials()) {
      const std::string& certificate = store.credentials()->certificate;
      mine.certificates.push_back(doctor::look_at_certificate(certificate, "the certificate of a rank"));
    }
    doctor::probe_store(store.store(), mine);
    if (job.world_size > 1 && mine.store_problem.empty()) {
      return probe_together(job, store, config, has_config, std::move(mine));
    }
  } catch (const Error& error) {
    mine.store_problem = error.what();
  }
  return {std::move(mine)};
}

}  // namespace

int run_doctor(const DoctorArguments& arguments, Console& console) {
  const std::optional<JobEnvironment> job = job_of_this_process();
  doctor::Expectations expected;
  expected.has_config = !arguments.config.empty();
  expected.config = expected.has_config ? load_config(arguments.config, arguments.overrides)
                                        : parse_config("", "no configuration", arguments.overrides, ConfigUse::kAny);
  expected.ranks = job ? job->world_size : 1;
  Facts mine = doctor::gather(expected.config, expected.has_config, job);
  look_at_files(expected.config, job, mine);
  std::vector<Facts> ranks;
  if (job) {
    ranks = ask_as_rank(*job, expected.config, expected.has_config, std::move(mine));
  } else {
    ask_configured_store(expected.config, mine);
    ranks.push_back(std::move(mine));
  }
  if (job && job->rank != 0) return 0;  // the first rank tells what all have found
  const std::vector<doctor::Finding> findings = doctor::judge(expected, ranks);
  if (arguments.is_json) {
    console.out << doctor::page_to_json(ranks, findings) << std::endl;
  } else {
    doctor::print_page(console.out, expected, ranks, findings);
  }
  const bool is_well = std::ranges::none_of(
      findings, [](const doctor::Finding& finding) { return finding.level == doctor::Level::kProblem; });
  return is_well ? 0 : 1;
}

}  // namespace concerto
