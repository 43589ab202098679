// A job whose store is etcd: no launcher serves anything, and etcd's own users are who may do what.
#include "concerto/base/error.hpp"
#include "concerto/comm/stores.hpp"

#include "job_claim.hpp"
#include "store_services.hpp"

namespace concerto {
namespace {

class EtcdServices final : public StoreServices {
 public:
  explicit EtcdServices(const ServiceOptions& options) : address_(options.assignment.rendezvous) {
    const Assignment& assignment = options.assignment;
    job_ = assignment.job;
    client_ = open_etcd_store(etcd_config(address_, job_, options.store_files, options.is_trusted_fabric),
                              {"--rendezvous", "--store-credentials"});
    if (assignment.node_rank == 0) {
      ClaimLimits limits;
      limits.time_to_live = options.lost_after;
      limits.patience = 2 * options.lost_after;
      limits.pause = options.pause;
      claim_ = std::make_unique<JobClaim>(*client_, assignment, limits);
    } else {
      await_claim(*client_, assignment, options.join_limit, options.pause);
    }
    meet_peers(options, client_->description());
  }
  ~EtcdServices() override {
    peers_.reset();
    claim_.reset();
    leave();
  }
  EtcdServices(const EtcdServices&) = delete;
  EtcdServices& operator=(const EtcdServices&) = delete;

  [[nodiscard]] std::string store() const override { return address_; }

 private:
  /// Ranks show etcd what the configuration or the launcher's options name.
  Descriptor credentials_of(Rank /*rank*/, Incarnation /*incarnation*/) override { return {}; }
  void on_all_joined() override {
    if (claim_) claim_->stop_announcing();
  }

  std::string address_;
  std::unique_ptr<JobClaim> claim_;
};

}  // namespace

std::unique_ptr<JobServices> make_etcd_services(const ServiceOptions& options) {
  return std::make_unique<EtcdServices>(options);
}

}  // namespace concerto
