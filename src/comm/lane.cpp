// Executing schedules, one after another.
#include "lane.hpp"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "concerto/base/check.hpp"

#include "threads.hpp"

namespace concerto {
namespace {

/// Places prepared for messages that have not come yet: enough that the other side never waits for one.
constexpr std::size_t kReceivesAhead = 8;
/// Messages offered to peers and not yet taken, counted in the schedule's order.
constexpr std::size_t kSendsAhead = 64;

}  // namespace

/// One operation in progress.
///
/// While there is anything to receive it waits for receives only: a rank that waits for a send has received all it
/// will, so that no circle of ranks can wait for each other's receives to be prepared.
class Execution {
 public:
  Execution(Lane& lane, const Work& work) : lane_(lane), work_(work), plan_(work.schedule) {}

  /// False: the communicator has failed, by this or otherwise.
  [[nodiscard]] bool run() {
    perform(work_.before);
    if (!open_links() || !offer_sends(0) || !receive_all() || !check_all_headers() || !finish_sends()) return false;
    perform(work_.after);
    return true;
  }

 private:
  struct Partner {
    Link* link = nullptr;
    HeaderBytes received{};
    bool awaits_header = false;  ///< it has a place
    bool owes_header = false;    ///< this rank's is on its way
    bool has_agreed = false;
  };

  static void perform(const std::vector<Copy>& copies) {
    for (const Copy& copy : copies) std::memmove(copy.to, copy.from, copy.bytes);
  }

  [[nodiscard]] bool open_links() {
    mine_ = encode(work_.header);
    // All places first: map nodes do not move, so the headers' memory stays where it is.
    for (const Rank peer : plan_.peers) {
      Partner& partner = partners_[peer];
      partner.link = lane_.link_to(peer);
      if (partner.link == nullptr) return false;
      if (!is_fine(peer, partner.link->post_receive(lane_.streams_.header_in, partner.received))) return false;
      partner.awaits_header = true;
      if (!is_fine(peer, partner.link->post_send(lane_.streams_.header_out, mine_))) return false;
      partner.owes_header = true;
      lane_.book_.count_header(kHeaderBytes);
    }
    return true;
  }

  /// Offers what may go after `complete` receives.
  [[nodiscard]] bool offer_sends(std::size_t complete) {
    const std::size_t most = std::min(plan_.sends.size(), complete + kSendsAhead);
    for (; offered_ < most && plan_.sends[offered_].after <= complete; ++offered_) {
      if (!offer(plan_.sends[offered_])) return false;
    }
    return true;
  }

  [[nodiscard]] bool offer(const Transfer& send) {
    return is_fine(send.peer, partners_.at(send.peer).link->post_send(lane_.streams_.data,
                                                                      {work_.give + send.offset, send.bytes}));
  }

  [[nodiscard]] bool receive_all() {
    std::size_t prepared = 0;
    for (std::size_t complete = 0; complete < plan_.receives.size();) {
      for (; prepared < std::min(plan_.receives.size(), complete + kReceivesAhead); ++prepared) {
        const Transfer& receive = plan_.receives[prepared];
        if (!check_header(receive.peer)) return false;
        if (!is_fine(receive.peer,
                     partners_.at(receive.peer)
                         .link->post_receive(lane_.streams_.data, {work_.fill + receive.offset, receive.bytes}))) {
          return false;
        }
      }
      const Transfer& receive = plan_.receives[complete];
      if (!wait(receive.peer, &Link::wait_receive)) return false;
      lane_.book_.count_received(receive.bytes);
      work_.record->add_moved(receive.bytes);
      if (!offer_sends(++complete)) return false;
    }
    return true;
  }

  /// A neighbour's only where something is awaited from it; whoever is none may be silent where ranks do not agree.
  [[nodiscard]] bool check_header(Rank peer) {
    const std::vector<Rank>& neighbours = plan_.neighbours;
    const bool is_neighbour = std::ranges::find(neighbours, peer) != neighbours.end();
    return (is_neighbour || std::ranges::all_of(neighbours, [&](Rank other) { return check_one_header(other); })) &&
           check_one_header(peer);
  }

  [[nodiscard]] bool check_one_header(Rank peer) {
    return partners_.at(peer).has_agreed || (wait(peer, &Link::wait_receive) && judge_header(peer));
  }

  [[nodiscard]] bool judge_header(Rank peer) {
    Partner& partner = partners_.at(peer);
    partner.awaits_header = false;
    if (const auto failure = disagreement(work_.header, partner.received, peer)) {
      // It has a place for this rank's header, since its own has come: it is to see the same, not an ended connection.
      if (partner.owes_header) (void)partner.link->wait_send();
      lane_.fail_(*work_.record, failure->kind, failure->message, peer);
      return false;
    }
    return partner.has_agreed = true;
  }

  [[nodiscard]] bool check_all_headers() {
    return std::ranges::all_of(plan_.peers, [&](Rank peer) { return check_header(peer); });
  }

  /// Waits for everything sent, headers first, offering the rest within the window.
  [[nodiscard]] bool finish_sends() {
    for (const Rank peer : plan_.peers) {
      if (!wait(peer, &Link::wait_send)) return false;
      partners_.at(peer).owes_header = false;
    }
    for (std::size_t complete = 0; complete < plan_.sends.size(); ++complete) {
      for (; offered_ < std::min(plan_.sends.size(), complete + kSendsAhead); ++offered_) {
        if (!offer(plan_.sends[offered_])) return false;
      }
      const Transfer& send = plan_.sends[complete];
      if (!wait(send.peer, &Link::wait_send)) return false;
      lane_.book_.count_sent(send.bytes);
      work_.record->add_moved(send.bytes);
    }
    return true;
  }

  [[nodiscard]] bool wait(Rank peer, LinkStatus (Link::*wait_one)()) {
    work_.record->set_awaited(peer);
    const bool fine = is_fine(peer, (partners_.at(peer).link->*wait_one)());
    if (fine) work_.record->set_awaited(kNoRank);
    return fine;
  }

  [[nodiscard]] bool is_fine(Rank peer, LinkStatus status) {
    if (status == LinkStatus::kDone) return true;
    if (status == LinkStatus::kLost && !tells_why(peer)) {
      const std::string why = partners_.at(peer).link->loss();
      lane_.fail_(*work_.record, FailureKind::kLost,
                  "the connection with rank " + std::to_string(peer) + " ended: " + why, peer);
    }
    return false;
  }

  /// Who disagrees gives up at once: its header, which came before, says more than that it is gone.
  [[nodiscard]] bool tells_why(Rank peer) {
    Partner& partner = partners_.at(peer);
    return partner.awaits_header && partner.link->wait_receive() == LinkStatus::kDone && !judge_header(peer);
  }

  Lane& lane_;
  const Work& work_;
  const Schedule& plan_;
  HeaderBytes mine_{};
  std::map<Rank, Partner> partners_;
  std::size_t offered_ = 0;
};

Lane::Lane(Transport& transport, OperationBook& book, LaneStreams streams,
           std::function<void(const OperationRecord&, FailureKind, const std::string&, Rank)> fail)
    : transport_(transport),
      book_(book),
      streams_(streams),
      fail_(std::move(fail)),
      thread_(start_thread([this] { run(); })) {}

Lane::~Lane() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
  }
  thread_.join();
}

void Lane::push(Work work) {
  const std::lock_guard lock(mutex_);
  queue_.push_back(std::move(work));
  changed_.notify_all();
}

void Lane::interrupt() noexcept {
  const std::lock_guard lock(mutex_);
  interrupted_ = true;
  for (const auto& [peer, link] : links_) link->interrupt();
  changed_.notify_all();
}

void Lane::await_quiet() noexcept {
  // In the lane's own thread nothing is being executed: it is telling of an end.
  if (std::this_thread::get_id() == thread_.get_id()) return give_up_links();
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return quiet_; });
}

Link* Lane::link_to(Rank peer) {
  const std::lock_guard lock(mutex_);
  if (interrupted_) return nullptr;
  std::unique_ptr<Link>& link = links_[peer];
  if (!link) link = transport_.link(peer);
  return link.get();
}

void Lane::give_up_links() {
  const std::lock_guard lock(mutex_);
  links_.clear();
  interrupted_ = true;  // nothing more is executed
  quiet_ = true;
  changed_.notify_all();
}

bool Lane::execute(const Work& work) {
  Execution execution(*this, work);
  if (execution.run()) return true;
  give_up_links();  // before the execution ends: headers that are still awaited have their places in it
  return false;
}

void Lane::run() {
  for (;;) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return stopping_ || !queue_.empty() || (interrupted_ && !quiet_); });
    if (interrupted_ && !quiet_) {
      lock.unlock();
      give_up_links();
      continue;
    }
    if (queue_.empty()) return;  // stopping
    Work work = std::move(queue_.front());
    queue_.pop_front();
    const bool is_over = interrupted_;
    lock.unlock();
    if (!is_over && execute(work)) {
      book_.complete(work.record);
      continue;
    }
    // Somebody has failed and is interrupting all lanes; the links go first, so that the operation's memory is free.
    CONCERTO_CHECK(book_.failed(), "an operation ends early and nothing has failed");
    give_up_links();
    book_.drop(work.record);
  }
}

}  // namespace concerto
