// What a job needs beyond processes: a store where ranks meet, credentials for each of them, and word from the other
// launchers. The launcher proper knows only this interface; main chooses what is behind it.
#pragma once

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "concerto/base/ids.hpp"

#include "descriptor.hpp"
#include "supervisor.hpp"

namespace concerto {

/// What a rank is given before it starts.
struct RankGrant {
  Incarnation incarnation = 1;
  Descriptor credentials;  ///< to read its credentials from, or none
};

// -- what other launchers have done, in the order of the store --
struct PeerEnded {
  std::uint32_t node = 0;
};
struct PeerLeft {
  std::uint32_t node = 0;
};
struct PeerLost {
  std::uint32_t node = 0;
  std::string evidence;
};
/// The first failure of the job, whoever's.
struct JobFailed {
  JobFailure failure;
};
using PeerEvent = std::variant<PeerEnded, PeerLeft, PeerLost, JobFailed>;

class JobServices {
 public:
  virtual ~JobServices() = default;
  /// Value of CONCERTO_STORE; empty: there is none.
  [[nodiscard]] virtual std::string store() const = 0;
  /// Before each start of a rank. Error{kIo} where the store gives none.
  [[nodiscard]] virtual RankGrant admit(Rank rank) = 0;

  // Publishing never waits; what cannot be published is lost, and others see this launcher's lease end.
  virtual void publish_failure(const JobFailure& failure) = 0;
  virtual void publish_ended() = 0;
  virtual void publish_left() = 0;

  /// Readable when take_events() has something; -1: never.
  [[nodiscard]] virtual int wake_descriptor() const noexcept = 0;
  [[nodiscard]] virtual std::vector<PeerEvent> take_events() = 0;
};

/// For one launcher whose ranks do not meet in a store.
class NoServices final : public JobServices {
 public:
  [[nodiscard]] std::string store() const override { return {}; }
  [[nodiscard]] RankGrant admit(Rank /*rank*/) override { return {}; }
  void publish_failure(const JobFailure& /*failure*/) override {}
  void publish_ended() override {}
  void publish_left() override {}
  [[nodiscard]] int wake_descriptor() const noexcept override { return -1; }
  [[nodiscard]] std::vector<PeerEvent> take_events() override { return {}; }
};

}  // namespace concerto
