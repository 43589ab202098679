// A group of one.
#include "concerto/base/check.hpp"

#include "transport.hpp"

namespace concerto {
namespace {

class NoTransport final : public Transport {
 public:
  [[nodiscard]] std::unique_ptr<Link> link(Rank) override {
    CONCERTO_CHECK(false, "a group of one rank has no links");
    return nullptr;
  }
  [[nodiscard]] std::vector<Rank> lost_peers() override { return {}; }
  void close() noexcept override {}
};

}  // namespace

std::unique_ptr<Transport> no_transport() {
  return std::make_unique<NoTransport>();
}

}  // namespace concerto
