// Asking the system.
#include "gather.hpp"

#include <algorithm>
#include <array>
#include <fstream>
#include <memory>

#include <dlfcn.h>
#include <fmt/format.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "concerto/base/error.hpp"
#include "concerto/base/thread_pool.hpp"
#include "concerto/comm/communicators.hpp"
#include "concerto/comm/trust.hpp"
#include "concerto/compute/backends.hpp"
#include "concerto/data/dataset.hpp"

#include "inputs.hpp"
#include "machine.hpp"
#include "memory.hpp"
#include "train_setup.hpp"

namespace concerto::doctor {
namespace {

std::string number_of(const sockaddr* address) {
  std::array<char, NI_MAXHOST> text{};
  const socklen_t size = address->sa_family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
  return getnameinfo(address, size, text.data(), text.size(), nullptr, 0, NI_NUMERICHOST) == 0 ? text.data() : "";
}

bool is_internet(const sockaddr* address) {
  return address != nullptr && (address->sa_family == AF_INET || address->sa_family == AF_INET6);
}

std::vector<std::string> interfaces_up() {
  std::vector<std::string> found;
  ifaddrs* raw = nullptr;
  if (getifaddrs(&raw) != 0) return found;
  const std::unique_ptr<ifaddrs, decltype(&freeifaddrs)> all(raw, &freeifaddrs);
  for (const ifaddrs* one = all.get(); one != nullptr; one = one->ifa_next) {
    if ((one->ifa_flags & IFF_UP) == 0 || !is_internet(one->ifa_addr)) continue;
    found.push_back(fmt::format("{} {}", one->ifa_name, number_of(one->ifa_addr)));
  }
  return found;
}

std::vector<std::string> addresses_of(const std::string& name) {
  std::vector<std::string> found;
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* raw = nullptr;
  if (getaddrinfo(name.c_str(), nullptr, &hints, &raw) != 0) return found;
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> all(raw, &freeaddrinfo);
  for (const addrinfo* one = all.get(); one != nullptr; one = one->ai_next) {
    if (is_internet(one->ai_addr)) found.push_back(number_of(one->ai_addr));
  }
  return found;
}

/// What a library says of its version by a function that writes it as one number; nothing where it is not there.
std::optional<int> version_of(const char* library, const char* function) {
  void* const handle = dlopen(library, RTLD_LAZY | RTLD_LOCAL);
  if (handle == nullptr) return std::nullopt;
  int version = 0;
  auto* const ask = reinterpret_cast<int (*)(int*)>(dlsym(handle, function));
  const bool is_told = ask != nullptr && ask(&version) == 0;
  dlclose(handle);
  return is_told ? std::optional(version) : std::nullopt;
}

void look_for_gpu(Facts& facts) {
  if (std::ifstream version("/proc/driver/nvidia/version"); version) std::getline(version, facts.driver);
  const auto cuda_text = [](int version) { return fmt::format("{}.{}", version / 1000, version % 1000 / 10); };
  if (const auto cuda = version_of("libcuda.so.1", "cuDriverGetVersion")) facts.cuda_driver = cuda_text(*cuda);
  for (const char* runtime : {"libcudart.so.13", "libcudart.so.12", "libcudart.so"}) {
    const auto cuda = facts.cuda_runtime.empty() ? version_of(runtime, "cudaRuntimeGetVersion") : std::nullopt;
    if (cuda) facts.cuda_runtime = cuda_text(*cuda);
  }
  if (const auto nccl = version_of("libnccl.so.2", "ncclGetVersion")) {
    facts.nccl = fmt::format("{}.{}.{}", *nccl / 10'000, *nccl % 10'000 / 100, *nccl % 100);
  }
  try {
    facts.cuda_obstacle = cuda_obstacle();
  } catch (const Error& error) {
    facts.cuda_obstacle = error.what();
  }
  facts.nccl_obstacle = nccl_obstacle({});
}

/// What reading takes, and where the shapes are known without reading, what training takes. `ranks`: 0 for one process.
void predict_memory(const Config& config, Rank ranks, Facts& facts) {
  const std::filesystem::path data = config.data.train;
  const bool use_values = config.model.objective == "explicit" || config.model.values == "weight";
  const std::uint64_t loading = predict_loading_bytes(data, use_values, config.data.users + config.data.items);
  if (!Dataset::is_prepared(data)) {
    facts.memory_needed = loading;
    facts.memory_of = "reading " + config.data.train;
    return;
  }
  ThreadPool pool(1);
  const Dataset::Opened opened = Dataset::open(data, pool);
  const MemoryShape shape = memory_shape(train_options(config), opened.dataset, std::max(1U, config.compute.threads));
  const std::uint64_t training = predict_host_bytes(config, shape, "cpu", ranks);
  facts.memory_needed = training + (ranks == 0 ? loading : 0);  // a rank's share is in it
  facts.memory_of = fmt::format("training at rank {}", config.model.rank);
}

/// What `check` throws, as text.
template <class Check>
std::string problem_of(const Check& check) {
  try {
    check();
    return {};
  } catch (const std::exception& error) {
    return error.what();
  }
}

void look_at_files(const Config& config, Rank ranks, Facts& facts) {
  facts.data_problem = problem_of([&] {
    require_data(config.data.train, "data.train");
    if (!config.data.test.empty()) require_data(config.data.test, "data.test");
    if (!config.data.validation_file.empty()) require_data(config.data.validation_file, "data.validation");
    predict_memory(config, ranks, facts);
  });
  facts.output_problem = problem_of([&] {
    require_model_target(config.output.model, "output.model");
    if (!config.output.report.empty()) require_file_target(config.output.report, "output.report");
  });
}

}  // namespace

CertificateFacts look_at_certificate(const std::string& pem, const std::string& what) {
  CertificateFacts facts;
  facts.what = what;
  facts.problem = problem_of([&] {
    const Validity validity = validity_of(pem, what);
    const auto hours = [](WallTime time) {
      return std::chrono::duration<double, std::ratio<3600>>(time - std::chrono::system_clock::now()).count();
    };
    facts.hours_until_begin = hours(validity.from);
    facts.hours_left = hours(validity.until);
  });
  return facts;
}

Facts gather(const Config& config, bool has_config, const std::optional<JobEnvironment>& job) {
  Facts facts;
  if (job) {
    facts.rank = job->rank;
    facts.local_size = job->local_size;
  }
  facts.place = place_of_this_process(config.cluster);
  facts.interfaces = interfaces_up();
  facts.name_addresses = addresses_of(facts.place.host);
  rlimit files{};
  if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
    facts.open_files = files.rlim_cur;
    facts.open_files_most = files.rlim_max;
  }
  facts.memory_available = available_memory_bytes();
  facts.memory_held = resident_bytes();
  look_for_gpu(facts);
  if (has_config) look_at_files(config, job ? job->world_size : 0, facts);
  return facts;
}

}  // namespace concerto::doctor
