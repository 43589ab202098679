// The members of a saved CSR matrix: format, shape, indptr (row ends), indices (columns) and data (values).
#include "npz_reader.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "concerto/base/error.hpp"

#include "npy_stream.hpp"
#include "text_fields.hpp"
#include "zip_archive.hpp"

namespace concerto::data {
namespace {

constexpr std::size_t kBlock = std::size_t{1} << 14U;

const ZipMember& member_of(const ZipArchive& archive, std::string_view name) {
  const ZipMember* const member = archive.find(name);
  if (member == nullptr) {
    throw Error(ErrorCode::kBadInput, "is not a saved sparse matrix: it has no " + std::string(name),
                archive.file().name());
  }
  return *member;
}

void check_format(const ZipArchive& archive) {
  NpyStream stream(archive.file(), member_of(archive, "format.npy"));
  const std::string format = stream.text();
  if (format != "csr") {
    throw Error(ErrorCode::kUnsupported,
                "holds a matrix in " + quote(format) + " form; save it as csr (matrix.tocsr())", archive.file().name());
  }
}

void read_shape(const ZipArchive& archive, RawRatings& ratings) {
  NpyStream stream(archive.file(), member_of(archive, "shape.npy"));
  std::vector<std::uint64_t> shape;
  stream.next(shape, 3);
  if (shape.size() != 2) throw Error(ErrorCode::kCorrupt, "does not hold two numbers", stream.where());
  for (std::uint64_t index = 0; index < 2; ++index) {
    if (shape[index] <= kMaxRows) continue;
    throw Error(ErrorCode::kBadInput, std::to_string(shape[index]) + " is too large: at most 4294967295 rows",
                stream.where(index));
  }
  ratings.shape_users = static_cast<RowIndex>(shape[0]);
  ratings.shape_items = static_cast<RowIndex>(shape[1]);
}

Error beyond(std::uint64_t index, std::uint64_t limit, std::string_view noun, bool is_declared, std::string where) {
  return {ErrorCode::kBadInput,
          std::string(noun) + " " + std::to_string(index) + " is beyond the " + (is_declared ? "declared " : "") +
              std::to_string(limit) + (is_declared ? "" : " of the shape"),
          std::move(where)};
}

void read_items(const ZipArchive& archive, const ReadOptions& options, RawRatings& ratings) {
  NpyStream stream(archive.file(), member_of(archive, "indices.npy"));
  const bool is_declared = options.declared_items != 0 && options.declared_items < ratings.shape_items;
  const std::uint64_t limit = is_declared ? options.declared_items : ratings.shape_items;
  std::vector<RowIndex>& items = ratings.items.values;
  items.reserve(stream.count());
  std::vector<std::uint64_t> block;
  while (items.size() < stream.count()) {
    stream.next(block, kBlock);
    for (const std::uint64_t item : block) {
      if (item >= limit) throw beyond(item, limit, "item", is_declared, stream.where(items.size()));
      items.push_back(static_cast<RowIndex>(item));
    }
  }
}

void read_users(const ZipArchive& archive, const ReadOptions& options, RawRatings& ratings) {
  NpyStream stream(archive.file(), member_of(archive, "indptr.npy"));
  const std::uint64_t rows = ratings.shape_users;
  const std::uint64_t entries = ratings.items.values.size();
  if (stream.count() != rows + 1) {
    throw Error(ErrorCode::kCorrupt,
                "has " + std::to_string(stream.count()) + " elements for " + std::to_string(rows) + " rows",
                stream.where());
  }
  const bool is_declared = options.declared_users != 0 && options.declared_users < rows;
  std::vector<RowIndex>& users = ratings.users.values;
  users.reserve(entries);
  std::vector<std::uint64_t> block;
  for (std::uint64_t done = 0; done <= rows; done += block.size()) {
    stream.next(block, kBlock);
    for (std::size_t index = 0; index < block.size(); ++index) {
      const std::uint64_t position = done + index;  // block[index] is where row position - 1 ends
      const std::uint64_t end = block[index];
      const bool is_right = position == 0 ? end == 0 : end >= users.size() && end <= entries;
      if (!is_right) throw Error(ErrorCode::kCorrupt, std::to_string(end) + " is out of order", stream.where(position));
      if (end == users.size()) continue;
      if (is_declared && position - 1 >= options.declared_users) {
        throw beyond(position - 1, options.declared_users, "user", true, stream.where(position));
      }
      users.resize(end, static_cast<RowIndex>(position - 1));
    }
  }
  if (users.size() != entries) {
    throw Error(ErrorCode::kCorrupt,
                "its last element is " + std::to_string(users.size()) + ", but there are " + std::to_string(entries) +
                    " indices",
                stream.where());
  }
}

void read_values(const ZipArchive& archive, RawRatings& ratings) {
  NpyStream stream(archive.file(), member_of(archive, "data.npy"));
  if (stream.count() != ratings.items.values.size()) {
    throw Error(ErrorCode::kCorrupt,
                "has " + std::to_string(stream.count()) + " elements for " +
                    std::to_string(ratings.items.values.size()) + " indices",
                stream.where());
  }
  ratings.values.reserve(ratings.items.values.size());
  std::vector<double> block;
  while (ratings.values.size() < stream.count()) {
    stream.next(block, kBlock);
    for (const double value : block) {
      // The comparison is also false for NaN.
      if (!(std::abs(value) <= static_cast<double>(std::numeric_limits<float>::max()))) {
        throw Error(ErrorCode::kBadInput, quote(std::to_string(value)) + " is not a finite 32-bit number",
                    stream.where(ratings.values.size()));
      }
      ratings.values.push_back(static_cast<float>(value));
    }
  }
}

}  // namespace

RawRatings read_npz(const std::filesystem::path& path, const ReadOptions& options) {
  const ZipArchive archive(path);
  if (options.keep_times) throw Error(ErrorCode::kBadInput, "has no column of times", path.string());
  RawRatings ratings;
  ratings.format = FileFormat::kNpz;
  ratings.bytes = archive.file().size();
  check_format(archive);
  read_shape(archive, ratings);
  read_items(archive, options, ratings);
  if (ratings.size() == 0 && ratings.items.values.empty()) {
    throw Error(ErrorCode::kBadInput, "has no entries", path.string());
  }
  read_users(archive, options, ratings);
  read_values(archive, ratings);
  return ratings;
}

}  // namespace concerto::data
