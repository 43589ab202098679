// Shares of a held-out part (see held_out.hpp of the contract).
#include <algorithm>
#include <utility>

#include "concerto/data/held_out.hpp"
#include "concerto/data/partition.hpp"

namespace concerto {
namespace {

/// A part in memory, owned here or outliving this.
class InMemory : public SharedHeldOut::Source {
 public:
  explicit InMemory(const HeldOut* whole) : whole_(whole) {}
  explicit InMemory(HeldOut whole) : own_(std::move(whole)), whole_(&own_) {}
  InMemory(const InMemory&) = delete;
  InMemory& operator=(const InMemory&) = delete;

  [[nodiscard]] HeldOutFacts facts() const override { return whole_->facts(); }
  [[nodiscard]] HeldOut of_users(std::span<const RowRange> users, bool takes_unknown, bool with_values) const override {
    HeldOut part;
    CompressedRows known = whole_->known.view();
    if (!with_values) known.values = {};
    part.known = keep_rows(known, users);
    part.unknown = unknown_of_users(whole_->unknown, users, takes_unknown);
    return part;
  }

 private:
  HeldOut own_;
  const HeldOut* whole_;
};

}  // namespace

HeldOutFacts HeldOut::facts() const {
  const bool has_known_user =
      !known.columns.empty() || std::ranges::any_of(unknown, [](const UnknownEntry& e) { return e.user != kNoRow; });
  return {known.rows, known.column_count, known.columns.size(), unknown.size(), unknown_users, has_known_user};
}

SharedHeldOut::SharedHeldOut(const HeldOut* whole)
    : SharedHeldOut(whole == nullptr ? nullptr : std::make_shared<const InMemory>(whole)) {}
SharedHeldOut::SharedHeldOut(HeldOut whole) : SharedHeldOut(std::make_shared<const InMemory>(std::move(whole))) {}
SharedHeldOut::SharedHeldOut(std::shared_ptr<const Source> source) : source_(std::move(source)) {
  if (source_ != nullptr) facts_ = source_->facts();
}

HeldOut SharedHeldOut::of_users(std::span<const RowRange> users, bool takes_unknown) const {
  HeldOut part = source_->of_users(users, takes_unknown, with_values_);
  if (!with_values_) {
    for (UnknownEntry& entry : part.unknown) entry.value = 1.0F;
  }
  return part;
}

std::vector<UnknownEntry> unknown_of_users(std::span<const UnknownEntry> entries, std::span<const RowRange> users,
                                           bool takes_unknown) {
  const auto is_own = [&](RowIndex user) {
    const auto after = std::ranges::upper_bound(users, user, {}, &RowRange::begin);
    return after != users.begin() && user < std::prev(after)->end;
  };
  std::vector<UnknownEntry> kept;
  for (const UnknownEntry& entry : entries) {
    if (entry.user == kNoRow ? takes_unknown : is_own(entry.user)) kept.push_back(entry);
  }
  return kept;
}

}  // namespace concerto
