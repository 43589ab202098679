// Announcements in the store, and waiting for them by a watch from the revision at which they were not there.
#include "rendezvous.hpp"

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace concerto {
namespace {

bool may_pass(const Failure& failure) {
  return failure.kind == FailureKind::kTimeout || failure.kind == FailureKind::kLost;
}

Failure late(Rank rank, std::string_view prefix) {
  return {FailureKind::kTimeout, fmt::format("rank {} did not come to {} in time", rank, prefix)};
}

/// What the store holds under `key`, and the revision of the answer.
Result<std::pair<std::optional<std::string>, Revision>> look(Store& store, const std::string& key) {
  Result<Store::Listing> listing = store.list(key);
  if (!listing) return listing.failure();
  std::pair<std::optional<std::string>, Revision> found{std::nullopt, listing.value().revision};
  for (StoreEntry& entry : listing.value().entries) {
    if (entry.key == key) found.first = std::move(entry.value);
  }
  return found;
}

/// Waits for a value of `key` after `revision`; nothing at the deadline.
Result<std::optional<std::string>> watch_for(Store& store, const std::string& key, Revision revision,
                                             Deadline deadline) {
  Result<std::unique_ptr<StoreWatch>> watch = store.watch(key, revision);
  if (!watch) return watch.failure();
  while (time_until(deadline).count() > 0) {
    Result<StoreWatch::Batch> batch = watch.value()->next(time_until(deadline));
    if (!batch) return batch.failure();
    for (StoreEvent& event : batch.value().events) {
      if (!event.is_deletion && event.entry.key == key) return std::optional(std::move(event.entry.value));
    }
  }
  return std::optional<std::string>();
}

}  // namespace

std::chrono::milliseconds time_until(Deadline deadline) {
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
  return std::max(left, std::chrono::milliseconds{0});
}

std::string rendezvous_key(Rank rank, std::string_view prefix) {
  return fmt::format("ranks/{}/{}", rank, prefix);
}

Result<void> announce(Store& store, Rank rank, std::string_view prefix, std::string_view value, Deadline deadline) {
  const std::string key = rendezvous_key(rank, prefix);
  for (;;) {
    const Result<SwapOutcome> outcome = store.compare_and_swap(key, 0, value);
    if (!outcome) {
      if (may_pass(outcome.failure()) && time_until(deadline).count() > 0) continue;
      return outcome.failure();
    }
    const std::optional<StoreEntry>& present = outcome.value().present;
    // The same bytes are this call's, of a try whose answer was lost: they hold ports that nobody else has.
    if (outcome.value().swapped || (present && present->value == value)) return {};
    return Failure{FailureKind::kConflict, fmt::format("{} is taken: rank {} is there already", key, rank)};
  }
}

Result<std::string> await_announcement(Store& store, Rank rank, std::string_view prefix, Deadline deadline) {
  const std::string key = rendezvous_key(rank, prefix);
  for (;;) {
    auto found = look(store, key);
    if (found && found.value().first) return *std::move(found.value().first);
    Failure failure = late(rank, prefix);
    if (found) {
      Result<std::optional<std::string>> value = watch_for(store, key, found.value().second, deadline);
      if (value && value.value()) return *std::move(value.value());
      if (!value) failure = value.failure();
    } else {
      failure = found.failure();
    }
    if (!may_pass(failure) || time_until(deadline).count() == 0) return failure;
  }
}

Result<std::vector<std::string>> await_announcements(Store& store, Rank size, std::string_view prefix,
                                                     Deadline deadline) {
  std::vector<std::string> announcements;
  std::vector<Rank> missing;
  for (Rank rank = 0; rank < size; ++rank) {
    Result<std::string> announcement = await_announcement(store, rank, prefix, deadline);
    if (announcement) {
      announcements.push_back(std::move(announcement.value()));
    } else if (announcement.failure().kind == FailureKind::kTimeout) {
      missing.push_back(rank);  // the next are looked up without waiting: the message names all
    } else {
      return announcement.failure();
    }
  }
  if (missing.empty()) return announcements;
  return Failure{FailureKind::kTimeout, fmt::format("{} of {} ranks did not come to {} in time: {}", missing.size(),
                                                    size, prefix, fmt::join(missing, ", "))};
}

}  // namespace concerto
