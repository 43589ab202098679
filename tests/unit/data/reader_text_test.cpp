// Text of ratings: delimiters, headers, odd line ends, labels, and what is said about bad lines.
#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "reader_support.hpp"

namespace concerto::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

using TextReader = ReaderTest;

ReadOptions with_times() {
  ReadOptions options;
  options.keep_times = true;
  return options;
}

TEST_F(TextReader, ReadsEveryDelimiter) {
  for (const char* text :
       {"1\t10\t4.5\n2\t20\t3\n", "1,10,4.5\n2,20,3\n", "1 10 4.5\n2 20 3\n", "1::10::4.5\n2::20::3\n",
        "1   10 \t 4.5 \n 2 20 3\n", "1\t 10 \t4.5\n2\t20\t3 \n", "\"1\",\"10\",4.5\n2,20,\"3\"\n"}) {
    const RawRatings ratings = read_text(text);
    EXPECT_THAT(ratings.users.values, ElementsAre(1, 2)) << text;
    EXPECT_THAT(ratings.items.values, ElementsAre(10, 20)) << text;
    EXPECT_THAT(ratings.values, ElementsAre(4.5F, 3.0F)) << text;
    EXPECT_THAT(ratings.times, IsEmpty()) << text;
    EXPECT_EQ(ratings.format, FileFormat::kText);
    EXPECT_EQ(ratings.lines, 2U);
    EXPECT_EQ(ratings.bytes, std::string_view(text).size());
  }
}

TEST_F(TextReader, ReadsTwoColumnsWithoutValues) {
  const RawRatings ratings = read_text("0 5\n0 6\n7 5\n");
  EXPECT_THAT(ratings.users.values, ElementsAre(0, 0, 7));
  EXPECT_THAT(ratings.items.values, ElementsAre(5, 6, 5));
  EXPECT_THAT(ratings.values, IsEmpty());
}

TEST_F(TextReader, KeepsTimesOnlyWhereAsked) {
  const char* text = "1::2::3::978300760\n4::5::1.5::-12\n6::7::2::12345678901234\n";
  EXPECT_THAT(read_text(text).times, IsEmpty());
  const RawRatings ratings = read_text(text, with_times());
  EXPECT_THAT(ratings.times, ElementsAre(978300760, -12, 12345678901234));
  EXPECT_THAT(ratings.values, ElementsAre(3.0F, 1.5F, 2.0F));
}

TEST_F(TextReader, TakesLineEndsBlankLinesAndMissingNewline) {
  const RawRatings ratings = read_text("\r\n1 2 3\r\n\n   \n4 5 6\r\n7 8 9");
  EXPECT_THAT(ratings.users.values, ElementsAre(1, 4, 7));
  EXPECT_THAT(ratings.items.values, ElementsAre(2, 5, 8));
  EXPECT_THAT(ratings.values, ElementsAre(3.0F, 6.0F, 9.0F));
  EXPECT_EQ(ratings.lines, 6U);
}

TEST_F(TextReader, SkipsHeadersRemarksAndByteOrderMark) {
  for (const char* text :
       {"userId,movieId,rating,timestamp\n1,2,3,4\n", "\xef\xbb\xbfuserId,movieId,rating,timestamp\n1,2,3,4\n",
        "# made by hand\n\n1 2 3 4\n", "\"u\",\"i\",\"r\",\"t\"\n1,2,3,4\n",
        "\xef\xbb\xbf"
        "1,2,3,4"}) {
    const RawRatings ratings = read_text(text, with_times());
    EXPECT_THAT(ratings.users.values, ElementsAre(1)) << text;
    EXPECT_THAT(ratings.items.values, ElementsAre(2)) << text;
    EXPECT_THAT(ratings.values, ElementsAre(3.0F)) << text;
    EXPECT_THAT(ratings.times, ElementsAre(4)) << text;
  }
}

TEST_F(TextReader, KnowsHeaderOfLabelsByItsNames) {
  const RawRatings ratings = read_text("user\titem\nada\tx\nbob\ty\n");
  EXPECT_THAT(ratings.users.labels, ElementsAre("ada", "bob"));
  EXPECT_THAT(ratings.items.labels, ElementsAre("x", "y"));
}

TEST_F(TextReader, TakesThirdColumnNamedTimeAsTime) {
  const RawRatings ratings = read_text("user,item,timestamp\n1,2,100\n3,4,200\n", with_times());
  EXPECT_THAT(ratings.values, IsEmpty());
  EXPECT_THAT(ratings.times, ElementsAre(100, 200));
}

TEST_F(TextReader, ReadsEveryFormOfNumber) {
  const RawRatings ratings = read_text(
      "1 1 -1.5\n1 2 +2\n1 3 .5\n1 4 1e3\n1 5 2.5E-1\n1 6 0007\n1 7 16777217\n1 8 3.14159265358979\n1 9 1e-300\n"
      "1 10 0.1\n1 11 12345678.9\n1 12 5.\n1 13 -0\n1 14 0.30000001192092896\n1 15 1e-400\n1 16 3.4028235e38\n");
  EXPECT_THAT(ratings.values, ElementsAre(-1.5F, 2.0F, 0.5F, 1000.0F, 0.25F, 7.0F, 16777216.0F, 3.14159265F, 0.0F, 0.1F,
                                          12345678.9F, 5.0F, 0.0F, 0.3F, 0.0F, 3.4028235e38F));
}

TEST_F(TextReader, DecimalsOfEveryLengthAreNearestFloats) {
  std::string text;
  std::vector<float> expected;
  for (int digits = 1; digits <= 12; ++digits) {
    const std::string whole = std::string("987654321987").substr(0, static_cast<std::size_t>(digits));
    for (int cut = 1; cut <= digits; ++cut) {
      const std::string number = cut == digits ? whole : whole.substr(0, cut) + "." + whole.substr(cut);
      text += "1 2 " + number + "\n";
      expected.push_back(std::strtof(number.c_str(), nullptr));
    }
  }
  EXPECT_EQ(read_text(text).values, expected);
}

TEST_F(TextReader, IdsOfEveryLength) {
  const RawRatings ratings = read_text(
      "1 12\n123 1234\n12345 123456\n1234567 12345678\n123456789 1234567890\n4294967294 0\n0000000000000000000001 "
      "007\n");
  EXPECT_THAT(ratings.users.values, ElementsAre(1, 123, 12345, 1234567, 123456789, 4294967294U, 1));
  EXPECT_THAT(ratings.items.values, ElementsAre(12, 1234, 123456, 12345678, 1234567890, 0, 7));
  EXPECT_FALSE(ratings.users.is_label);
}

TEST_F(TextReader, LabelsAreDistinctSortedAndKeepTheirText) {
  const RawRatings ratings = read_text("bob 7 1\nada 007 2\nbob 3 3\n10 7 4\n");
  EXPECT_TRUE(ratings.users.is_label);
  EXPECT_THAT(ratings.users.labels, ElementsAre("10", "ada", "bob"));
  EXPECT_THAT(ratings.users.values, ElementsAre(2, 1, 2, 0));
  EXPECT_FALSE(ratings.items.is_label);
  EXPECT_THAT(ratings.items.labels, IsEmpty());
  EXPECT_THAT(ratings.items.values, ElementsAre(7, 7, 3, 7));
}

TEST_F(TextReader, LateLabelTurnsWholeColumn) {
  std::string text;
  for (int line = 0; line < 3000; ++line) text += std::to_string(line % 7) + " 00" + std::to_string(line % 5) + "\n";
  text += "6 late\n";
  ReadOptions options;
  options.chunk_bytes = 512;
  const RawRatings ratings = read_text(text, options);
  EXPECT_FALSE(ratings.users.is_label);
  EXPECT_THAT(ratings.items.labels, ElementsAre("000", "001", "002", "003", "004", "late"));
  EXPECT_EQ(ratings.items.values[2998], 3U);
  EXPECT_EQ(ratings.items.values[3000], 5U);
}

TEST_F(TextReader, NumbersBeyond32BitsAreLabels) {
  const RawRatings ratings = read_text("4294967295 1\n18446744073709551615 2\n-3 1\n");
  EXPECT_THAT(ratings.users.labels, ElementsAre("-3", "18446744073709551615", "4294967295"));
  EXPECT_THAT(ratings.users.values, ElementsAre(2, 1, 0));
}

TEST_F(TextReader, LabelsMayHoldSpacesAndQuotedCommas) {
  const RawRatings ratings = read_text("Ada L,\"Tea, green\",5\nBob,Tea,4\n");
  EXPECT_THAT(ratings.users.labels, ElementsAre("Ada L", "Bob"));
  EXPECT_THAT(ratings.items.labels, ElementsAre("Tea", "Tea, green"));
  EXPECT_THAT(ratings.values, ElementsAre(5.0F, 4.0F));
}

struct BadText {
  const char* text;
  const char* where;
  const char* message;
};

TEST_F(TextReader, NamesLineAndFieldOfBadInput) {
  const BadText cases[] = {
      {"1 2 3\n1 2\n3 4 5\n", "input.txt:2: field 3", "2 fields, expected 3"},
      {"1 2 3\n1 2 3 4 5 6\n3 4 5\n", "input.txt:2: field 4", "6 fields, expected 3"},
      {"1,2,3\n1,2,\n3,4,5\n", "input.txt:2: field 3", "the value is missing"},
      {"1,2,3\n,2,3\n3,4,5\n", "input.txt:2: field 1", "the user is missing"},
      {"1\t2\t3\n4\t\t3\n3\t4\t5\n", "input.txt:2: field 2", "the item is missing"},
      {"1 2 3\n\n1 2 good\n", "input.txt:3: field 3", "\"good\" is not a number"},
      {"1 2 3\n1 2 nan\n", "input.txt:2: field 3", "\"nan\" is not a finite number"},
      {"1 2 3\n1 2 -inf\n", "input.txt:2: field 3", "\"-inf\" is not a finite number"},
      {"1 2 3\n1 2 1e39\n", "input.txt:2: field 3", "\"1e39\" is too large"},
      {"1 2 3\n1 2 1e999\n", "input.txt:2: field 3", "\"1e999\" is too large"},
      {"1 2 3\n1 2 3,5\n", "input.txt:2: field 3", "\"3,5\" is not a number"},
      {"1 2 3\n1 2 0x10\n", "input.txt:2: field 3", "\"0x10\" is not a number"},
      {"1 2 bad\n1 2 3\n", "input.txt:1: field 3", "\"bad\" is not a number"},
      {"1 2\n99999999999999999999 2\n", "input.txt:2: field 1", "\"99999999999999999999\" is too large"},
      {"1\n2\n3\n", "input.txt:1: field 2", "1 field, but a line needs a user and an item"},
      {"a,b,1.5,4,5\na,b,1.5,4,5\n", "input.txt:1: field 5", "5 fields, but a line has at most"},
      {"1,2,3\n1,\x01"
       "2,3\n",
       "input.txt:2: field 2", "\"\\x012\" is not an id"},
      {"1 2 3\n1 2 aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeee\n", "input.txt:2: field 3",
       "\"aaaaaaaaaabbbbbbbbbbccccccccccdddddddddd...\" is not a number"},
  };
  for (const BadText& bad : cases) {
    const Error error = error_of_text(bad.text);
    EXPECT_EQ(error.code(), ErrorCode::kBadInput) << bad.text;
    EXPECT_EQ(error.where(), bad.where) << bad.text << error.what();
    EXPECT_THAT(error.message(), HasSubstr(bad.message)) << bad.text;
  }
}

TEST_F(TextReader, NamesFilesWithoutEntries) {
  for (const char* text : {"", "\n\n \n", "# nothing\n", "user,item,rating\n"}) {
    const Error error = error_of_text(text);
    EXPECT_EQ(error.code(), ErrorCode::kBadInput) << text;
    EXPECT_EQ(error.where(), "input.txt") << text;
    EXPECT_THAT(error.message(), HasSubstr("no entries")) << text;
  }
}

TEST_F(TextReader, RefusesBinaryDataMissingFilesAndDirectories) {
  EXPECT_EQ(error_of_text(std::string_view("1 2\n\0\0", 6)).where(), "input.txt:2");
  const Error missing = error_of(directory_ / "none.txt");
  EXPECT_EQ(missing.code(), ErrorCode::kIo);
  EXPECT_EQ(missing.where(), "none.txt");
  EXPECT_THAT(missing.message(), HasSubstr("No such file"));
  const Error folder = error_of(directory_);
  EXPECT_EQ(folder.code(), ErrorCode::kBadInput);
  EXPECT_THAT(folder.message(), HasSubstr("is a directory"));
  EXPECT_THAT(error_of("/dev/null").message(), HasSubstr("not a regular file"));
}

TEST_F(TextReader, AsksForValuesAndTimes) {
  ReadOptions values;
  values.need_values = true;
  EXPECT_EQ(error_of_text("1 2\n", values).where(), "input.txt:1: field 3");
  EXPECT_EQ(error_of_text("h g r\n1 2 3\n", with_times()).where(), "input.txt:2: field 4");
  const Error bad_time = error_of_text("1 2 3 4\n1 2 3 noon\n", with_times());
  EXPECT_EQ(bad_time.where(), "input.txt:2: field 4");
  EXPECT_EQ(read_text("1 2 3 4\n1 2 3 noon\n").size(), 2U);
}

TEST_F(TextReader, HoldsIdsAgainstDeclaredCounts) {
  ReadOptions options;
  options.declared_users = 4;
  options.declared_items = 100;
  EXPECT_THAT(read_text("0 99\n3 1\n", options).users.values, ElementsAre(0, 3));
  const Error user = error_of_text("0 99\n4 1\n", options);
  EXPECT_EQ(user.where(), "input.txt:2: field 1");
  EXPECT_THAT(user.message(), HasSubstr("beyond the declared 4 users (the last index is 3)"));
  EXPECT_EQ(error_of_text("0 99\n1 100\n", options).where(), "input.txt:2: field 2");
}

TEST_F(TextReader, ReadsLibmf) {
  const RawRatings ratings = read_text("0 1 2.5\n3 4 1\n", with_format(FileFormat::kLibmf));
  EXPECT_EQ(ratings.format, FileFormat::kLibmf);
  EXPECT_THAT(ratings.users.values, ElementsAre(0, 3));
  const BadText cases[] = {
      {"0 1 2\n-3 1 2\n", "input.txt:2: field 1", "\"-3\" is negative"},
      {"0 1 2\n1 x 2\n", "input.txt:2: field 2", "\"x\" is not an index"},
      {"0 1 2\n1 4294967295 2\n", "input.txt:2: field 2", "\"4294967295\" is too large"},
      {"0 1 2\n1 2\n", "input.txt:2: field 3", "2 fields, expected 3"},
  };
  for (const BadText& bad : cases) {
    const Error error = error_of_text(bad.text, with_format(FileFormat::kLibmf));
    EXPECT_EQ(error.where(), bad.where);
    EXPECT_THAT(error.message(), HasSubstr(bad.message));
  }
}

}  // namespace
}  // namespace concerto::test
