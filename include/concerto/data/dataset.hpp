// A data set as solvers use it: rows assigned, duplicates merged, both orientations built, parts held out.
// Held-out parts themselves are in held_out.hpp.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "concerto/base/check.hpp"
#include "concerto/base/file.hpp"
#include "concerto/base/thread_pool.hpp"
#include "concerto/data/held_out.hpp"
#include "concerto/data/id_map.hpp"
#include "concerto/data/ratings.hpp"
#include "concerto/data/reader.hpp"

namespace concerto {

/// What a pair (user, item) that occurs more than once becomes. `kSum` adds values (entries without values count 1
/// each); `kLast` keeps the one read last; `kKeep` keeps all; `kError` refuses, naming the pair.
enum class Duplicates { kSum, kLast, kKeep, kError };

enum class SplitBy { kRandom, kUser, kLast };

/// How to hold out a part. kRandom: each entry with probability `share`. kUser: of each user's entries floor(share *
/// count), drawn at random. kLast: of each user's entries the last ceil(share * count) by time (file order breaks
/// ties, and is the order where the input has no times; at least one entry always stays in training). Pure in (seed,
/// position in the input). Entries are split as they were read, before duplicates are merged; unless duplicates are
/// kept, a held-out entry whose pair is in the training part too is then left out, because it asks for what was shown.
struct SplitOptions {
  double share = 0.0;  ///< in (0, 1)
  SplitBy by = SplitBy::kRandom;
  std::uint64_t seed = 1;
};

/// How repeated pairs were treated when data was built, and how many entries that took away.
struct MergeFacts {
  Duplicates duplicates = Duplicates::kLast;
  EntryIndex merged = 0;
};

class OpenedData;

/// Training data with both orientations. Whole, it owns its arrays or maps those of a prepared directory; opened, it
/// has the lengths of all rows and reads the entries that are asked for. Move-only.
class Dataset {
 public:
  Dataset(IdMap users, IdMap items, CompressedMatrix by_user, CompressedMatrix by_item);
  Dataset(Dataset&&) noexcept = default;
  Dataset& operator=(Dataset&&) noexcept = default;

  /// Opened data reads an id map when it is first asked for (from one thread): Error{kCorrupt} naming its file.
  [[nodiscard]] const IdMap& users() const { return source_ == nullptr ? users_ : ids(Side::kUsers); }
  [[nodiscard]] const IdMap& items() const { return source_ == nullptr ? items_ : ids(Side::kItems); }
  /// Both orientations with all entries. Of whole data only: of opened data nothing is there that was not verified.
  [[nodiscard]] CompressedRows by_user() const noexcept { return whole(by_user_view_); }
  [[nodiscard]] CompressedRows by_item() const noexcept { return whole(by_item_view_); }
  [[nodiscard]] EntryIndex entries() const noexcept { return lengths(Side::kUsers).entries(); }
  [[nodiscard]] bool has_values() const noexcept { return has_values_; }

  /// How many entries each user or item has.
  [[nodiscard]] RowLengths lengths(Side side) const noexcept {
    return side == Side::kUsers ? by_user_view_ : by_item_view_;
  }
  /// An orientation with the entries of these rows alone; the other rows are empty. Ranges ascend, apart; those of
  /// opened data are whole chunks, which are read and verified now, and no other: Error{kCorrupt} naming the file and
  /// the rows that are damaged. 4 or 8 bytes an entry.
  [[nodiscard]] CompressedMatrix rows(Side side, std::span<const RowRange> rows) const;

  /// From now on every entry counts as 1 (implicit, values = "ignore"), as if the input had no values.
  void ignore_values() noexcept {
    by_user_view_.values = {};
    by_item_view_.values = {};
    has_values_ = false;
  }

  /// Writes the prepared form: a directory with a header (format version, shapes, lengths of files, and checksums of
  /// the pieces that are read alone), the id maps and both orientations as raw little-endian arrays. Atomic.
  /// `held_out`, if given, goes along as the test part. Of whole data only.
  void write(const std::filesystem::path& directory, const HeldOut* held_out, const MergeFacts& merging) const;
  /// Maps a prepared directory and verifies all of it: lengths, checksums, and that every row is what `CompressedRows`
  /// says. Error{kCorrupt} naming the file on any damage, Error{kUnsupported} on the format of another version.
  struct Prepared;
  [[nodiscard]] static Prepared map(const std::filesystem::path& directory, ThreadPool& pool);
  /// Opens a prepared directory: verifies its header, the lengths of files and both orientations' row lengths, and
  /// reads nothing else. The same errors. `pool` outlives what is returned.
  struct Opened;
  [[nodiscard]] static Opened open(const std::filesystem::path& directory, ThreadPool& pool);
  /// Error{kBadInput} where `write` would refuse to write: before anything is read.
  static void check_target(const std::filesystem::path& directory);
  /// Is this a directory that `write` made (has it a header file)?
  [[nodiscard]] static bool is_prepared(const std::filesystem::path& path);

 private:
  Dataset() = default;
  [[nodiscard]] const IdMap& ids(Side side) const;
  [[nodiscard]] const CompressedRows& whole(const CompressedRows& view) const noexcept {
    CONCERTO_CHECK(source_ == nullptr, "all entries of opened data are asked for; use rows()");
    return view;
  }

  IdMap users_;
  IdMap items_;
  CompressedMatrix by_user_;
  CompressedMatrix by_item_;
  std::vector<MappedFile> mappings_;
  CompressedRows by_user_view_;  ///< of opened data without columns and values
  CompressedRows by_item_view_;
  bool has_values_ = false;
  std::shared_ptr<const OpenedData> source_;  ///< of opened data
};

struct Dataset::Prepared {
  Dataset dataset;
  std::optional<HeldOut> held_out;
  MergeFacts merging;
};

struct Dataset::Opened {
  Dataset dataset;
  SharedHeldOut held_out;
  MergeFacts merging;
  std::uint64_t digest = 0;  ///< of the header and so, through its checksums, of all that was prepared
};

struct DatasetOptions {
  Duplicates duplicates = Duplicates::kLast;
  bool use_values = true;           ///< false: all values become 1 and are not stored (implicit, values = "ignore")
  std::optional<double> min_value;  ///< entries below it are dropped (and counted)
  std::uint64_t declared_users = 0;
  std::uint64_t declared_items = 0;
};

/// What became of the entries that were read.
struct BuildCounts {
  EntryIndex read = 0;
  EntryIndex below_min_value = 0;
  EntryIndex merged_duplicates = 0;  ///< of the training part: read there less kept
  EntryIndex held_out = 0;           ///< of both held-out parts, before merging
  EntryIndex held_out_known = 0;     ///< of them, after merging: pairs of the training part, left out
};

struct BuiltDataset {
  Dataset train;
  std::optional<HeldOut> test;  ///< from `split`
  std::optional<HeldOut> validation;
  BuildCounts counts;
};

/// Builds training data from what was read: filter, split (test first, then validation out of the rest), assign rows
/// from the training entries only, merge duplicates, both orientations. Row counts: declared (by the options, else by
/// the file's own header), or highest training index + 1 where the smallest training id is 0, else distinct ids.
/// `raw` is consumed and freed array by array: without a split, peak memory is about 1.0x (both orientations), tables
/// of rows aside. Byte-identical for any number of threads. Error{kBadInput} when a part becomes empty, a duplicate is
/// refused, or an id does not fit the declared count.
[[nodiscard]] BuiltDataset build_dataset(RawRatings raw, const DatasetOptions& options,
                                         const std::optional<SplitOptions>& test,
                                         const std::optional<SplitOptions>& validation, ThreadPool& pool);

/// Maps another file's entries (a test or validation file) into the rows of the training data, merging duplicates and
/// applying the same filters.
[[nodiscard]] HeldOut build_held_out(const RawRatings& raw, const IdMap& users, const IdMap& items,
                                     const DatasetOptions& options, ThreadPool& pool);

/// The other orientation. Parallel, stable: columns ascend within each row. O(entries).
[[nodiscard]] CompressedMatrix transpose(const CompressedRows& matrix, ThreadPool& pool);

}  // namespace concerto
