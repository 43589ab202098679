// Admission by compare-and-swap; peers by their link.
#include "store_services.hpp"

#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include "concerto/base/error.hpp"

namespace concerto {
namespace {

constexpr Incarnation kFirstLife = 1;

}  // namespace

Descriptor in_memory(const std::string& text) {
  Descriptor memory(::memfd_create("concerto-credentials", MFD_CLOEXEC));
  if (!memory || ::write(memory.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()) ||
      ::lseek(memory.get(), 0, SEEK_SET) != 0) {
    throw io_error("be kept in memory", "credentials of a rank");
  }
  return memory;
}

RankGrant StoreServices::admit(Rank rank) {
  const auto written = client_->compare_and_swap(fmt::format("incarnations/{}", rank), 0, std::to_string(kFirstLife));
  if (!written.ok()) throw Error(ErrorCode::kIo, written.failure().message, "the store, admitting a rank");
  if (!written.value().swapped) {
    throw Error(ErrorCode::kBadInput, fmt::format("rank {} has been started by another launcher", rank), "--node-rank");
  }
  return {kFirstLife, credentials_of(rank, kFirstLife)};
}

void StoreServices::publish_failure(const JobFailure& failure) {
  if (peers_) peers_->publish_failure(failure);
}

void StoreServices::publish_ended() {
  if (peers_) peers_->publish_ended();
}

void StoreServices::publish_left() {
  if (peers_) peers_->publish_left();
}

int StoreServices::wake_descriptor() const noexcept {
  return peers_ ? peers_->wake_descriptor() : -1;
}

std::vector<PeerEvent> StoreServices::take_events() {
  if (!peers_) return {};
  if (peers_->have_all_joined()) on_all_joined();
  return peers_->take_events();
}

void StoreServices::meet_peers(const ServiceOptions& options, const std::string& store_words) {
  const Assignment& assignment = options.assignment;
  if (assignment.nodes == 1) return;
  peers_ = std::make_unique<PeerLink>(*client_, PeerLinkOptions{assignment.node_rank, assignment.nodes,
                                                                options.lost_after, options.join_limit, store_words});
}

void StoreServices::leave() noexcept {
  peers_.reset();
  client_.reset();
}

}  // namespace concerto
