// Exports, read back by parsers of their own: header fields, alignment, the order of rows, atomicity.
#include <charconv>
#include <cstring>
#include <sstream>

#include <gmock/gmock.h>

#include "model_support.hpp"

namespace concerto::test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::StartsWith;

std::vector<float> floats(std::string_view bytes) {
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), values.size() * sizeof(float));
  return values;
}

/// A table's values with rows in the order of `ids`, which the caller states.
std::vector<float> expected_rows(const FactorTable& table, const IdMap& map, const std::vector<std::string>& ids) {
  std::vector<float> values;
  for (const std::string& id : ids) {
    const auto row = table.row(map.find(std::string_view(id)).value());
    values.insert(values.end(), row.begin(), row.end());
  }
  return values;
}

std::vector<float> expected_biases(const FactorTable& table, const IdMap& map, const std::vector<std::string>& ids) {
  std::vector<float> values;
  for (const std::string& id : ids) values.push_back(table.bias(map.find(std::string_view(id)).value()));
  return values;
}

const std::vector<std::string> kUserIds{"10", "20", "30", "40", "50"};
const std::vector<std::string> kItemIds{"alpha", "beta", "gamma ray"};

struct Npy {
  std::string header;
  std::vector<float> values;
  std::size_t data_offset = 0;
};

Npy read_npy(const fs::path& path) {
  const std::string bytes = read_file(path);
  EXPECT_EQ(bytes.substr(0, 8), std::string("\x93NUMPY\x01\x00", 8));
  std::uint16_t length = 0;
  std::memcpy(&length, bytes.data() + 8, 2);
  return {bytes.substr(10, length), floats(std::string_view(bytes).substr(10 + length)), std::size_t{10} + length};
}

TEST(ExportNpy, HoldsArraysInOrderOfIds) {
  const TemporaryFolder folder;
  const Model model = small_model();
  export_model(model, ExportFormat::kNpy, folder / "out");
  const Npy users = read_npy(folder / "out" / "users.npy");
  EXPECT_EQ(users.data_offset % 64, 0U);
  EXPECT_THAT(users.header, StartsWith("{'descr': '<f4', 'fortran_order': False, 'shape': (5, 3), }"));
  EXPECT_EQ(users.header.back(), '\n');
  EXPECT_EQ(users.values, expected_rows(model.users, model.user_ids, kUserIds));
  const Npy items = read_npy(folder / "out" / "items.npy");
  EXPECT_EQ(items.values, expected_rows(model.items, model.item_ids, kItemIds));
  const Npy biases = read_npy(folder / "out" / "user_biases.npy");
  EXPECT_THAT(biases.header, HasSubstr("'shape': (5,)"));
  EXPECT_EQ(biases.values, expected_biases(model.users, model.user_ids, kUserIds));
  EXPECT_EQ(read_npy(folder / "out" / "item_biases.npy").values,
            expected_biases(model.items, model.item_ids, kItemIds));
  EXPECT_EQ(read_file(folder / "out" / "user_ids.txt"), "10\n20\n30\n40\n50\n");
  EXPECT_EQ(read_file(folder / "out" / "item_ids.txt"), "alpha\nbeta\ngamma ray\n");
  EXPECT_EQ(read_file(folder / "out" / "mean.txt"), "3.58\n");
}

TEST(ExportNpy, ImplicitModelsHaveNeitherMeanNorBiases) {
  const TemporaryFolder folder;
  Model model;
  model.objective.kind = ObjectiveKind::kImplicitUnobserved;
  model.users = FactorTable({.rows = 20000, .rank = 17, .biases = false});
  model.items = FactorTable({.rows = 1, .rank = 17, .biases = false});
  initialize(model.users, Side::kUsers, 5, 1.0);
  model.user_ids = IdMap::indices(20000, kRowOrderSeed, 0);
  model.item_ids = IdMap::indices(1, kRowOrderSeed, 1);
  export_model(model, ExportFormat::kNpy, folder / "out");
  EXPECT_EQ(std::distance(fs::directory_iterator(folder / "out"), fs::directory_iterator()), 4);
  const Npy users = read_npy(folder / "out" / "users.npy");  // longer than the buffer it is written through
  ASSERT_EQ(users.values.size(), 20000U * 17U);
  for (const std::uint64_t id : {0, 1, 9999, 19999}) {
    const auto row = model.users.row(model.user_ids.find(id).value());
    EXPECT_TRUE(std::equal(row.begin(), row.end(), users.values.begin() + static_cast<std::ptrdiff_t>(id * 17))) << id;
  }
}

TEST(ExportSafetensors, HoldsTensorsAndIds) {
  const TemporaryFolder folder;
  const Model model = small_model();
  export_model(model, ExportFormat::kSafetensors, folder / "m.safetensors");
  const std::string bytes = read_file(folder / "m.safetensors");
  std::uint64_t length = 0;
  std::memcpy(&length, bytes.data(), 8);
  EXPECT_EQ(length % 8, 0U);
  const std::string header = bytes.substr(8, length);
  EXPECT_EQ(header.substr(0, header.find_last_not_of(' ') + 1),
            R"({"__metadata__":{"format":"concerto","mean":"3.58"},)"
            R"("users":{"dtype":"F32","shape":[5,3],"data_offsets":[0,60]},)"
            R"("items":{"dtype":"F32","shape":[3,3],"data_offsets":[60,96]},)"
            R"("user_biases":{"dtype":"F32","shape":[5],"data_offsets":[96,116]},)"
            R"("item_biases":{"dtype":"F32","shape":[3],"data_offsets":[116,128]}})");
  const std::string_view data = std::string_view(bytes).substr(8 + length);
  ASSERT_EQ(data.size(), 128U);
  EXPECT_EQ(floats(data.substr(0, 60)), expected_rows(model.users, model.user_ids, kUserIds));
  EXPECT_EQ(floats(data.substr(60, 36)), expected_rows(model.items, model.item_ids, kItemIds));
  EXPECT_EQ(floats(data.substr(96, 20)), expected_biases(model.users, model.user_ids, kUserIds));
  EXPECT_EQ(floats(data.substr(116, 12)), expected_biases(model.items, model.item_ids, kItemIds));
  EXPECT_EQ(read_file(folder / "m.safetensors.user_ids.txt"), "10\n20\n30\n40\n50\n");
  EXPECT_EQ(read_file(folder / "m.safetensors.item_ids.txt"), "alpha\nbeta\ngamma ray\n");
  EXPECT_EQ(std::distance(fs::directory_iterator(folder.path()), fs::directory_iterator()), 3)
      << "nothing is left over";
}

TEST(Export, NeverReplacesWhatIsNotAnExport) {
  const TemporaryFolder folder;
  const Model model = small_model();
  put_file(folder / "ratings.dat", "1::1::5\n");
  EXPECT_THROW(export_model(model, ExportFormat::kSafetensors, folder / "ratings.dat"), Error);
  EXPECT_EQ(read_file(folder / "ratings.dat"), "1::1::5\n");
  export_model(model, ExportFormat::kSafetensors, folder / "m.safetensors");
  EXPECT_NO_THROW(export_model(model, ExportFormat::kSafetensors, folder / "m.safetensors"));
  export_model(model, ExportFormat::kText, folder / "out");
  EXPECT_NO_THROW(export_model(model, ExportFormat::kText, folder / "out"));
  put_file(folder / "out" / "notes", "mine");
  EXPECT_THROW(export_model(model, ExportFormat::kText, folder / "out"), Error);
  EXPECT_EQ(read_file(folder / "out" / "notes"), "mine");
}

TEST(ExportText, LinesReadBackExactly) {
  const TemporaryFolder folder;
  const Model model = small_model();
  export_model(model, ExportFormat::kText, folder / "out");
  std::istringstream lines(read_file(folder / "out" / "users.txt"));
  std::vector<float> values;
  std::vector<std::string> ids;
  for (std::string line; std::getline(lines, line);) {
    std::istringstream fields(line);
    std::string field;
    fields >> field;
    ids.push_back(field);
    while (fields >> field) {
      float value = 0.0F;
      const auto end = std::from_chars(field.data(), field.data() + field.size(), value);
      EXPECT_EQ(end.ptr, field.data() + field.size()) << field;
      values.push_back(value);
    }
  }
  EXPECT_EQ(ids, kUserIds);
  EXPECT_EQ(values, expected_rows(model.users, model.user_ids, kUserIds));
  EXPECT_THAT(read_file(folder / "out" / "item_biases.txt"), StartsWith("alpha\t"));
  EXPECT_EQ(read_file(folder / "out" / "mean.txt"), "3.58\n");
}

TEST(Export, ReplacesOnlyItsOwnKind) {
  const TemporaryFolder folder;
  const Model model = small_model();
  export_model(model, ExportFormat::kNpy, folder / "out");
  export_model(model, ExportFormat::kNpy, folder / "out");
  EXPECT_THAT(message_of([&] { export_model(model, ExportFormat::kText, folder / "out"); }), HasSubstr("users.txt"));
  EXPECT_EQ(read_npy(folder / "out" / "items.npy").values.size(), 9U);
  EXPECT_EQ(message_of([&] { export_model(model, ExportFormat::kSafetensors, folder / "out"); }),
            (folder / "out").string() + ": is a directory; name a file");
}

}  // namespace
}  // namespace concerto::test
