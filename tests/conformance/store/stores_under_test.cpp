// The embedded store on a network of this process, and real etcds: a plain one, and one with TLS, client certificates
// and tokens that live two seconds.
#include "stores_under_test.hpp"

#include <fmt/format.h>

#include "concerto/base/check.hpp"

#include "support/etcd_process.hpp"
#include "support/inproc_network.hpp"

namespace concerto::test {
namespace {

std::string next_job() {
  static int count = 0;
  return fmt::format("job-{}", ++count);
}

// ---- Embedded -------------------------------------------------------------------------------------------------------

class EmbeddedSite final : public StoreSite {
 public:
  EmbeddedSite() : server_network_(hub_.network(server_id_)), server_(make_server()), address_(server_->address()) {}

  using StoreSite::client;
  [[nodiscard]] std::unique_ptr<Store> client(const StoreLimits& limits) override {
    networks_.push_back(hub_.network({server_id_.job, Role::kLauncher, ++clients_, 0}));
    return make_embedded_store(*networks_.back(), address_, server_id_, limits);
  }
  [[nodiscard]] std::unique_ptr<Store> client_of_another_job() override { return nullptr; }
  void interrupt() override {
    hub_.set_reachable(address_, false);
    hub_.cut(address_);
  }
  void restore() override { hub_.set_reachable(address_, true); }
  void freeze() override { hub_.set_silent(address_, true); }
  void thaw() override {
    hub_.set_silent(address_, false);
    hub_.cut(address_);
  }
  void compact() override {
    const auto store = client();
    for (std::size_t i = 0; i <= kHistory; ++i) CONCERTO_CHECK(store->put("compaction", "", 0).ok(), "a change");
  }

 private:
  static constexpr std::size_t kHistory = 300;
  std::unique_ptr<StoreServer> make_server() {
    StoreServerLimits limits;
    limits.history_events = kHistory;
    return make_embedded_store_server(*server_network_, "127.0.0.1:0", server_id_.job, limits);
  }

  InprocHub hub_;
  Identity server_id_{next_job(), Role::kLauncher, 0, 0};
  std::unique_ptr<Network> server_network_;
  std::unique_ptr<StoreServer> server_;
  std::string address_;
  std::uint32_t clients_ = 0;
  std::vector<std::unique_ptr<Network>> networks_;
};

// ---- etcd -----------------------------------------------------------------------------------------------------------

constexpr EtcdProcess::Options kPlain{};
constexpr EtcdProcess::Options kSecure{true, 2};

/// One process serves all tests of a case; it ends with the test program.
template <const EtcdProcess::Options& kOptions>
std::unique_ptr<EtcdProcess>& shared_process() {
  static std::unique_ptr<EtcdProcess> process;
  return process;
}

class EtcdSite final : public StoreSite {
 public:
  EtcdSite(EtcdProcess& process, bool is_secure) : process_(process), is_secure_(is_secure) {}

  using StoreSite::client;
  [[nodiscard]] std::unique_ptr<Store> client(const StoreLimits& limits) override { return client_of(job_, limits); }
  [[nodiscard]] std::unique_ptr<Store> client_of_another_job() override {
    return client_of(job_ + "0", {.call = std::chrono::milliseconds{20'000}});
  }
  void interrupt() override { process_.kill(); }
  void restore() override { process_.start(); }
  void freeze() override { process_.freeze(); }
  void thaw() override { process_.thaw(); }
  void compact() override { process_.compact(); }

 private:
  [[nodiscard]] std::unique_ptr<Store> client_of(const std::string& job, const StoreLimits& limits) {
    EtcdConfig config;
    config.endpoints = {process_.endpoint()};
    config.job = job;
    config.limits = limits;
    if (is_secure_) {
      config.authority = process_.certificates().authority;
      config.certificate = process_.certificates().client_certificate;
      config.private_key = process_.certificates().client_key;
      config.credentials = process_.login();
      config.token_renewal = std::chrono::milliseconds{1'000};
    }
    return make_etcd_store(config);
  }

  EtcdProcess& process_;
  bool is_secure_;
  std::string job_ = next_job();
};

std::unique_ptr<StoreSite> make_plain_etcd() {
  auto& process = shared_process<kPlain>();
  if (!process) process = std::make_unique<EtcdProcess>(kPlain);
  return std::make_unique<EtcdSite>(*process, false);
}

std::unique_ptr<StoreSite> make_secure_etcd() {
  auto& process = shared_process<kSecure>();
  if (!process) {
    process = std::make_unique<EtcdProcess>(kSecure);
    process->enable_authentication();
  }
  return std::make_unique<EtcdSite>(*process, true);
}

}  // namespace

std::vector<StoreCase> store_cases() {
  return {{"Embedded", [] { return std::string(); },
           []() -> std::unique_ptr<StoreSite> { return std::make_unique<EmbeddedSite>(); }},
          {"Etcd", [] { return EtcdProcess::why_not(kPlain); }, make_plain_etcd},
          {"EtcdSecure", [] { return EtcdProcess::why_not(kSecure); }, make_secure_etcd}};
}

}  // namespace concerto::test
