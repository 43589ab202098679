// Connecting, for those who have nothing else to do meanwhile.
#include <future>
#include <utility>

#include "concerto/comm/channel.hpp"

namespace concerto {

Result<std::shared_ptr<Channel>> Network::connect(const std::string& address, const Identity& expected,
                                                  ChannelEvents events, std::chrono::milliseconds limit) {
  // Shared: the one who keeps it may still be at it when the other has read it.
  const auto promise = std::make_shared<std::promise<Result<std::shared_ptr<Channel>>>>();
  auto future = promise->get_future();
  start_connect(address, expected, std::move(events), limit,
                [promise](Result<std::shared_ptr<Channel>> result) { promise->set_value(std::move(result)); });
  return future.get();
}

}  // namespace concerto
