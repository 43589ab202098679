// The same result, and the same first error, for any number of threads and any size of chunks; real files.
#include <algorithm>
#include <numeric>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "concerto/base/rng.hpp"

#include "reader_support.hpp"
#include "support/data_files.hpp"

namespace concerto::test {
namespace {

using ::testing::HasSubstr;

using ParallelReader = ReaderTest;
using RealFiles = ReaderTest;

void expect_equal(const RawRatings& left, const RawRatings& right) {
  EXPECT_EQ(left.users.values, right.users.values);
  EXPECT_EQ(left.users.labels, right.users.labels);
  EXPECT_EQ(left.items.values, right.items.values);
  EXPECT_EQ(left.items.labels, right.items.labels);
  EXPECT_EQ(left.values, right.values);
  EXPECT_EQ(left.times, right.times);
  EXPECT_EQ(left.lines, right.lines);
  EXPECT_EQ(left.bytes, right.bytes);
}

ReadOptions with_chunks(std::size_t bytes) {
  ReadOptions options;
  options.chunk_bytes = bytes;
  return options;
}

std::string random_rows(std::size_t count, bool has_labels) {
  Random random(7);
  std::string text;
  for (std::size_t line = 0; line < count; ++line) {
    const std::uint64_t user = random.below(random.below(2) == 0 ? 100 : 2000000000);
    text += (has_labels ? "u" : "") + std::to_string(user) + "\t" + std::to_string(random.below(5000)) + "\t" +
            std::to_string(random.below(100)) + "." + std::to_string(random.below(1000)) +
            (line % 9 == 0 ? "\r\n" : "\n");
    if (random.below(50) == 0) text += "\n";
  }
  return text;
}

TEST_F(ParallelReader, ThreadsAndChunksDoNotMatter) {
  for (const bool has_labels : {false, true}) {
    const auto path = write("rows.tsv", random_rows(20000, has_labels));
    const RawRatings whole = read(path, with_chunks(std::size_t{1} << 24U), 1);
    ASSERT_EQ(whole.size(), 20000U);
    EXPECT_EQ(whole.users.is_label, has_labels);
    EXPECT_TRUE(std::is_sorted(whole.users.labels.begin(), whole.users.labels.end()));
    for (const unsigned threads : {1U, 2U, 3U}) {
      for (const std::size_t bytes : {std::size_t{1}, std::size_t{97}, std::size_t{4096}, std::size_t{100000}}) {
        expect_equal(read(path, with_chunks(bytes), threads), whole);
      }
    }
  }
}

TEST_F(ParallelReader, ValuesAreThoseOfTheText) {
  const std::string text = random_rows(500, false);
  const RawRatings ratings = read(write("rows.tsv", text));
  const char* at = text.c_str();
  for (std::size_t entry = 0; entry < ratings.size(); ++entry) {
    char* end = nullptr;
    ASSERT_EQ(ratings.users.values[entry], std::strtoul(at, &end, 10));
    ASSERT_EQ(ratings.items.values[entry], std::strtoul(end, &end, 10));
    ASSERT_EQ(ratings.values[entry], std::strtof(end, &end));
    at = end;
  }
}

TEST_F(ParallelReader, FirstBadLineIsReported) {
  std::string text;
  for (int line = 1; line <= 5000; ++line) {
    text += "1 2 ";
    text += line == 3001 ? "first" : line > 3100 && line % 10 == 0 ? "later" : "3";
    text += "\n";
  }
  const auto path = write("rows.txt", text);
  for (const unsigned threads : {1U, 2U, 3U}) {
    for (const std::size_t bytes : {std::size_t{10}, std::size_t{300}, std::size_t{1} << 20U}) {
      const Error error = error_of(path, with_chunks(bytes), threads);
      EXPECT_EQ(error.where(), "rows.txt:3001: field 3");
      EXPECT_EQ(error.message(), "\"first\" is not a number");
    }
  }
}

TEST_F(ParallelReader, ErrorBeforeLabelAndLabelBeforeError) {
  const std::string rows = [] {
    std::string text;
    for (int line = 0; line < 3000; ++line) text += "1 2 3\n";
    return text;
  }();
  for (const unsigned threads : {1U, 2U, 3U}) {
    EXPECT_EQ(error_of(write("rows.txt", rows + "1 2 x\n" + rows + "a 2 3\n"), with_chunks(256), threads).where(),
              "rows.txt:3001: field 3");
    EXPECT_EQ(error_of(write("rows.txt", rows + "a 2 3\n" + rows + "1 2 x\n"), with_chunks(256), threads).where(),
              "rows.txt:6002: field 3");
    // Digits beyond 64 bits are an error, unless the column holds labels.
    const std::string digits = rows + "99999999999999999999 2 3\n" + rows;
    EXPECT_EQ(error_of(write("rows.txt", digits), with_chunks(256), threads).where(), "rows.txt:3001: field 1");
    EXPECT_EQ(read(write("rows.txt", digits + "a 2 3\n"), with_chunks(256), threads).users.labels.size(), 3U);
  }
}

TEST_F(RealFiles, MovieLens100K) {
  CONCERTO_DATA_FILE_OR_SKIP(path, "ml-100k/u.data.gz");
  ReadOptions options;
  options.keep_times = true;
  const RawRatings ratings = read(path, options);
  ASSERT_EQ(ratings.size(), 100000U);
  EXPECT_EQ(ratings.lines, 100000U);
  EXPECT_EQ(*std::max_element(ratings.users.values.begin(), ratings.users.values.end()), 943U);
  EXPECT_EQ(*std::max_element(ratings.items.values.begin(), ratings.items.values.end()), 1682U);
  EXPECT_EQ(std::accumulate(ratings.values.begin(), ratings.values.end(), 0.0), 352986.0);
  EXPECT_EQ(ratings.users.values[0], 196U);
  EXPECT_EQ(ratings.items.values[0], 242U);
  EXPECT_EQ(ratings.times[0], 881250949);
  for (const unsigned threads : {1U, 3U}) {
    options.chunk_bytes = 10007;
    expect_equal(read(path, options, threads), ratings);
  }
}

TEST_F(RealFiles, MovieLens1M) {
  CONCERTO_DATA_FILE_OR_SKIP(path, "ml-1m/ratings.dat.gz");
  const RawRatings ratings = read(path);
  ASSERT_EQ(ratings.size(), 1000209U);
  EXPECT_EQ(*std::max_element(ratings.users.values.begin(), ratings.users.values.end()), 6040U);
  EXPECT_EQ(ratings.items.values[0], 1193U);
  EXPECT_EQ(ratings.values[0], 5.0F);
  EXPECT_EQ(ratings.format, FileFormat::kText);
  ReadOptions times;
  times.keep_times = true;
  EXPECT_THAT(error_of(path, times).message(), HasSubstr("no column of times"));
}

TEST_F(RealFiles, SplitsAndPositives) {
  CONCERTO_DATA_FILE_OR_SKIP(explicit_path, "ml-1m/train.txt.gz");
  CONCERTO_DATA_FILE_OR_SKIP(rank_path, "ml-1m-rank/train.txt.gz");
  EXPECT_EQ(read(explicit_path).size(), 900189U);
  const RawRatings positives = read(rank_path);
  EXPECT_EQ(positives.size(), 460256U);
  EXPECT_TRUE(positives.values.empty());
}

TEST_F(RealFiles, Adjacency) {
  CONCERTO_DATA_FILE_OR_SKIP(train, "ml-1m-adjacency/train.txt.gz");
  CONCERTO_DATA_FILE_OR_SKIP(valid, "ml-1m-adjacency/valid.txt.gz");
  CONCERTO_DATA_FILE_OR_SKIP(test, "ml-1m-adjacency/test.txt.gz");
  const std::pair<std::filesystem::path, std::uint64_t> files[] = {{train, 6039}, {valid, 6033}, {test, 6038}};
  EntryIndex entries = 0;
  for (const auto& [path, lines] : files) {
    const RawRatings ratings = read(path);
    EXPECT_EQ(ratings.format, FileFormat::kAdjacency);
    EXPECT_EQ(ratings.lines, lines);
    entries += ratings.size();
    expect_equal(read(path, with_chunks(5000), 3), ratings);
  }
  EXPECT_EQ(entries, 836478U);  // ratings of 3 and more in MovieLens 1M
}

}  // namespace
}  // namespace concerto::test
