// Adjacency lines, MatrixMarket files, and compressed text.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>
#include <zstd.h>

#include "reader_support.hpp"

namespace concerto::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

using AdjacencyReader = ReaderTest;
using MatrixMarketReader = ReaderTest;
using CompressedReader = ReaderTest;

TEST_F(AdjacencyReader, IsRecognizedByVaryingFields) {
  const RawRatings ratings = read_text("0 5 6 7 8 9\n1 5\n2\n0 3 4 \n3 1 2 3\n");
  EXPECT_EQ(ratings.format, FileFormat::kAdjacency);
  EXPECT_THAT(ratings.users.values, ElementsAre(0, 0, 0, 0, 0, 1, 0, 0, 3, 3, 3));
  EXPECT_THAT(ratings.items.values, ElementsAre(5, 6, 7, 8, 9, 5, 3, 4, 1, 2, 3));
  EXPECT_THAT(ratings.values, IsEmpty());
  EXPECT_EQ(ratings.lines, 5U);
}

TEST_F(AdjacencyReader, IsReadAsAskedWhateverTheLinesLookLike) {
  const RawRatings pairs = read_text("1 2 3\n4 5 6\n", with_format(FileFormat::kAdjacency));
  EXPECT_THAT(pairs.users.values, ElementsAre(1, 1, 4, 4));
  const RawRatings commas = read_text("1,2,3\n4\n5,6,x\n", with_format(FileFormat::kAdjacency));
  EXPECT_THAT(commas.users.values, ElementsAre(1, 1, 5, 5));
  EXPECT_THAT(commas.items.labels, ElementsAre("2", "3", "6", "x"));
  EXPECT_THAT(commas.items.values, ElementsAre(0, 1, 2, 3));
  const RawRatings colons = read_text("1::2::3\n4::5\n", with_format(FileFormat::kAdjacency));
  EXPECT_THAT(colons.items.values, ElementsAre(2, 3, 5));
}

TEST_F(AdjacencyReader, RefusesUsersOnlyAndValues) {
  EXPECT_THAT(error_of_text("1\n2\n", with_format(FileFormat::kAdjacency)).message(), HasSubstr("no entries"));
  ReadOptions options = with_format(FileFormat::kAdjacency);
  options.need_values = true;
  EXPECT_THAT(error_of_text("1 2 3\n", options).message(), HasSubstr("no column of values"));
  EXPECT_EQ(error_of_text("1 2 3\n4,5\n1 2,,3\n", with_format(FileFormat::kText)).code(), ErrorCode::kBadInput);
  ReadOptions declared = with_format(FileFormat::kAdjacency);
  declared.declared_items = 4;
  EXPECT_EQ(error_of_text("1 2 3\n2 1 2 4 1\n", declared).where(), "input.txt:2: field 4");
}

TEST_F(AdjacencyReader, LineLongerThanChunksIsWhole) {
  std::string text = "7";
  for (int item = 0; item < 5000; ++item) text += " " + std::to_string(item);
  text += "\n8 1\n9 2 3\n";
  ReadOptions options;
  options.chunk_bytes = 64;
  const RawRatings ratings = read_text(text, options);
  ASSERT_EQ(ratings.size(), 5003U);
  EXPECT_EQ(ratings.users.values[4999], 7U);
  EXPECT_EQ(ratings.items.values[4999], 4999U);
  EXPECT_EQ(ratings.users.values[5002], 9U);
}

TEST_F(MatrixMarketReader, CountsFromOne) {
  const RawRatings ratings =
      read_text("%%MatrixMarket matrix coordinate real general\n% remark\n\n3 4 2\n1 4 0.5\n3 1 -2e0\n");
  EXPECT_EQ(ratings.format, FileFormat::kMatrixMarket);
  EXPECT_EQ(ratings.shape_users, 3U);
  EXPECT_EQ(ratings.shape_items, 4U);
  EXPECT_THAT(ratings.users.values, ElementsAre(0, 2));
  EXPECT_THAT(ratings.items.values, ElementsAre(3, 0));
  EXPECT_THAT(ratings.values, ElementsAre(0.5F, -2.0F));
  EXPECT_THAT(read_text("%%matrixmarket MATRIX Coordinate Integer General\n1 1 1\n1 1 7\n").values, ElementsAre(7.0F));
  EXPECT_THAT(read_text("%%MatrixMarket matrix coordinate pattern general\r\n2 2 1\r\n2 2\r\n").values, IsEmpty());
}

TEST_F(MatrixMarketReader, NamesWhatIsWrong) {
  const std::string banner = "%%MatrixMarket matrix coordinate real general\n";
  struct Bad {
    std::string text;
    ErrorCode code;
    const char* where;
    const char* message;
  };
  const Bad cases[] = {
      {banner + "3 4 2\n1 4 1\n0 1 1\n", ErrorCode::kBadInput, "input.txt:4: field 1", "\"0\" is not an index"},
      {banner + "3 4 2\n1 4 1\n1 5 1\n", ErrorCode::kBadInput, "input.txt:4: field 2", "beyond the declared 4 items"},
      {banner + "3 4 2\n1 4 1\n-1 5 1\n", ErrorCode::kBadInput, "input.txt:4: field 1", "is negative"},
      {banner + "3 4 2\n1 4 1\n1 2 nan\n", ErrorCode::kBadInput, "input.txt:4: field 3", "not a finite number"},
      {banner + "3 4 2\n1 4 1\n1 2\n", ErrorCode::kBadInput, "input.txt:4: field 3", "2 fields, expected 3"},
      {banner + "3 4 2\n1 4 1\n", ErrorCode::kCorrupt, "input.txt", "declares 2 entries, but there are 1"},
      {banner + "3 4 1\n1 4 1\n2 1 1\n", ErrorCode::kBadInput, "input.txt", "declares 1 entries, but there are 2"},
      {banner + "3 4 0\n", ErrorCode::kBadInput, "input.txt", "no entries"},
      {banner + "3 4\n", ErrorCode::kBadInput, "input.txt:2", "the size line has three numbers"},
      {banner + "3 x 1\n", ErrorCode::kBadInput, "input.txt:2: field 2", "\"x\" is not a count"},
      {banner + "3 5000000000 1\n", ErrorCode::kBadInput, "input.txt:2: field 2", "too large"},
      {banner + "% only remarks\n", ErrorCode::kBadInput, "input.txt", "no size line"},
      {"%%MatrixMarket matrix array real general\n", ErrorCode::kUnsupported, "input.txt:1", "matrix coordinate"},
      {"%%MatrixMarket matrix coordinate complex general\n", ErrorCode::kUnsupported, "input.txt:1", "\"complex\""},
      {"%%MatrixMarket matrix coordinate real symmetric\n", ErrorCode::kUnsupported, "input.txt:1", "\"symmetric\""},
      {"%%MatrixMarket matrix\n", ErrorCode::kBadInput, "input.txt:1", "five words"},
  };
  for (const Bad& bad : cases) {
    const Error error = error_of_text(bad.text);
    EXPECT_EQ(error.code(), bad.code) << bad.text << error.what();
    EXPECT_EQ(error.where(), bad.where) << bad.text << error.what();
    EXPECT_THAT(error.message(), HasSubstr(bad.message)) << bad.text;
  }
  EXPECT_THAT(error_of_text("1 1 1\n", with_format(FileFormat::kMatrixMarket)).message(), HasSubstr("%%MatrixMarket"));
}

std::string gzip(std::string_view text) {
  z_stream stream{};
  deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
  std::string out(text.size() + 1000, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

std::string zstd(std::string_view text) {
  std::string out(ZSTD_compressBound(text.size()), '\0');
  out.resize(ZSTD_compress(out.data(), out.size(), text.data(), text.size(), 3));
  return out;
}

TEST_F(CompressedReader, JoinsMembersAndFrames) {
  const std::string gz = gzip("1 2 3\n4 5") + gzip("") + gzip(" 6\n7 8 9\n");
  for (const std::string& bytes : {gz, gz + std::string(100, '\0'), zstd("1 2 3\n4 5") + zstd(" 6\n7 8 9\n")}) {
    const RawRatings ratings = read(write("input.bin", bytes));
    EXPECT_THAT(ratings.users.values, ElementsAre(1, 4, 7));
    EXPECT_THAT(ratings.items.values, ElementsAre(2, 5, 8));
    EXPECT_THAT(ratings.values, ElementsAre(3.0F, 6.0F, 9.0F));
    EXPECT_EQ(ratings.bytes, 18U);
  }
}

TEST_F(CompressedReader, EveryTruncationIsCorrupt) {
  std::string text;
  for (int line = 0; line < 40; ++line) text += std::to_string(line * 7919 % 1000) + " " + std::to_string(line) + "\n";
  for (const std::string& whole : {gzip(text), zstd(text)}) {
    const std::string name = whole[0] == '\x1f' ? "input.gz" : "input.zst";
    EXPECT_EQ(read(write(name, whole)).size(), 40U);
    for (std::size_t size = 0; size < whole.size(); ++size) {
      const Error error = error_of(write(name, whole.substr(0, size)), {}, 1);
      ASSERT_EQ(error.code(), ErrorCode::kCorrupt) << name << " " << size << " " << error.what();
      ASSERT_EQ(error.where(), name);
    }
  }
}

TEST_F(CompressedReader, DamageIsCorrupt) {
  std::string text;
  for (int line = 0; line < 4000; ++line)
    text += std::to_string(line * 7919 % 1000) + " " + std::to_string(line) + "\n";
  std::string gz = gzip(text);
  gz[gz.size() - 6] ^= 1;  // in the checksum
  EXPECT_EQ(error_of(write("input.gz", gz)).code(), ErrorCode::kCorrupt);
  EXPECT_EQ(error_of(write("input.gz", gzip(text) + "rubbish")).code(), ErrorCode::kCorrupt);
  EXPECT_EQ(error_of(write("input.zst", zstd(text) + "rubbish")).code(), ErrorCode::kCorrupt);
  EXPECT_EQ(error_of(write("input.gz", "1 2 3\n")).code(), ErrorCode::kCorrupt);
}

TEST_F(CompressedReader, BadLineIsNamedInTheText) {
  EXPECT_EQ(error_of(write("input.gz", gzip("1 2 3\n4 5 x\n"))).where(), "input.gz:2: field 3");
}

}  // namespace
}  // namespace concerto::test
