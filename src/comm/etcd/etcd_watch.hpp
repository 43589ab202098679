// A watch of etcd's, opened anew wherever it was lost. It has no thread: next() reads the stream.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "concerto/comm/store.hpp"

#include "cluster.hpp"

namespace concerto::etcd {

/// All keys that begin with `prefix` (not empty), whole, as of one revision. kRefused beyond kMaxStoreListing.
[[nodiscard]] Result<Store::Listing> list_keys(Cluster& cluster, const std::string& prefix, Clock::time_point deadline);

class EtcdWatch final : public StoreWatch {
 public:
  /// Keys are told without their first `hidden` bytes, which `prefix` begins with.
  EtcdWatch(std::shared_ptr<Cluster> cluster, std::string prefix, std::size_t hidden, Revision after);
  [[nodiscard]] Result<Batch> next(std::chrono::milliseconds limit) override;
  void interrupt() noexcept override { is_interrupted_ = true; }

 private:
  /// Reads a line into the batch. A failure ends the watch.
  [[nodiscard]] Result<void> take(const std::string& line, Batch& batch, Clock::time_point deadline);
  [[nodiscard]] Result<void> take_cancellation(const WatchAnswer& answer, Batch& batch, Clock::time_point deadline);
  [[nodiscard]] Result<void> take_refusal(const std::string& reason);
  [[nodiscard]] Result<void> open(Clock::time_point deadline);
  [[nodiscard]] Result<void> reset(Batch& batch, Clock::time_point deadline);
  void lose_stream(Clock::time_point deadline);

  std::shared_ptr<Cluster> cluster_;
  std::string prefix_;
  std::size_t hidden_;
  Revision after_;
  std::atomic<bool> is_interrupted_{false};
  bool must_reset_ = false;
  std::size_t refusals_ = 0;  ///< as Cluster::is_refused() counts them
  bool was_refused_ = false;  ///< for its token, and nothing has been told since
  std::chrono::milliseconds next_pause_;
  std::unique_ptr<HttpStream> stream_;
};

}  // namespace concerto::etcd
