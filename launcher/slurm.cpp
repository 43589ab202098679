// Slurm's variables and its two compressed lists.
#include "slurm.hpp"

#include <algorithm>
#include <numeric>

#include <fmt/format.h>

#include "concerto/base/error.hpp"

#include "variables.hpp"

namespace concerto {
namespace {

constexpr std::size_t kMostNames = 65'536;
/// Ports from here on, by job: two jobs that share a first host rarely meet, and the default is left alone.
constexpr std::uint32_t kFirstPort = 20'000;
constexpr std::uint32_t kPorts = 9'000;

Error bad(const std::string& where, std::string message) {
  return {ErrorCode::kBadInput, std::move(message), where};
}

/// Splits at commas outside brackets.
std::vector<std::string_view> split_names(std::string_view text, const std::string& where) {
  std::vector<std::string_view> parts;
  std::size_t begin = 0;
  bool is_inside = false;
  for (std::size_t i = 0; i <= text.size(); ++i) {
    const char c = i < text.size() ? text[i] : ',';
    if (i == text.size() && is_inside) throw bad(where, fmt::format("'{}' has a bracket that is not closed", text));
    if ((c == '[' && is_inside) || (c == ']' && !is_inside)) {
      throw bad(where, fmt::format("'{}' has brackets that do not match", text));
    }
    if (c == '[') is_inside = true;
    if (c == ']') is_inside = false;
    if (c != ',' || is_inside) continue;
    if (i == begin) throw bad(where, fmt::format("'{}' has an empty name", text));
    parts.push_back(text.substr(begin, i - begin));
    begin = i + 1;
  }
  return parts;
}

/// "1-3,07" -> 1 2 3 07
std::vector<std::string> expand_numbers(std::string_view text, const std::string& where) {
  std::vector<std::string> numbers;
  for (;;) {
    const std::size_t comma = text.find(',');
    const std::string_view part = text.substr(0, comma);
    const std::size_t dash = part.find('-');
    const std::string_view low_text = part.substr(0, dash);
    const std::string_view high_text = dash == std::string_view::npos ? low_text : part.substr(dash + 1);
    const auto low = whole_number(low_text);
    const auto high = whole_number(high_text);
    if (!low || !high || *low > *high) throw bad(where, fmt::format("'{}' is not a range of numbers", part));
    if (*high - *low >= kMostNames - std::min(kMostNames, numbers.size())) throw bad(where, "has too many names");
    for (std::uint64_t number = *low; number <= *high; ++number) {
      numbers.push_back(fmt::format("{:0{}}", number, low_text.size()));
    }
    if (comma == std::string_view::npos) return numbers;
    text.remove_prefix(comma + 1);
  }
}

/// One name with its brackets, whose expansions multiply.
std::vector<std::string> expand_name(std::string_view text, const std::string& where) {
  std::vector<std::string> names = {""};
  while (!text.empty()) {
    const std::size_t open = text.find('[');
    for (std::string& name : names) name += text.substr(0, open);
    if (open == std::string_view::npos) break;
    const std::size_t close = text.find(']', open);
    const std::vector<std::string> numbers = expand_numbers(text.substr(open + 1, close - open - 1), where);
    if (names.size() * numbers.size() > kMostNames) throw bad(where, "has too many names");
    std::vector<std::string> longer;
    longer.reserve(names.size() * numbers.size());
    for (const std::string& name : names) {
      for (const std::string& number : numbers) longer.push_back(name + number);
    }
    names = std::move(longer);
    text.remove_prefix(close + 1);
  }
  return names;
}

/// The first of two names that is set: a step's own variable, else the job's.
std::string first_set(const EnvironmentVariables& variables, const char* preferred, const char* otherwise) {
  return text_of(variables, preferred) ? preferred : otherwise;
}

bool is_step(const EnvironmentVariables& variables) {
  if (!text_of(variables, "SLURM_PROCID")) return false;
  // A batch script is given the variables of a task 0, but is not in a step that srun has made.
  return text_of(variables, "SLURM_STEP_ID") || text_of(variables, "ENVIRONMENT") != "BATCH";
}

std::vector<std::string> hosts_of(const EnvironmentVariables& variables) {
  const std::string name = first_set(variables, "SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST");
  const std::string where = text_of(variables, name) ? name : "SLURM_NODELIST";
  const auto list = text_of(variables, where);
  return list ? expand_host_list(*list, where) : std::vector<std::string>();
}

}  // namespace

std::vector<std::string> expand_host_list(std::string_view text, const std::string& where) {
  std::vector<std::string> names;
  for (const std::string_view part : split_names(text, where)) {
    std::vector<std::string> more = expand_name(part, where);
    if (names.size() + more.size() > kMostNames) throw bad(where, "has too many names");
    std::ranges::move(more, std::back_inserter(names));
  }
  return names;
}

std::vector<std::uint32_t> expand_tasks_per_node(std::string_view text, const std::string& where) {
  std::vector<std::uint32_t> counts;
  for (const std::string_view part : split_names(text, where)) {
    const std::size_t open = part.find("(x");
    const auto tasks = whole_number(part.substr(0, open));
    std::optional<std::uint32_t> times = 1;
    if (open != std::string_view::npos) {
      times = part.ends_with(')') ? whole_number(part.substr(open + 2, part.size() - open - 3)) : std::nullopt;
    }
    if (!tasks || !times || *tasks == 0 || *times == 0) {
      throw bad(where, fmt::format("'{}' is not a number of tasks", part));
    }
    if (counts.size() + *times > kMostNames) throw bad(where, "has too many nodes");
    counts.insert(counts.end(), *times, *tasks);
  }
  return counts;
}

std::uint32_t slurm_nodes_without_step(const EnvironmentVariables& variables) {
  if (!text_of(variables, "SLURM_JOB_ID") || is_step(variables)) return 0;
  const std::string name = first_set(variables, "SLURM_JOB_NUM_NODES", "SLURM_NNODES");
  return number_of(variables, name, 1).value_or(1);
}

std::optional<SchedulerView> read_slurm(const EnvironmentVariables& variables) {
  if (!is_step(variables)) return std::nullopt;
  constexpr const char* kWhy = "SLURM_PROCID is: srun sets both";
  const std::string tasks_name = first_set(variables, "SLURM_STEP_NUM_TASKS", "SLURM_NTASKS");
  const std::uint32_t tasks = required_number(variables, tasks_name, kWhy, 1);
  const std::uint32_t task = required_number(variables, "SLURM_PROCID", kWhy, 0, tasks - 1);
  const std::uint32_t local = required_number(variables, "SLURM_LOCALID", kWhy, 0, tasks - 1);

  const std::vector<std::string> hosts = hosts_of(variables);
  const std::string nodes_name = first_set(variables, "SLURM_STEP_NUM_NODES", "SLURM_NNODES");
  std::optional<std::uint32_t> nodes = number_of(variables, nodes_name, 1, tasks);
  if (!nodes && !hosts.empty()) nodes = static_cast<std::uint32_t>(hosts.size());
  if (!nodes) throw bad(nodes_name, fmt::format("is not set, though {}", kWhy));
  if (!hosts.empty() && hosts.size() < *nodes) {
    throw bad(nodes_name, fmt::format("says {} nodes, but the list of nodes has {}", *nodes, hosts.size()));
  }
  const std::uint32_t node = number_of(variables, "SLURM_NODEID", 0, *nodes - 1).value_or(0);

  SchedulerView view;
  const std::string job = text_of(variables, "SLURM_JOB_ID").value_or("");
  view.name = job.empty() ? "Slurm" : "Slurm job " + job;
  if (const auto step = text_of(variables, "SLURM_STEP_ID"); !job.empty()) {
    const std::string name = fmt::format("slurm-{}-{}", job, step.value_or("0"));
    if (is_job_name(name)) view.job = name;
  }
  view.nodes = tasks;
  view.node_rank = task;
  if (!hosts.empty()) view.first_host = hosts.front();
  view.port = kFirstPort + whole_number(job).value_or(0) % kPorts;
  if (tasks == *nodes) return view;

  // A launcher for each rank. How many share this machine, Slurm says for each node.
  const std::string per_node_name = first_set(variables, "SLURM_STEP_TASKS_PER_NODE", "SLURM_TASKS_PER_NODE");
  std::uint32_t local_size = (tasks + *nodes - 1) / *nodes;
  if (const auto list = text_of(variables, per_node_name)) {
    const std::vector<std::uint32_t> counts = expand_tasks_per_node(*list, per_node_name);
    const std::uint64_t sum = std::accumulate(counts.begin(), counts.end(), std::uint64_t{0});
    // In a step of less than the whole job the job's own list does not fit; then an equal share has been assumed.
    if (counts.size() == *nodes && sum == tasks) local_size = counts[node];
  }
  if (local >= local_size) {
    throw bad("SLURM_LOCALID", fmt::format("is {}, but this node has {} tasks", local, local_size));
  }
  view.one_rank = {local, local_size};
  return view;
}

}  // namespace concerto
