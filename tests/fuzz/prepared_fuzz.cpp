// Prepared directories with a damaged file: mapping one whole and opening it for shares give the same entries, or an
// Error. The first byte chooses the file. Of the rest, a header is taken as it is or (second choice) between the magic
// number and a checksum that fits; another file is replaced, or changed at one place, and the header is made to fit its
// length and the checksums of its pieces, so that what is behind them is reached.
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <unistd.h>

#include "concerto/base/check.hpp"
#include "concerto/base/checksum.hpp"
#include "concerto/base/error.hpp"
#include "concerto/base/file.hpp"
#include "concerto/data/dataset.hpp"
#include "concerto/data/partition.hpp"

#include "prepared_header.hpp"

namespace {

namespace fs = std::filesystem;
using concerto::CompressedMatrix;
using concerto::CompressedRows;
using concerto::Dataset;
using concerto::EntryIndex;
using concerto::RowIndex;
using concerto::RowRange;
using concerto::Side;

constexpr RowIndex kUsers = 70;  // two chunks
constexpr RowIndex kItems = 3;
constexpr std::size_t kMagicBytes = 8;

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

void put(const fs::path& path, std::string_view text) {
  concerto::OutputFile file(path);
  file.write(text);
}

void check_same(const CompressedRows& a, const CompressedMatrix& b) {
  CONCERTO_CHECK(std::ranges::equal(a.offsets, b.offsets), "offsets differ");
  CONCERTO_CHECK(std::ranges::equal(a.columns, b.columns), "columns differ");
  CONCERTO_CHECK(std::ranges::equal(a.values, b.values), "values differ");
  for (const RowIndex column : b.columns) CONCERTO_CHECK(column < a.column_count, "a column is out of range");
}

/// In memory where the system has such a folder, for speed.
fs::path root() {
  const fs::path shared = "/dev/shm";
  return fs::exists(shared) ? shared : fs::temp_directory_path();
}

/// A valid prepared directory in a folder of this process, made once.
class Directory {
 public:
  Directory() : path_(root() / ("concerto-prepared-fuzz-" + std::to_string(::getpid()))) {
    CompressedMatrix by_user{kUsers, kItems, {0}, {}, {}};
    for (RowIndex user = 0; user < kUsers; ++user) {
      by_user.columns.insert(by_user.columns.end(), {user % 2, 2U});
      by_user.values.insert(by_user.values.end(), {1.0F, 2.5F});
      by_user.offsets.push_back(by_user.columns.size());
    }
    CompressedMatrix by_item = transpose(by_user.view(), pool_);
    concerto::HeldOut test;
    test.known = {kUsers, kItems, std::vector<EntryIndex>(kUsers + 1, 1), {1}, {4.0F}};
    test.known.offsets.front() = 0;
    test.unknown = {{concerto::kNoRow, 1, 3.0F}, {2, concerto::kNoRow, 1.0F}};
    test.unknown_users = 1;
    Dataset(concerto::IdMap::indices(kUsers, concerto::kRowOrderSeed, 0),
            concerto::IdMap::labels({"a", "b", "c"}, concerto::kRowOrderSeed, 1), std::move(by_user),
            std::move(by_item))
        .write(path_, &test, {});
    header_text_ = concerto::read_file(path_ / concerto::prepared::kHeaderName);
    header_ = concerto::prepared::parse_header(bytes_of(header_text_), "header");
    for (const auto& file : header_.files) contents_.push_back(concerto::read_file(path_ / file.name));
  }
  ~Directory() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;

  [[nodiscard]] std::size_t files() const { return contents_.size(); }

  void with_header(std::string text, bool is_fitted) {
    if (is_fitted) {
      text.insert(0, header_text_, 0, kMagicBytes);
      const std::uint64_t sum = concerto::checksum(bytes_of(text));
      text += text_of(std::as_bytes(std::span(&sum, 1)));
    }
    put(path_ / concerto::prepared::kHeaderName, text);
    read();
    put(path_ / concerto::prepared::kHeaderName, header_text_);
  }

  void with_file(std::size_t which, std::string_view content) {
    concerto::prepared::Header header = header_;
    concerto::prepared::FileRecord& record = header.files[which];
    record.bytes = content.size();
    if (record.checksums.size() == 1) {
      record.checksums = {concerto::checksum(bytes_of(content))};
    } else {
      fit_pieces(record, content);
    }
    put(path_ / record.name, content);
    put(path_ / concerto::prepared::kHeaderName, text_of(concerto::prepared::header_image(header)));
    read();
    put(path_ / record.name, contents_[which]);
    put(path_ / concerto::prepared::kHeaderName, header_text_);
  }

  void with_change(std::size_t which, std::string_view where_and_what) {
    std::string content = contents_[which];
    if (where_and_what.empty() || content.empty()) return;
    std::size_t place = static_cast<unsigned char>(where_and_what.front()) % content.size();
    for (const char c : where_and_what.substr(1)) {
      content[place] = c;
      place = (place + 1) % content.size();
    }
    with_file(which, content);
  }

 private:
  /// Files of entries by user have two pieces; where the first ends is in the valid offsets.
  void fit_pieces(concerto::prepared::FileRecord& record, std::string_view content) const {
    const std::string offsets = record.name.substr(0, record.name.find('.')) + ".offsets";
    const auto file = std::ranges::find(header_.files, offsets, &concerto::prepared::FileRecord::name);
    EntryIndex end = 0;
    std::memcpy(&end, contents_[static_cast<std::size_t>(file - header_.files.begin())].data() + 64 * sizeof end,
                sizeof end);
    const std::size_t cut = std::min<std::size_t>(end * 4, content.size());
    record.checksums = {concerto::checksum(bytes_of(content.substr(0, cut))),
                        concerto::checksum(bytes_of(content.substr(cut)))};
  }

  void read() {
    std::optional<Dataset::Prepared> whole;
    try {
      whole = Dataset::map(path_, pool_);
    } catch (const concerto::Error&) {
      // Refusing is an answer; anything else thrown ends the program.
    }
    try {
      const Dataset::Opened opened = Dataset::open(path_, pool_);
      for (const Side side : {Side::kUsers, Side::kItems}) {
        const RowIndex rows = opened.dataset.lengths(side).rows;
        const std::vector<RowRange> all(rows > 0 ? 1 : 0, RowRange{0, rows});
        const CompressedMatrix entries = opened.dataset.rows(side, all);
        const concerto::IdMap& ids = side == Side::kUsers ? opened.dataset.users() : opened.dataset.items();
        CONCERTO_CHECK(ids.size() == rows, "ids and rows differ in number");
        if (whole) check_same(side == Side::kUsers ? whole->dataset.by_user() : whole->dataset.by_item(), entries);
        if (side != Side::kUsers || !opened.held_out.is_there()) continue;
        const concerto::HeldOut part = opened.held_out.of_users(all, true);
        CONCERTO_CHECK(part.entries() == opened.held_out.facts().entries(), "held-out entries are lost");
        if (whole) check_same(whole->held_out->known.view(), part.known);
      }
      CONCERTO_CHECK(whole.has_value(), "what is refused whole is taken in shares");
    } catch (const concerto::Error&) {
      CONCERTO_CHECK(!whole.has_value(), "what is taken whole is refused in shares");
    }
  }

  concerto::ThreadPool pool_{1};
  fs::path path_;
  std::string header_text_;
  concerto::prepared::Header header_;
  std::vector<std::string> contents_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static Directory directory;
  if (size == 0) return 0;
  const std::string_view rest(reinterpret_cast<const char*>(data) + 1, size - 1);
  const std::size_t choice = data[0] % (2 + 2 * directory.files());
  if (choice < 2) {
    directory.with_header(std::string(rest), choice == 1);
  } else if (choice < 2 + directory.files()) {
    directory.with_file(choice - 2, rest);
  } else {
    directory.with_change(choice - 2 - directory.files(), rest);
  }
  return 0;
}
