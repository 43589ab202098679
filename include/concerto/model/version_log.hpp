// What became of the factors over time: each rank of a run writes the blocks that it publishes, with times, to a file
// of its own, and afterwards the tables can be had as they were at any moment. So quality over time is judged after
// training, by the same code under every level, and takes nothing of the time that it is held against.
//
// Times are those of the machines' clocks; ranks on machines whose clocks differ are off by as much.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <vector>

#include "concerto/base/file.hpp"
#include "concerto/base/ids.hpp"
#include "concerto/model/factors.hpp"

namespace concerto {

/// Writes one rank's. From one thread. Error{kIo} naming the file. Costs what it takes to hand a block's bytes to the
/// system.
class VersionLog {
 public:
  /// Makes the folder, and the rank's file in it, in place of an older one. Time begins with the first block.
  VersionLog(const std::filesystem::path& folder, Rank rank, Rank ranks, const TableShape& users,
             const TableShape& items);
  VersionLog(VersionLog&&) noexcept = default;

  /// The rows are so from now on. `rows_as_packed`: each row's factors, its bias if there are any, and more floats that
  /// are not kept, `floats` a row.
  void add(Side side, RowRange rows, std::span<const std::byte> rows_as_packed, std::size_t floats);
  /// Likewise, of the table that the rows are in.
  void add(Side side, RowRange rows, const FactorTable& table);
  /// Everything is in the file. Without it the destructor closes without a promise.
  void finish();

 private:
  void begin();

  Rank rank_;
  Rank ranks_;
  bool has_begun_ = false;
  std::array<TableShape, 2> shapes_;  ///< by Side
  OutputFile file_;
};

/// Reads all ranks'. Host memory: both tables, and an entry for each block that was written; the bytes are mapped.
class VersionHistory {
 public:
  /// Error{kIo, kCorrupt} naming the file: none there, one missing, of different runs, no such file. Of a file that
  /// ends in the middle of a block, what was written before it counts.
  explicit VersionHistory(const std::filesystem::path& folder);
  ~VersionHistory();
  VersionHistory(VersionHistory&&) noexcept;

  /// From the beginning of the last log that was begun, or 0 before it, in seconds: of each block that was written,
  /// rising.
  [[nodiscard]] const std::vector<double>& times() const noexcept;
  /// Both tables become what they were then; not earlier than before. Rows that nobody has written are zero.
  void advance(double seconds);
  [[nodiscard]] const FactorTable& users() const noexcept;
  [[nodiscard]] const FactorTable& items() const noexcept;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace concerto
