// Publishing and watching places.
#include "mesh_directory.hpp"

#include <algorithm>
#include <charconv>

#include <fmt/format.h>

#include "concerto/base/error.hpp"

#include "rendezvous.hpp"

namespace concerto {
namespace {

constexpr std::string_view kRanks = "ranks/";
/// Between attempts to watch a store that does not answer.
constexpr std::chrono::milliseconds kStorePause{500};

template <class Number>
std::optional<Number> number_of(std::string_view text) {
  Number number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

}  // namespace

std::string to_text(const MeshPlace& place) {
  return fmt::format("{} {}", place.incarnation, place.address);
}

std::optional<MeshPlace> parse_mesh_place(std::string_view text) {
  const std::size_t space = text.find(' ');
  if (space == std::string_view::npos || space + 1 == text.size()) return std::nullopt;
  const auto incarnation = number_of<Incarnation>(text.substr(0, space));
  if (!incarnation) return std::nullopt;
  return MeshPlace{*incarnation, std::string(text.substr(space + 1))};
}

void publish_place(Store& store, Rank rank, std::string_view prefix, const MeshPlace& place) {
  const std::string key = rendezvous_key(rank, prefix);
  const auto refuse = [&](const Failure& failure) {
    throw Error(ErrorCode::kIo, failure.message, "the store, " + key);
  };
  const auto before = store.get(key);
  if (!before) refuse(before.failure());
  if (before.value()) {
    const auto other = parse_mesh_place(before.value()->value);
    if (other && other->incarnation > place.incarnation) {
      throw Error(
          ErrorCode::kBadInput,
          fmt::format("rank {} is there in its life {}; this is life {}", rank, other->incarnation, place.incarnation),
          "the store, " + key);
    }
  }
  if (const auto written = store.put(key, to_text(place)); !written) refuse(written.failure());
}

void MeshDirectory::tell(const StoreEntry& entry, const std::function<void(Rank, MeshPlace)>& on_place) const {
  std::string_view key = entry.key;
  if (!key.starts_with(kRanks)) return;
  key.remove_prefix(kRanks.size());
  const std::size_t slash = key.find('/');
  if (slash == std::string_view::npos || key.substr(slash + 1) != prefix_) return;
  const auto rank = number_of<Rank>(key.substr(0, slash));
  auto place = parse_mesh_place(entry.value);
  if (rank && place) on_place(*rank, *std::move(place));
}

bool MeshDirectory::open(const std::function<void(Rank, MeshPlace)>& on_place) {
  const auto listing = store_.list(kRanks);
  if (!listing) return false;
  auto watch = store_.watch(kRanks, listing.value().revision);
  if (!watch) return false;
  for (const StoreEntry& entry : listing.value().entries) tell(entry, on_place);
  const std::lock_guard lock(mutex_);
  watch_ = std::move(watch).value();
  return true;
}

void MeshDirectory::pause(std::chrono::milliseconds limit) {
  std::unique_lock lock(mutex_);
  woken_.wait_for(lock, limit, [&] { return is_woken_; });
  is_woken_ = false;
}

void MeshDirectory::follow(std::chrono::milliseconds limit, const std::function<void(Rank, MeshPlace)>& on_place) {
  if (!watch_) {  // only this thread sets it
    if (!open(on_place)) pause(std::min(limit, kStorePause));
    return;
  }
  {
    const std::lock_guard lock(mutex_);
    if (std::exchange(is_woken_, false)) return;
  }
  const auto batch = watch_->next(limit);
  if (!batch) {  // from where it ended nothing is known: the next call reads anew
    const std::lock_guard lock(mutex_);
    watch_.reset();
    return;
  }
  for (const StoreEvent& event : batch.value().events) {
    if (!event.is_deletion) tell(event.entry, on_place);
  }
}

void MeshDirectory::wake() {
  std::shared_ptr<StoreWatch> watch;
  {
    const std::lock_guard lock(mutex_);
    is_woken_ = true;
    watch = watch_;
  }
  woken_.notify_all();
  if (watch) watch->interrupt();
}

}  // namespace concerto
