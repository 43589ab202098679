// The network of a process: one thread, over wires of one kind.
#pragma once

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <boost/asio/executor_work_guard.hpp>

#include "concerto/comm/channel.hpp"
#include "concerto/comm/networks.hpp"

#include "connection.hpp"

namespace concerto::tls {

struct Accepting;

class StreamNetwork final : public Network {
 public:
  StreamNetwork(const std::string& job, WireMaker make_wire, const NetworkLimits& limits,
                StrangerHandler on_stranger = {});
  ~StreamNetwork() override;
  StreamNetwork(const StreamNetwork&) = delete;
  StreamNetwork& operator=(const StreamNetwork&) = delete;

  [[nodiscard]] std::unique_ptr<Listener> listen(
      const std::string& address, std::function<ChannelEvents(std::shared_ptr<Channel>)> on_accept) override;
  void start_connect(const std::string& address, const Identity& expected, ChannelEvents events,
                     std::chrono::milliseconds limit, Connected done) override;

 private:
  struct Attempt;
  void accept_next(const std::shared_ptr<Accepting>& accepting);
  void adopt(const std::shared_ptr<Accepting>& accepting, const std::shared_ptr<Connection>& connection);
  std::shared_ptr<Connection> new_connection();

  const std::string job_;
  const WireMaker make_wire_;
  const NetworkLimits limits_;
  const StrangerHandler on_stranger_;
  std::shared_ptr<Core> core_ = std::make_shared<Core>();
  asio::executor_work_guard<asio::io_context::executor_type> work_ = asio::make_work_guard(core_->io);
  // On the network's thread alone.
  std::vector<std::weak_ptr<Connection>> connections_;
  std::vector<std::weak_ptr<Accepting>> accepting_;
  std::vector<std::weak_ptr<Attempt>> attempts_;
  std::thread thread_;
};

}  // namespace concerto::tls
