// What the launchers of a job tell each other through its store: who is there, whose ranks have ended, and which
// failure was the first.
//
// Keys: "launchers/I/alive" lives as long as launcher I keeps its lease; "launchers/I/ended" and "launchers/I/left" are
// its words; "launchers/failure" is written once, by whoever comes first.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "concerto/comm/store.hpp"

#include "job_services.hpp"

namespace concerto {

struct PeerLinkOptions {
  std::uint32_t node = 0;
  std::uint32_t nodes = 1;
  std::chrono::milliseconds lost_after{10'000};   ///< a launcher that has not been heard of for so long is lost
  std::chrono::milliseconds join_limit{300'000};  ///< one that has not come after so long is lost
  std::string store = "in launcher 0";            ///< for messages: where the store is
};

/// Two threads: one writes, one watches. Publishing is in the order of the calls.
class PeerLink {
 public:
  /// `store` outlives it. Error{kIo} where the store does not answer.
  PeerLink(Store& store, const PeerLinkOptions& options);
  /// Writes what is still to be published, for as long as the store takes, and gives the lease back.
  ~PeerLink();
  PeerLink(const PeerLink&) = delete;
  PeerLink& operator=(const PeerLink&) = delete;

  void publish_failure(const JobFailure& failure);
  void publish_ended();
  void publish_left();
  /// Readable when take_events() has something.
  [[nodiscard]] int wake_descriptor() const noexcept;
  [[nodiscard]] std::vector<PeerEvent> take_events();
  /// Whether every launcher has been there.
  [[nodiscard]] bool have_all_joined() const noexcept;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

[[nodiscard]] std::string to_json(const JobFailure& failure);
/// Error{kCorrupt} for what to_json did not write.
[[nodiscard]] JobFailure parse_job_failure(const std::string& json);

}  // namespace concerto
