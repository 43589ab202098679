// A file is a header and records, little-endian:
//   header  "CNCVLOG1", then u32: rank, ranks, length of a factor vector, has biases, users, items; i64: its beginning
//   record  i64: time; u32: table, first row, rows; then the rows' floats
// Times are microseconds of the system's clock.
#include "concerto/model/version_log.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "concerto/base/error.hpp"

namespace concerto {
namespace {

constexpr std::array<char, 8> kMagic{'C', 'N', 'C', 'V', 'L', 'O', 'G', '1'};

struct Header {
  std::array<char, 8> magic = kMagic;
  std::uint32_t rank = 0;
  std::uint32_t ranks = 0;
  std::uint32_t factors = 0;
  std::uint32_t has_biases = 0;
  std::uint32_t users = 0;
  std::uint32_t items = 0;
  std::int64_t begin = 0;
};
static_assert(sizeof(Header) == 40);

struct RecordHeader {
  std::int64_t time = 0;
  std::uint32_t table = 0;
  std::uint32_t first = 0;
  std::uint32_t rows = 0;
  std::uint32_t unused = 0;
};
static_assert(sizeof(RecordHeader) == 24);

std::int64_t now() {
  return std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

std::filesystem::path file_of(const std::filesystem::path& folder, Rank rank) {
  return folder / fmt::format("rank-{}.versions", rank);
}

std::size_t floats_of(const TableShape& shape) {
  return shape.rank + (shape.biases ? 1 : 0);
}

template <class T>
std::span<const std::byte> bytes_of(const T& value) {
  return std::as_bytes(std::span(&value, 1));
}

/// The folder is there when the file is to be opened.
const std::filesystem::path& made(const std::filesystem::path& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) throw Error(ErrorCode::kIo, "cannot make the folder: " + error.message(), folder.string());
  return folder;
}

}  // namespace

VersionLog::VersionLog(const std::filesystem::path& folder, Rank rank, Rank ranks, const TableShape& users,
                       const TableShape& items)
    : rank_(rank), ranks_(ranks), shapes_{users, items}, file_(file_of(made(folder), rank)) {
  static_assert(static_cast<int>(Side::kUsers) == 0, "shapes are by Side");
}

void VersionLog::begin() {
  if (std::exchange(has_begun_, true)) return;
  const TableShape& users = shapes_.front();
  Header header;
  header.rank = rank_;
  header.ranks = ranks_;
  header.factors = users.rank;
  header.has_biases = users.biases ? 1 : 0;
  header.users = users.rows;
  header.items = shapes_.back().rows;
  header.begin = now();
  file_.write(bytes_of(header));
}

void VersionLog::add(Side side, RowRange rows, std::span<const std::byte> rows_as_packed, std::size_t floats) {
  begin();
  const std::size_t kept = floats_of(shapes_[static_cast<std::size_t>(side)]) * sizeof(float);
  RecordHeader header;
  header.time = now();
  header.table = static_cast<std::uint32_t>(side);
  header.first = rows.begin;
  header.rows = rows.size();
  std::vector<std::byte> record(sizeof(header) + rows.size() * kept);
  std::memcpy(record.data(), &header, sizeof(header));
  for (std::size_t r = 0; r < rows.size(); ++r) {
    std::memcpy(record.data() + sizeof(header) + r * kept, rows_as_packed.data() + r * floats * sizeof(float), kept);
  }
  file_.write(record);
}

void VersionLog::add(Side side, RowRange rows, const FactorTable& table) {
  const std::size_t floats = floats_of(table.shape());
  std::vector<float> packed;
  packed.reserve(rows.size() * floats);
  for (RowIndex r = rows.begin; r < rows.end; ++r) {
    const auto row = table.row(r);
    packed.insert(packed.end(), row.begin(), row.end());
    if (table.shape().biases) packed.push_back(table.biases()[r]);
  }
  add(side, rows, std::as_bytes(std::span(packed)), floats);
}

void VersionLog::finish() {
  begin();
  file_.finish();
}

class VersionHistory::Impl {
 public:
  explicit Impl(const std::filesystem::path& folder);

  void advance(double seconds);
  std::vector<double> times;
  std::array<FactorTable, 2> tables;  ///< by Side

 private:
  struct Record {
    std::int64_t time = 0;
    Side side = Side::kUsers;
    RowRange rows;
    const std::byte* floats = nullptr;
  };
  Header read_header(const std::filesystem::path& path, Rank rank);
  void read_records(const MappedFile& file, const std::filesystem::path& path);

  std::optional<Header> first_;
  std::vector<MappedFile> files_;
  std::vector<Record> records_;
  std::size_t next_ = 0;
};

Header VersionHistory::Impl::read_header(const std::filesystem::path& path, Rank rank) {
  const auto bytes = files_.emplace_back(path).bytes();
  Header header;
  const bool is_long_enough = bytes.size() >= sizeof(header);
  if (is_long_enough) std::memcpy(&header, bytes.data(), sizeof(header));
  if (!is_long_enough || header.magic != kMagic || header.rank != rank || header.ranks <= rank) {
    throw Error(ErrorCode::kCorrupt, fmt::format("is not the versions of rank {}", rank), path.string());
  }
  const Header& first = first_ ? *first_ : header;
  const bool is_alike = header.ranks == first.ranks && header.factors == first.factors &&
                        header.has_biases == first.has_biases && header.users == first.users &&
                        header.items == first.items;
  if (!is_alike) throw Error(ErrorCode::kCorrupt, "is of another run than rank 0's", path.string());
  return header;
}

void VersionHistory::Impl::read_records(const MappedFile& file, const std::filesystem::path& path) {
  const auto bytes = file.bytes();
  for (std::size_t at = sizeof(Header); bytes.size() - at >= sizeof(RecordHeader);) {
    RecordHeader header;
    std::memcpy(&header, bytes.data() + at, sizeof(header));
    at += sizeof(header);
    const bool is_table = header.table < tables.size();
    const std::uint64_t end = std::uint64_t{header.first} + header.rows;
    if (!is_table || end > tables[header.table].rows()) {
      throw Error(ErrorCode::kCorrupt, fmt::format("has rows that its tables have not, at byte {}", at), path.string());
    }
    const std::size_t size = header.rows * floats_of(tables[header.table].shape()) * sizeof(float);
    if (bytes.size() - at < size) break;  // the run was ended while it was written
    records_.push_back(
        {header.time, static_cast<Side>(header.table), {header.first, static_cast<RowIndex>(end)}, bytes.data() + at});
    at += size;
  }
}

VersionHistory::Impl::Impl(const std::filesystem::path& folder) {
  first_ = read_header(file_of(folder, 0), 0);
  std::int64_t begin = first_->begin;
  const bool has_biases = first_->has_biases != 0;
  tables[static_cast<std::size_t>(Side::kUsers)] = FactorTable({first_->users, first_->factors, has_biases});
  tables[static_cast<std::size_t>(Side::kItems)] = FactorTable({first_->items, first_->factors, has_biases});
  for (Rank r = 0; r < first_->ranks; ++r) {
    const auto path = file_of(folder, r);
    if (r > 0) begin = std::max(begin, read_header(path, r).begin);
    read_records(files_.back(), path);
  }
  std::ranges::stable_sort(records_, {}, &Record::time);
  for (const Record& record : records_) {
    times.push_back(std::max(0.0, 1e-6 * static_cast<double>(record.time - begin)));
  }
}

void VersionHistory::Impl::advance(double seconds) {
  for (; next_ < records_.size() && times[next_] <= seconds; ++next_) {
    const Record& record = records_[next_];
    FactorTable& table = tables[static_cast<std::size_t>(record.side)];
    const std::byte* from = record.floats;
    const auto take = [&from](float* to, std::size_t count) {
      std::memcpy(to, from, count * sizeof(float));
      from += count * sizeof(float);
    };
    for (RowIndex r = record.rows.begin; r < record.rows.end; ++r) {
      take(table.row(r).data(), table.rank());
      if (table.shape().biases) take(&table.biases()[r], 1);
    }
  }
}

VersionHistory::VersionHistory(const std::filesystem::path& folder) : impl_(std::make_unique<Impl>(folder)) {}
VersionHistory::~VersionHistory() = default;
VersionHistory::VersionHistory(VersionHistory&&) noexcept = default;
const std::vector<double>& VersionHistory::times() const noexcept {
  return impl_->times;
}
void VersionHistory::advance(double seconds) {
  impl_->advance(seconds);
}
const FactorTable& VersionHistory::users() const noexcept {
  return impl_->tables[static_cast<std::size_t>(Side::kUsers)];
}
const FactorTable& VersionHistory::items() const noexcept {
  return impl_->tables[static_cast<std::size_t>(Side::kItems)];
}

}  // namespace concerto
