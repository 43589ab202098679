// A held-out part of a data set: whole, as one process has it, and shared, as ranks have it, each its own users.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "concerto/base/ids.hpp"
#include "concerto/data/ratings.hpp"

namespace concerto {

/// An entry whose user or item the training data does not know.
struct UnknownEntry {
  RowIndex user = kNoRow;
  RowIndex item = kNoRow;
  float value = 1.0F;
};

/// What is true of all of a held-out part, whoever has which of its entries.
struct HeldOutFacts {
  RowIndex users = 0;  ///< rows of the training data
  RowIndex items = 0;
  EntryIndex known_entries = 0;
  EntryIndex unknown_entries = 0;
  std::uint64_t unknown_users = 0;  ///< distinct users that training does not know
  bool has_known_user = false;      ///< at least one entry is of a user that training knows
  [[nodiscard]] EntryIndex entries() const noexcept { return known_entries + unknown_entries; }
  friend bool operator==(const HeldOutFacts&, const HeldOutFacts&) = default;
};

/// A held-out part in the rows of the training data.
struct HeldOut {
  CompressedMatrix known;             ///< rows = training users
  std::vector<UnknownEntry> unknown;  ///< at least one of user and item is kNoRow
  std::uint64_t unknown_users = 0;    ///< distinct users that training does not know
  [[nodiscard]] EntryIndex entries() const noexcept { return known.columns.size() + unknown.size(); }
  [[nodiscard]] HeldOutFacts facts() const;
};

/// A held-out part from which a rank takes the entries of its own users: one in memory, or one of a prepared directory,
/// of which no other entries are read. Copies share it.
class SharedHeldOut {
 public:
  /// Where the entries come from.
  class Source {
   public:
    virtual ~Source() = default;
    [[nodiscard]] virtual HeldOutFacts facts() const = 0;
    [[nodiscard]] virtual HeldOut of_users(std::span<const RowRange> users, bool takes_unknown,
                                           bool with_values) const = 0;
  };

  /// None.
  SharedHeldOut() = default;
  /// One that outlives this; nullptr: none.
  SharedHeldOut(const HeldOut* whole);  // NOLINT: implicit by design
  explicit SharedHeldOut(HeldOut whole);
  explicit SharedHeldOut(std::shared_ptr<const Source> source);

  [[nodiscard]] bool is_there() const noexcept { return source_ != nullptr; }
  [[nodiscard]] const HeldOutFacts& facts() const noexcept { return facts_; }
  /// From now on every entry counts as 1.
  void ignore_values() noexcept { with_values_ = false; }
  /// The entries of these users, and those of unknown users where `takes_unknown`. Ranges ascend, apart; those of a
  /// prepared directory are whole chunks. Error{kCorrupt} naming the file and the rows that are damaged.
  [[nodiscard]] HeldOut of_users(std::span<const RowRange> users, bool takes_unknown) const;

 private:
  std::shared_ptr<const Source> source_;
  HeldOutFacts facts_;
  bool with_values_ = true;
};

/// Keeps of `entries` those of these users, and those of unknown users where `takes_unknown`.
[[nodiscard]] std::vector<UnknownEntry> unknown_of_users(std::span<const UnknownEntry> entries,
                                                         std::span<const RowRange> users, bool takes_unknown);

}  // namespace concerto
