// Feeds arbitrary bytes to every reader. The first bytes of an input choose format and options, the rest is the file.
// Whatever it holds, reading ends with ratings that are consistent or with an Error, and with the same for any size of
// chunks and any number of threads.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <optional>
#include <span>
#include <string>

#include <unistd.h>

#include "concerto/base/check.hpp"
#include "concerto/base/error.hpp"
#include "concerto/data/reader.hpp"

namespace {

using concerto::FileFormat;
using concerto::IdColumn;
using concerto::RawRatings;
using concerto::ReadOptions;
using concerto::ThreadPool;

constexpr std::size_t kOptionBytes = 3;

// A file in memory where the system has one, for speed.
std::filesystem::path input_path() {
  const std::filesystem::path shared = "/dev/shm";
  const auto folder = std::filesystem::exists(shared) ? shared : std::filesystem::temp_directory_path();
  return folder / ("concerto_reader_fuzzer_" + std::to_string(::getpid()));
}

ReadOptions options_of(std::span<const std::uint8_t> choice) {
  constexpr std::array kFormats = {FileFormat::kAuto,      FileFormat::kAuto,         FileFormat::kText,
                                   FileFormat::kAdjacency, FileFormat::kMatrixMarket, FileFormat::kLibmf,
                                   FileFormat::kNpz,       FileFormat::kAuto};
  ReadOptions options;
  options.format = kFormats[choice[0] % kFormats.size()];
  options.keep_times = (choice[1] & 1U) != 0;
  options.need_values = (choice[1] & 2U) != 0;
  options.declared_users = (choice[1] & 4U) != 0 ? choice[2] : 0;
  options.declared_items = (choice[1] & 8U) != 0 ? choice[2] : 0;
  return options;
}

void check_column(const IdColumn& column, std::size_t size) {
  CONCERTO_CHECK(column.values.size() == size, "columns differ in length");
  CONCERTO_CHECK(column.is_label == !column.labels.empty(), "labels without need");
  CONCERTO_CHECK(std::is_sorted(column.labels.begin(), column.labels.end()), "labels are not sorted");
  const std::size_t limit = column.is_label ? column.labels.size() : concerto::kNoRow;
  for (const std::uint32_t value : column.values) CONCERTO_CHECK(value < limit, "an id is out of range");
}

void check_ratings(const RawRatings& ratings, const ReadOptions& options) {
  const std::size_t size = ratings.size();
  CONCERTO_CHECK(size > 0, "no entries and no error");
  check_column(ratings.users, size);
  check_column(ratings.items, size);
  CONCERTO_CHECK(ratings.values.empty() ? !options.need_values : ratings.values.size() == size, "values are missing");
  CONCERTO_CHECK(ratings.times.size() == (options.keep_times ? size : 0), "times are missing");
  for (const float value : ratings.values) CONCERTO_CHECK(std::isfinite(value), "a value is not finite");
}

struct Outcome {
  std::optional<RawRatings> ratings;
  std::string error;
};

Outcome outcome_of(const std::filesystem::path& path, const ReadOptions& options, ThreadPool& pool) {
  try {
    return {read_ratings(path, options, pool), {}};
  } catch (const concerto::Error& error) {
    CONCERTO_CHECK(error.code() != concerto::ErrorCode::kIo, "a readable file was not read");
    const std::string text = error.what();
    CONCERTO_CHECK(!error.message().empty() && text.find('\n') == std::string::npos, "an error is one line");
    return {std::nullopt, text};
  }
}

void check_same(const Outcome& left, const Outcome& right) {
  CONCERTO_CHECK(left.ratings.has_value() == right.ratings.has_value(), "chunks decide whether there is an error");
  if (!left.ratings) return;
  CONCERTO_CHECK(left.ratings->users.values == right.ratings->users.values, "users differ");
  CONCERTO_CHECK(left.ratings->items.values == right.ratings->items.values, "items differ");
  CONCERTO_CHECK(left.ratings->users.labels == right.ratings->users.labels, "user labels differ");
  CONCERTO_CHECK(left.ratings->items.labels == right.ratings->items.labels, "item labels differ");
  CONCERTO_CHECK(left.ratings->values == right.ratings->values, "values differ");
  CONCERTO_CHECK(left.ratings->times == right.ratings->times, "times differ");
  CONCERTO_CHECK(left.ratings->lines == right.ratings->lines, "lines differ");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < kOptionBytes) return 0;
  static const std::filesystem::path path = input_path();
  static ThreadPool one(1);
  static ThreadPool two(2);
  std::ofstream(path, std::ios::binary | std::ios::trunc)
      .write(reinterpret_cast<const char*>(data) + kOptionBytes, static_cast<std::streamsize>(size - kOptionBytes));
  ReadOptions options = options_of({data, kOptionBytes});
  const Outcome whole = outcome_of(path, options, one);
  if (whole.ratings) check_ratings(*whole.ratings, options);
  options.chunk_bytes = 1 + data[2] % 16;
  const Outcome pieces = outcome_of(path, options, data[0] >= 128 ? two : one);
  check_same(whole, pieces);
  CONCERTO_CHECK(whole.error == pieces.error, "chunks decide which error is first");
  std::filesystem::remove(path);
  return 0;
}
