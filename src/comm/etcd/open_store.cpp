// From a store's address to a client that is known to work, with errors for whoever configured it.
#include <algorithm>
#include <string_view>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "concerto/base/error.hpp"
#include "concerto/comm/stores.hpp"

#include "cluster.hpp"

namespace concerto {
namespace {

std::vector<std::string> hosts_and_ports(std::string_view address) {
  constexpr std::string_view kScheme = "etcd://";
  if (address.starts_with(kScheme)) address.remove_prefix(kScheme.size());
  std::vector<std::string> parts;
  for (;;) {
    const std::size_t comma = address.find(',');
    parts.emplace_back(address.substr(0, comma));
    if (comma == std::string_view::npos) return parts;
    address.remove_prefix(comma + 1);
  }
}

bool says(const Failure& failure, std::string_view words) {
  return failure.message.find(words) != std::string::npos;
}

Error explained(const Failure& failure, const EtcdConfig& config, const StorePlaces& places) {
  const auto error = [&](ErrorCode code, const std::string& what, const std::string& where) {
    return Error(code, fmt::format("{}: {}", what, failure.message), where);
  };
  if (config.credentials.empty() && says(failure, "user name is empty")) {
    return error(ErrorCode::kBadInput, "etcd asks for a user and a password, and no file is named", places.credentials);
  }
  if (says(failure, "permission denied")) {
    return error(ErrorCode::kBadInput, fmt::format("etcd's user may not use /concerto/{}/", config.job),
                 places.credentials);
  }
  if (failure.kind == FailureKind::kRefused && says(failure, "authentication")) {
    return error(ErrorCode::kBadInput,
                 fmt::format("etcd refuses the user or the password in {}", config.credentials.string()),
                 places.credentials);
  }
  const std::string endpoints = fmt::format("{}", fmt::join(config.endpoints, ", "));
  if (failure.kind == FailureKind::kRefused) {
    return error(ErrorCode::kIo, fmt::format("etcd at {} refuses", endpoints), places.address);
  }
  return error(ErrorCode::kIo, fmt::format("etcd at {} cannot be reached", endpoints), places.address);
}

}  // namespace

EtcdConfig etcd_config(const std::string& address, const std::string& job, const StoreFiles& files,
                       bool is_trusted_fabric) {
  EtcdConfig config;
  config.job = job;
  config.authority = files.authority;
  config.certificate = files.certificate;
  config.private_key = files.private_key;
  config.credentials = files.credentials;
  const std::vector<std::string> parts = hosts_and_ports(address);
  const bool is_here =
      std::ranges::all_of(parts, [](const std::string& part) { return etcd::is_this_machine("//" + part); });
  const bool is_plain = files.authority.empty() && files.certificate.empty() && (is_here || is_trusted_fabric);
  for (const std::string& part : parts) config.endpoints.push_back((is_plain ? "http://" : "https://") + part);
  return config;
}

std::unique_ptr<Store> open_etcd_store(const EtcdConfig& config, const StorePlaces& places) {
  std::unique_ptr<Store> store = make_etcd_store(config);
  const auto answer = store->get("job/open");
  if (!answer) throw explained(answer.failure(), config, places);
  return store;
}

}  // namespace concerto
