// Matching of messages in memory.
#include "inproc_hub.hpp"

#include <cstring>

#include "concerto/base/check.hpp"

namespace concerto {

void InprocHub::pause(Rank rank) {
  const std::lock_guard lock(mutex_);
  is_paused_.at(rank) = true;
}

void InprocHub::resume(Rank rank) {
  const std::lock_guard lock(mutex_);
  is_paused_.at(rank) = false;
  for (auto& [route, meeting] : meetings_) match(route, meeting);
}

void InprocHub::cut(Rank rank) {
  const std::lock_guard lock(mutex_);
  is_cut_.at(rank) = true;
  for (InprocLink* link : links_) link->changed_.notify_all();
}

void InprocHub::add(InprocLink& link) {
  const std::lock_guard lock(mutex_);
  links_.push_back(&link);
}

void InprocHub::remove(InprocLink& link) {
  const std::lock_guard lock(mutex_);
  std::erase(links_, &link);
  for (auto& [route, meeting] : meetings_) {
    std::erase_if(meeting.sent, [&](const Sent& sent) { return sent.link == &link; });
    std::erase_if(meeting.places, [&](const Place& place) { return place.link == &link; });
  }
}

bool InprocHub::is_lost(const InprocLink& link) const {
  return is_cut_[link.self_] || is_cut_[link.peer_];
}

void InprocHub::match(const Route& route, Meeting& meeting) {
  if (is_paused_[route.from] || is_paused_[route.to] || is_cut_[route.from] || is_cut_[route.to]) return;
  for (; !meeting.sent.empty() && !meeting.places.empty(); meeting.sent.pop_front(), meeting.places.pop_front()) {
    const Sent& sent = meeting.sent.front();
    const Place& place = meeting.places.front();
    CONCERTO_CHECK(sent.bytes.size() == place.bytes.size(), "a message meets a place of another size");
    if (!sent.bytes.empty()) std::memcpy(place.bytes.data(), sent.bytes.data(), sent.bytes.size());
    ++sent.link->sent_;
    ++place.link->received_;
    sent.link->changed_.notify_all();
    place.link->changed_.notify_all();
  }
}

LinkStatus InprocHub::post_send(InprocLink& link, Stream stream, std::span<const std::byte> bytes) {
  const std::lock_guard lock(mutex_);
  if (is_lost(link)) return LinkStatus::kLost;
  const Route route{link.self_, link.peer_, stream};
  Meeting& meeting = meetings_[route];
  meeting.sent.push_back({&link, bytes});
  match(route, meeting);
  return LinkStatus::kDone;
}

LinkStatus InprocHub::post_receive(InprocLink& link, Stream stream, std::span<std::byte> bytes) {
  const std::lock_guard lock(mutex_);
  if (is_lost(link)) return LinkStatus::kLost;
  const Route route{link.peer_, link.self_, stream};
  Meeting& meeting = meetings_[route];
  meeting.places.push_back({&link, bytes});
  match(route, meeting);
  return LinkStatus::kDone;
}

LinkStatus InprocHub::wait(InprocLink& link, std::size_t& complete) {
  std::unique_lock lock(mutex_);
  link.changed_.wait(lock, [&] { return complete > 0 || link.is_interrupted_ || is_lost(link); });
  if (link.is_interrupted_) {
    link.is_interrupted_ = false;
    return LinkStatus::kInterrupted;
  }
  if (complete == 0) return LinkStatus::kLost;
  --complete;
  return LinkStatus::kDone;
}

void InprocHub::interrupt(InprocLink& link) {
  const std::lock_guard lock(mutex_);
  link.is_interrupted_ = true;
  link.changed_.notify_all();
}

std::vector<Rank> InprocHub::lost_peers(Rank self) {
  const std::lock_guard lock(mutex_);
  std::vector<Rank> lost;
  for (Rank rank = 0; rank < is_cut_.size(); ++rank) {
    if (rank != self && is_cut_[rank]) lost.push_back(rank);
  }
  return lost;
}

}  // namespace concerto
