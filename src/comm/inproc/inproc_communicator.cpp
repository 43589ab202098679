// Communicators of one process's threads over a hub in memory.
#include <memory>
#include <utility>

#include "concerto/base/check.hpp"
#include "concerto/comm/communicators.hpp"

#include "inproc_hub.hpp"
#include "scheduled_communicator.hpp"

namespace concerto {
namespace {

class InprocTransport final : public Transport {
 public:
  InprocTransport(std::shared_ptr<InprocHub> hub, Rank self) : hub_(std::move(hub)), self_(self) {}
  [[nodiscard]] std::unique_ptr<Link> link(Rank peer) override {
    return std::make_unique<InprocLink>(hub_, self_, peer);
  }
  [[nodiscard]] std::vector<Rank> lost_peers() override { return hub_->lost_peers(self_); }
  void close() noexcept override { hub_->cut(self_); }

 private:
  std::shared_ptr<InprocHub> hub_;
  Rank self_;
};

}  // namespace

InprocGroup make_inproc_group(Rank size, const CommLimits& limits) {
  CONCERTO_CHECK(size > 0, "a group of no ranks");
  const auto hub = std::make_shared<InprocHub>(size);
  InprocGroup group;
  for (Rank rank = 0; rank < size; ++rank) {
    group.ranks.push_back(std::make_unique<ScheduledCommunicator>(
        "inproc", rank, size, 0, std::make_unique<InprocTransport>(hub, rank), limits));
  }
  group.faults = hub;
  return group;
}

}  // namespace concerto
