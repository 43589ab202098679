// Where the ranks of an inproc group meet: messages posted by one wait here for the other's.
#pragma once

#include <compare>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "concerto/base/ids.hpp"
#include "concerto/comm/communicators.hpp"

#include "transport.hpp"

namespace concerto {

class InprocLink;

/// One lock for the whole group: it is for one process, and a copy of a segment is short. Whoever posts the second half
/// of a message copies it, under the lock, so that nothing is copied once a link is gone.
class InprocHub final : public InprocFaults {
 public:
  explicit InprocHub(Rank size) : is_paused_(size), is_cut_(size) {}

  void pause(Rank rank) override;
  void resume(Rank rank) override;
  void cut(Rank rank) override;

  void add(InprocLink& link);
  void remove(InprocLink& link);
  [[nodiscard]] LinkStatus post_send(InprocLink& link, Stream stream, std::span<const std::byte> bytes);
  [[nodiscard]] LinkStatus post_receive(InprocLink& link, Stream stream, std::span<std::byte> bytes);
  [[nodiscard]] LinkStatus wait(InprocLink& link, std::size_t& complete);
  void interrupt(InprocLink& link);
  [[nodiscard]] std::vector<Rank> lost_peers(Rank self);

 private:
  struct Sent {
    InprocLink* link;
    std::span<const std::byte> bytes;
  };
  struct Place {
    InprocLink* link;
    std::span<std::byte> bytes;
  };
  struct Route {
    Rank from;
    Rank to;
    Stream stream;
    friend auto operator<=>(const Route&, const Route&) = default;
  };
  struct Meeting {
    std::deque<Sent> sent;
    std::deque<Place> places;
  };
  void match(const Route& route, Meeting& meeting);
  [[nodiscard]] bool is_lost(const InprocLink& link) const;

  std::mutex mutex_;
  std::vector<bool> is_paused_;
  std::vector<bool> is_cut_;
  std::vector<InprocLink*> links_;
  std::map<Route, Meeting> meetings_;
};

class InprocLink final : public Link {
 public:
  InprocLink(std::shared_ptr<InprocHub> hub, Rank self, Rank peer) : self_(self), peer_(peer), hub_(std::move(hub)) {
    hub_->add(*this);
  }
  ~InprocLink() override { hub_->remove(*this); }
  InprocLink(const InprocLink&) = delete;
  InprocLink& operator=(const InprocLink&) = delete;

  [[nodiscard]] LinkStatus post_send(Stream stream, std::span<const std::byte> bytes) override {
    return hub_->post_send(*this, stream, bytes);
  }
  [[nodiscard]] LinkStatus post_receive(Stream stream, std::span<std::byte> bytes) override {
    return hub_->post_receive(*this, stream, bytes);
  }
  [[nodiscard]] LinkStatus wait_send() override { return hub_->wait(*this, sent_); }
  [[nodiscard]] LinkStatus wait_receive() override { return hub_->wait(*this, received_); }
  void interrupt() noexcept override { hub_->interrupt(*this); }
  [[nodiscard]] std::string loss() const override { return "it was cut or given up"; }

 private:
  friend class InprocHub;
  const Rank self_;
  const Rank peer_;
  const std::shared_ptr<InprocHub> hub_;
  // Below: guarded by the hub's lock.
  std::size_t sent_ = 0;      ///< complete, not waited for
  std::size_t received_ = 0;  ///< complete, not waited for
  bool is_interrupted_ = false;
  std::condition_variable changed_;
};

}  // namespace concerto
