// SciPy .npz files, written here byte by byte: number types, compression, zip64, and every kind of damage.
#include <cstring>
#include <map>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include "reader_support.hpp"

namespace concerto::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

void put(std::string& out, std::uint64_t value, std::size_t bytes) {
  for (std::size_t index = 0; index < bytes; ++index) {
    out += index < sizeof(value) ? static_cast<char>(value >> (8 * index) & 0xff) : '\0';
  }
}

std::string npy(const std::string& type, const std::string& shape, const std::string& data, int version = 1) {
  std::string header = "{'descr': '" + type + "', 'fortran_order': False, 'shape': " + shape + ", }";
  header.resize(118, ' ');
  header += '\n';
  std::string out = "\x93NUMPY";
  out += static_cast<char>(version);
  out += '\0';
  put(out, header.size(), version == 1 ? 2 : 4);
  return out + header + data;
}

template <class T>
std::string array(const std::string& type, const std::vector<T>& values) {
  std::string bytes(values.size() * sizeof(T), '\0');
  if (!values.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
  return npy(type, "(" + std::to_string(values.size()) + ",)", bytes);
}

std::string deflated(const std::string& data) {
  z_stream stream{};
  deflateInit2(&stream, 6, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY);
  std::string out(data.size() + 1000, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(data.data()));
  stream.avail_in = static_cast<uInt>(data.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

using Members = std::map<std::string, std::string>;

enum class Zip { kStored, kDeflated, kZip64 };

std::string zip(const Members& members, Zip kind) {
  std::string out;
  std::string directory;
  for (const auto& [name, data] : members) {
    const std::string stored = kind == Zip::kDeflated ? deflated(data) : data;
    const std::uint64_t crc = crc32(0, reinterpret_cast<const Bytef*>(data.data()), static_cast<uInt>(data.size()));
    const std::uint64_t method = kind == Zip::kDeflated ? 8 : 0;
    const bool is_big = kind == Zip::kZip64;
    const std::uint64_t offset = out.size();
    std::string extra;
    if (is_big) {
      put(extra, 1, 2);
      put(extra, 24, 2);
      put(extra, data.size(), 8);
      put(extra, stored.size(), 8);
      put(extra, offset, 8);
    }
    const auto common = [&](std::string& into) {
      put(into, 45, 2);
      put(into, 0, 2);
      put(into, method, 2);
      put(into, 0, 4);
      put(into, crc, 4);
      put(into, is_big ? 0xffffffffU : stored.size(), 4);
      put(into, is_big ? 0xffffffffU : data.size(), 4);
      put(into, name.size(), 2);
      put(into, extra.size(), 2);
    };
    out += "PK\x03\x04";
    common(out);
    out += name + extra + stored;
    directory += "PK\x01\x02";
    put(directory, 45, 2);
    common(directory);
    put(directory, 0, 2);
    put(directory, 0, 8);
    put(directory, is_big ? 0xffffffffU : offset, 4);
    directory += name + extra;
  }
  const std::uint64_t offset = out.size();
  out += directory;
  const bool is_big = kind == Zip::kZip64;
  if (is_big) {
    const std::uint64_t end = out.size();
    out += "PK\x06\x06";
    put(out, 44, 8);
    put(out, 0, 12);
    put(out, members.size(), 8);
    put(out, members.size(), 8);
    put(out, directory.size(), 8);
    put(out, offset, 8);
    out += "PK\x06\x07";
    put(out, 0, 4);
    put(out, end, 8);
    put(out, 1, 4);
  }
  out += "PK\x05\x06";
  put(out, 0, 4);
  put(out, members.size(), 2);
  put(out, members.size(), 2);
  put(out, is_big ? 0xffffffffU : directory.size(), 4);
  put(out, is_big ? 0xffffffffU : offset, 4);
  put(out, 0, 2);
  return out;
}

// The 3 x 5 matrix with entries (0,1)=1.5, (0,4)=2, (2,0)=-3.
Members matrix() {
  return {{"indices.npy", array<std::int32_t>("<i4", {1, 4, 0})},
          {"indptr.npy", array<std::int32_t>("<i4", {0, 2, 2, 3})},
          {"format.npy", npy("|S3", "()", "csr")},
          {"shape.npy", array<std::int64_t>("<i8", {3, 5})},
          {"data.npy", array<double>("<f8", {1.5, 2.0, -3.0})}};
}

class NpzReader : public ReaderTest {
 protected:
  [[nodiscard]] RawRatings read_members(const Members& members) const {
    return read(write("m.npz", zip(members, Zip::kStored)));
  }
  [[nodiscard]] Error error_of_members(const Members& members, const ReadOptions& options = {}) const {
    return error_of(write("m.npz", zip(members, Zip::kStored)), options);
  }
};

void expect_matrix(const RawRatings& ratings) {
  EXPECT_EQ(ratings.format, FileFormat::kNpz);
  EXPECT_EQ(ratings.shape_users, 3U);
  EXPECT_EQ(ratings.shape_items, 5U);
  EXPECT_THAT(ratings.users.values, ElementsAre(0, 0, 2));
  EXPECT_THAT(ratings.items.values, ElementsAre(1, 4, 0));
  EXPECT_THAT(ratings.values, ElementsAre(1.5F, 2.0F, -3.0F));
}

TEST_F(NpzReader, ReadsStoredDeflatedAndZip64) {
  for (const Zip kind : {Zip::kStored, Zip::kDeflated, Zip::kZip64}) {
    expect_matrix(read(write("m.npz", zip(matrix(), kind))));
    expect_matrix(read(write("other_name", zip(matrix(), kind)), with_format(FileFormat::kNpz)));
  }
}

TEST_F(NpzReader, ReadsEveryNumberType) {
  Members members = matrix();
  members["indices.npy"] = array<std::int64_t>("<i8", {1, 4, 0});
  members["indptr.npy"] = array<std::uint64_t>("<u8", {0, 2, 2, 3});
  members["format.npy"] = npy("<U3", "()", std::string("c\0\0\0s\0\0\0r\0\0\0", 12), 3);
  members["data.npy"] = array<float>("<f4", {1.5F, 2.0F, -3.0F});
  expect_matrix(read_members(members));
  const std::vector<std::string> arrays = {
      array<std::int8_t>("|i1", {1, 2, 3}),  array<std::uint8_t>("|u1", {1, 2, 3}),
      array<std::int16_t>("<i2", {1, 2, 3}), array<std::uint16_t>("<u2", {1, 2, 3}),
      array<std::int32_t>("<i4", {1, 2, 3}), array<std::uint32_t>("<u4", {1, 2, 3}),
      array<std::int64_t>("<i8", {1, 2, 3}), array<std::uint64_t>("<u8", {1, 2, 3})};
  for (const std::string& data : arrays) {
    members["data.npy"] = data;
    EXPECT_THAT(read_members(members).values, ElementsAre(1.0F, 2.0F, 3.0F));
  }
  members["data.npy"] = array<std::uint8_t>("|b1", {1, 0, 1});
  EXPECT_THAT(read_members(members).values, ElementsAre(1.0F, 0.0F, 1.0F));
}

TEST_F(NpzReader, NamesWhatIsWrongInsideTheArrays) {
  struct Bad {
    const char* member;
    std::string content;
    ErrorCode code;
    const char* where;
    const char* message;
  };
  const float nan = std::strtof("nan", nullptr);
  const Bad cases[] = {
      {"indices.npy", array<std::int32_t>("<i4", {1, 5, 0}), ErrorCode::kBadInput, "m.npz: indices.npy: element 1",
       "item 5"},
      {"indices.npy", array<std::int32_t>("<i4", {1, -4, 0}), ErrorCode::kBadInput, "m.npz: indices.npy: element 1",
       "negative"},
      {"indices.npy", array<float>("<f4", {1, 4, 0}), ErrorCode::kUnsupported, "m.npz: indices.npy", "integers"},
      {"indptr.npy", array<std::int32_t>("<i4", {0, 2, 1, 3}), ErrorCode::kCorrupt, "m.npz: indptr.npy: element 2",
       "order"},
      {"indptr.npy", array<std::int32_t>("<i4", {0, 2, 2, 2}), ErrorCode::kCorrupt, "m.npz: indptr.npy", "there are 3"},
      {"indptr.npy", array<std::int32_t>("<i4", {0, 2, 3}), ErrorCode::kCorrupt, "m.npz: indptr.npy",
       "3 elements for 3 rows"},
      {"shape.npy", array<std::int64_t>("<i8", {3, 5000000000}), ErrorCode::kBadInput, "m.npz: shape.npy: element 1",
       "too large"},
      {"shape.npy", array<std::int64_t>("<i8", {3}), ErrorCode::kCorrupt, "m.npz: shape.npy", "two numbers"},
      {"data.npy", array<float>("<f4", {1, nan, 0}), ErrorCode::kBadInput, "m.npz: data.npy: element 1", "finite"},
      {"data.npy", array<double>("<f8", {1, 2, 1e39}), ErrorCode::kBadInput, "m.npz: data.npy: element 2", "finite"},
      {"data.npy", array<double>("<f8", {1, 2}), ErrorCode::kCorrupt, "m.npz: data.npy", "2 elements for 3"},
      {"data.npy", array<double>(">f8", {1, 2, 3}), ErrorCode::kUnsupported, "m.npz: data.npy", "big-endian"},
      {"data.npy", array<std::uint16_t>("<f2", {1, 2, 3}), ErrorCode::kUnsupported, "m.npz: data.npy", "f2"},
      {"data.npy", npy("<f8", "(3,)", "short"), ErrorCode::kCorrupt, "m.npz: data.npy", "length"},
      {"data.npy", "not an array", ErrorCode::kCorrupt, "m.npz: data.npy", "not a .npy"},
      {"format.npy", npy("|S3", "()", "csc"), ErrorCode::kUnsupported, "m.npz", "\"csc\""},
  };
  for (const Bad& bad : cases) {
    Members members = matrix();
    members[bad.member] = bad.content;
    const Error error = error_of_members(members);
    EXPECT_EQ(error.code(), bad.code) << error.what();
    EXPECT_EQ(error.where(), bad.where) << error.what();
    EXPECT_THAT(error.message(), HasSubstr(bad.message));
  }
  Members without = matrix();
  without.erase("indptr.npy");
  EXPECT_THAT(error_of_members(without).message(), HasSubstr("it has no indptr.npy"));
  Members empty = matrix();
  empty["indices.npy"] = array<std::int32_t>("<i4", {});
  empty["data.npy"] = array<float>("<f4", {});
  empty["indptr.npy"] = array<std::int32_t>("<i4", {0, 0, 0, 0});
  EXPECT_THAT(error_of_members(empty).message(), HasSubstr("no entries"));
}

TEST_F(NpzReader, HoldsIdsAgainstDeclaredCounts) {
  ReadOptions users;
  users.declared_users = 2;
  EXPECT_THAT(error_of_members(matrix(), users).message(), HasSubstr("user 2 is beyond the declared 2"));
  ReadOptions items;
  items.declared_items = 4;
  EXPECT_THAT(error_of_members(matrix(), items).message(), HasSubstr("item 4 is beyond the declared 4"));
}

TEST_F(NpzReader, EveryTruncationIsCorrupt) {
  for (const Zip kind : {Zip::kStored, Zip::kDeflated, Zip::kZip64}) {
    const std::string whole = zip(matrix(), kind);
    for (std::size_t size = 0; size < whole.size(); ++size) {
      const Error error = error_of(write("m.npz", whole.substr(0, size)), {}, 1);
      ASSERT_EQ(error.code(), ErrorCode::kCorrupt) << size << " " << error.what();
    }
  }
}

TEST_F(NpzReader, FlippedDataIsCorrupt) {
  std::string bytes = zip(matrix(), Zip::kStored);
  const std::size_t data = bytes.find("data.npy");
  bytes[data + 8 + 128 + 4] ^= 1;
  const Error error = error_of(write("m.npz", bytes));
  EXPECT_EQ(error.code(), ErrorCode::kCorrupt);
  EXPECT_THAT(error.message(), HasSubstr("checksum"));
}

TEST_F(NpzReader, TextFormatsRefuseArchives) {
  const auto path = write("m.npz", zip(matrix(), Zip::kStored));
  EXPECT_THAT(error_of(path, with_format(FileFormat::kText)).message(), HasSubstr("zip archive"));
  EXPECT_EQ(error_of(write("m.txt", "1 2 3\n"), with_format(FileFormat::kNpz)).code(), ErrorCode::kCorrupt);
}

}  // namespace
}  // namespace concerto::test
