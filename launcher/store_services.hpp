// What all launchers do once they have a store, whichever it is: admit ranks, and hear of other launchers.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "concerto/comm/store.hpp"

#include "job_services.hpp"
#include "peer_link.hpp"
#include "services.hpp"

namespace concerto {

/// Whoever derives from it makes `client_`, then calls meet_peers(), and leave() before the client is lost.
class StoreServices : public JobServices {
 public:
  [[nodiscard]] std::string job() const final { return job_; }
  /// The incarnation is whose process comes first: nobody else has started this rank.
  [[nodiscard]] RankGrant admit(Rank rank) final;
  void publish_failure(const JobFailure& failure) final;
  void publish_ended() final;
  void publish_left() final;
  [[nodiscard]] int wake_descriptor() const noexcept final;
  [[nodiscard]] std::vector<PeerEvent> take_events() final;

 protected:
  /// To be read from a descriptor; none where ranks need none.
  [[nodiscard]] virtual Descriptor credentials_of(Rank rank, Incarnation incarnation) = 0;
  /// When all launchers have been there, perhaps again and again.
  virtual void on_all_joined() {}

  void meet_peers(const ServiceOptions& options, const std::string& store_words);
  void leave() noexcept;

  std::string job_;
  std::unique_ptr<Store> client_;
  std::unique_ptr<PeerLink> peers_;
};

/// A text that a child can read from a descriptor and nobody finds in a file system.
[[nodiscard]] Descriptor in_memory(const std::string& text);

/// The kinds of services, by store; make_job_services chooses.
[[nodiscard]] std::unique_ptr<JobServices> make_embedded_services(const ServiceOptions& options);
[[nodiscard]] std::unique_ptr<JobServices> make_etcd_services(const ServiceOptions& options);

}  // namespace concerto
