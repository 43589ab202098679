// Model directories: round trips, atomic replacement, and the finding of every kind of damage.
#include <algorithm>
#include <cstring>
#include <limits>

#include <gmock/gmock.h>

#include "concerto/base/checksum.hpp"

#include "model_support.hpp"

namespace concerto::test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::StartsWith;

const std::vector<std::string> kFiles{"manifest.json",   "user_factors.bin", "item_factors.bin", "user_biases.bin",
                                      "item_biases.bin", "user_ids.bin",     "item_ids.bin"};

void expect_equal(const FactorTable& a, const FactorTable& b) {
  ASSERT_EQ(a.shape(), b.shape());
  EXPECT_TRUE(std::equal(a.data(), a.data() + a.rows() * a.stride(), b.data())) << "factors and padding";
  EXPECT_TRUE(std::ranges::equal(a.biases(), b.biases()));
}

void expect_equal(const IdMap& a, const IdMap& b) {
  ASSERT_EQ(a.size(), b.size());
  EXPECT_EQ(a.kind(), b.kind());
  for (RowIndex row = 0; row < a.size(); ++row) EXPECT_EQ(a.text(row), b.text(row));
}

/// The directory's manifest, changed by `change` and given a checksum that fits.
void rewrite_manifest(const fs::path& model, const std::string& from, const std::string& to) {
  std::string text = read_file(model / "manifest.json");
  const std::size_t place = text.find(from);
  ASSERT_NE(place, std::string::npos) << from << " is not in " << text;
  text.replace(place, from.size(), to);
  const std::size_t tail = text.rfind(",\n  \"manifest_checksum\"");
  text.resize(tail);
  const std::string sum = checksum_text(checksum(std::as_bytes(std::span(text.data(), text.size()))));
  put_file(model / "manifest.json", text + ",\n  \"manifest_checksum\": \"" + sum + "\"\n}\n");
}

/// Replaces a file and records its new checksum, as an attacker or a buggy writer would.
void replace_file(const fs::path& model, const std::string& name, const std::string& content) {
  const auto sum = [](const std::string& text) {
    return checksum_text(checksum(std::as_bytes(std::span(text.data(), text.size()))));
  };
  const std::string old_sum = sum(read_file(model / name));
  put_file(model / name, content);
  rewrite_manifest(model, old_sum, sum(content));
}

TEST(Model, RoundTrips) {
  const TemporaryFolder folder;
  const Model model = small_model();
  save_model(model, folder / "m");
  const Model loaded = load_model(folder / "m");
  expect_equal(loaded.users, model.users);
  expect_equal(loaded.items, model.items);
  expect_equal(loaded.user_ids, model.user_ids);
  expect_equal(loaded.item_ids, model.item_ids);
  EXPECT_EQ(loaded.objective.kind, ObjectiveKind::kExplicit);
  EXPECT_EQ(loaded.objective.regularization, 0.07);
  EXPECT_EQ(loaded.objective.regularization_exponent, 0.25);
  EXPECT_TRUE(loaded.objective.biases);
  EXPECT_EQ(loaded.objective.bias_regularization, 0.125);
  EXPECT_EQ(loaded.objective.mean, 3.58);
  EXPECT_FALSE(loaded.values_ignored);
  EXPECT_EQ(loaded.lowest_value, 0.5F);
  EXPECT_EQ(loaded.highest_value, 5.0F);
  EXPECT_EQ(loaded.config_json, R"({"model":{"rank":3,"regularization":0.07}})");
  EXPECT_EQ(loaded.metrics_json, R"({"rmse":0.8434})");
}

TEST(Model, RoundTripsEveryObjective) {
  const TemporaryFolder folder;
  for (const ObjectiveKind kind : {ObjectiveKind::kImplicitUnobserved, ObjectiveKind::kImplicitAlpha}) {
    Model model = small_model();
    model.objective = Objective{.kind = kind,
                                .regularization_exponent = 0.0,
                                .unobserved_weight = 0.3,
                                .alpha = 40.0,
                                .confidence = Confidence::kProduct};
    model.users = FactorTable({.rows = 5, .rank = 3, .biases = false});
    model.items = FactorTable({.rows = 3, .rank = 3, .biases = false});
    model.values_ignored = true;
    model.config_json.clear();
    model.metrics_json.clear();
    save_model(model, folder / "m");
    EXPECT_FALSE(fs::exists(folder / "m" / "user_biases.bin"));
    const Model loaded = load_model(folder / "m");
    EXPECT_EQ(loaded.objective.kind, kind);
    EXPECT_EQ(loaded.objective.unobserved_weight, 0.3);
    EXPECT_EQ(loaded.objective.alpha, 40.0);
    EXPECT_EQ(loaded.objective.confidence, Confidence::kProduct);
    EXPECT_TRUE(loaded.values_ignored);
    EXPECT_EQ(loaded.config_json, "{}");
    EXPECT_EQ(loaded.metrics_json, "{}");
    expect_equal(loaded.users, model.users);
  }
}

TEST(Model, RoundTripsShapesAcrossTheBufferSize) {
  // 1 MiB of buffer holds 4,096 rows of 64 floats: full buffers, a part of one, and rows longer than the buffer.
  const TemporaryFolder folder;
  for (const auto& [users, items, rank] : std::vector<std::array<std::uint32_t, 3>>{
           {4096, 4097, 64}, {1, 9001, 67}, {3, 0, 65536}, {1, 1, 1}, {7, 6, 16}, {5, 2, 17}}) {
    Model model;
    model.objective.kind = ObjectiveKind::kImplicitUnobserved;
    model.users = FactorTable({.rows = users, .rank = rank, .biases = false});
    model.items = FactorTable({.rows = items, .rank = rank, .biases = false});
    initialize(model.users, Side::kUsers, 3, 1.0);
    initialize(model.items, Side::kItems, 3, 1.0);
    model.user_ids = IdMap::indices(users, kRowOrderSeed, 0);
    model.item_ids = IdMap::indices(items, kRowOrderSeed, 1);
    save_model(model, folder / "m");
    EXPECT_EQ(fs::file_size(folder / "m" / "user_factors.bin"), std::uint64_t{users} * rank * 4);
    const Model loaded = load_model(folder / "m");
    expect_equal(loaded.users, model.users);
    expect_equal(loaded.items, model.items);
  }
}

TEST(Model, FactorFilesAreRawRows) {
  const TemporaryFolder folder;
  const Model model = small_model();
  save_model(model, folder / "m");
  const std::string bytes = read_file(folder / "m" / "item_factors.bin");
  ASSERT_EQ(bytes.size(), 3U * 3U * 4U);
  float values[9];
  std::memcpy(values, bytes.data(), sizeof(values));
  for (int k = 0; k < 9; ++k) EXPECT_EQ(values[k], model.items.row(k / 3)[k % 3]);
}

TEST(Model, EveryFlippedByteIsFound) {
  const TemporaryFolder folder;
  save_model(small_model(), folder / "m");
  for (const std::string& name : kFiles) {
    const std::string whole = read_file(folder / "m" / name);
    for (std::size_t place = 0; place < whole.size(); ++place) {
      std::string damaged = whole;
      damaged[place] = static_cast<char>(damaged[place] ^ (1 << (place % 8)));
      put_file(folder / "m" / name, damaged);
      const std::string message = message_of([&] { (void)load_model(folder / "m"); });
      EXPECT_THAT(message, HasSubstr((folder / "m").string())) << name << " byte " << place;
      EXPECT_NE(message, "no error") << name << " byte " << place;
    }
    put_file(folder / "m" / name, whole);
  }
  EXPECT_EQ(load_model(folder / "m").users.rows(), 5U);
}

TEST(Model, EveryTruncationAndExtensionIsFound) {
  const TemporaryFolder folder;
  save_model(small_model(), folder / "m");
  for (const std::string& name : kFiles) {
    const std::string whole = read_file(folder / "m" / name);
    for (std::size_t length = 0; length < whole.size(); ++length) {
      put_file(folder / "m" / name, whole.substr(0, length));
      EXPECT_THAT(message_of([&] { (void)load_model(folder / "m"); }),
                  StartsWith((folder / "m" / name).string() + ": "))
          << name << " of " << length << " bytes";
    }
    put_file(folder / "m" / name, whole + '\n');
    EXPECT_THAT(message_of([&] { (void)load_model(folder / "m"); }), StartsWith((folder / "m" / name).string() + ": "));
    put_file(folder / "m" / name, whole);
  }
}

TEST(Model, DamageIsNamed) {
  const TemporaryFolder folder;
  const fs::path path = folder / "m";
  const auto message = [&] { return message_of([&] { (void)load_model(path); }); };
  const auto fresh = [&] { save_model(small_model(), path); };

  fresh();
  put_file(path / "user_factors.bin", "short");
  EXPECT_EQ(message(), (path / "user_factors.bin").string() + ": has 5 bytes where the manifest says 60");
  fresh();
  put_file(path / "user_factors.bin", std::string(60, 'x'));
  EXPECT_EQ(message(),
            (path / "user_factors.bin").string() + ": was altered: its checksum does not match the manifest");
  fresh();
  fs::remove(path / "item_ids.bin");
  EXPECT_EQ(message(), (path / "item_ids.bin").string() + ": is missing");
  fresh();
  put_file(path / "manifest.json", "{\"format\": ");
  EXPECT_EQ(message(), (path / "manifest.json").string() + ": is not valid JSON: truncated or altered");
  fresh();
  std::string altered = read_file(path / "manifest.json");
  altered.replace(altered.find("0.8434"), 6, "0.1434");
  put_file(path / "manifest.json", altered);
  EXPECT_EQ(message(), (path / "manifest.json").string() + ": was altered: its checksum does not match");
}

TEST(Model, WhatAManifestMayNotSayEvenWithAFittingChecksum) {
  const TemporaryFolder folder;
  const fs::path path = folder / "m";
  const std::string manifest = (path / "manifest.json").string();
  const auto message = [&](const std::string& from, const std::string& to) {
    save_model(small_model(), path);
    rewrite_manifest(path, from, to);
    return message_of([&] { (void)load_model(path); });
  };
  EXPECT_EQ(message("\"rank\": 3,\n  \"obj", "\"rank\": 0,\n  \"obj"), manifest + ": rank must be at least 1");
  EXPECT_EQ(message("\"rank\": 3,\n  \"obj", "\"rank\": 70000,\n  \"obj"),
            manifest + ": rank must be at most 65536, not 70000");
  EXPECT_EQ(message("\"rank\": 3,\n  \"obj", "\"rank\": -3,\n  \"obj"), manifest + ": rank must be a whole number");
  EXPECT_EQ(message("\"rank\": 3,\n  \"obj", "\"rank\": 4,\n  \"obj"),
            manifest + ": 60 bytes of user_factors.bin do not fit the model's shape, which takes 80");
  EXPECT_EQ(message("\"users\": 5", "\"users\": 4294967295"),
            manifest + ": 60 bytes of user_factors.bin do not fit the model's shape, which takes 51539607540");
  EXPECT_EQ(message("\"users\": 5", "\"users\": 5e30"), manifest + ": users must be a whole number");
  EXPECT_EQ(message("\"kind\": \"explicit\"", "\"kind\": \"other\""),
            manifest + ": objective.kind has an unknown value \"other\"");
  EXPECT_EQ(message("\"mean\": 3.58", "\"mean\": null"), manifest + ": objective.mean must be a number");
  EXPECT_EQ(
      message("\"regularization\": 0.07,\n    \"regularization_e", "\"regularization\": -1,\n    \"regularization_e"),
      manifest + ": objective.regularization must not be negative");
  EXPECT_EQ(message("\"lowest_value\": 0.5", "\"lowest_value\": 1e60"),
            manifest + ": lowest_value must fit in 32 bits");
  EXPECT_EQ(message("\"values_ignored\": false", "\"values_ignored\": 0"),
            manifest + ": values_ignored must be true or false");
  EXPECT_EQ(message("\"biases\": true", "\"biases\": false"),
            manifest + ": lists user_biases.bin, which is no file of such a model");
  EXPECT_EQ(message("\"item_ids.bin\"", "\"../../secret\""),
            manifest + ": lists ../../secret, which is no file of such a model");
  EXPECT_EQ(message("\"files\"", "\"folders\""), manifest + ": has no \"files\"");
  EXPECT_EQ(message("\"rmse\"", "\"x\": " + std::string(100, '[') + std::string(100, ']') + ", \"rmse\""),
            manifest + ": is nested too deeply");
}

TEST(Model, OtherVersionsAndOtherManifests) {
  const TemporaryFolder folder;
  const fs::path path = folder / "m";
  save_model(small_model(), path);
  rewrite_manifest(path, "\"format_version\": 2", "\"format_version\": 3");
  const std::string wanted =
      (path / "manifest.json").string() + ": model format version 3; this program reads versions 1 to 2";
  EXPECT_EQ(message_of([&] { (void)load_model(path); }), wanted);
  EXPECT_EQ(message_of([&] { (void)read_manifest(path); }), wanted);
  EXPECT_TRUE(is_model(path));

  fs::create_directory(folder / "site");
  put_file(folder / "site" / "manifest.json", "{\"name\": \"a web site\"}");
  EXPECT_FALSE(is_model(folder / "site"));
  EXPECT_EQ(message_of([&] { (void)load_model(folder / "site"); }),
            (folder / "site" / "manifest.json").string() + ": is not the manifest of a model");
  EXPECT_EQ(
      message_of([&] { save_model(small_model(), folder / "site"); }),
      (folder / "site").string() +
          ": exists and is nothing that this command may replace (no user_factors.bin in it); choose another name or "
          "remove it");
  EXPECT_EQ(read_file(folder / "site" / "manifest.json"), "{\"name\": \"a web site\"}");
}

TEST(Model, ValuesThatAreNotFiniteAreRefused) {
  const TemporaryFolder folder;
  const fs::path path = folder / "m";
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                          -std::numeric_limits<float>::infinity()}) {
    save_model(small_model(), path);
    std::string factors = read_file(path / "item_factors.bin");
    std::memcpy(factors.data() + 4 * 4, &bad, 4);
    replace_file(path, "item_factors.bin", factors);
    EXPECT_EQ(message_of([&] { (void)load_model(path); }),
              (path / "item_factors.bin").string() + ": row 1 is not finite");
    save_model(small_model(), path);
    std::string biases = read_file(path / "user_biases.bin");
    std::memcpy(biases.data() + 8, &bad, 4);
    replace_file(path, "user_biases.bin", biases);
    EXPECT_EQ(message_of([&] { (void)load_model(path); }),
              (path / "user_biases.bin").string() + ": a bias is not finite");
  }
  Model model = small_model();
  model.users.row(2)[1] = std::numeric_limits<float>::quiet_NaN();
  save_model(small_model(), path);
  EXPECT_EQ(message_of([&] { save_model(model, path); }),
            "user_factors.bin: the factors are not finite; the model is not written");
  EXPECT_EQ(load_model(path).users.row(2)[1], small_model().users.row(2)[1]) << "the old model stands";
}

TEST(Model, IdMapsMustFitTheRows) {
  const TemporaryFolder folder;
  const fs::path path = folder / "m";
  save_model(small_model(), path);
  const auto image = IdMap::integers({1, 2, 3}, kRowOrderSeed, 0).serialize();
  const std::string old_length = "\"bytes\": " + std::to_string(fs::file_size(path / "user_ids.bin"));
  replace_file(path, "user_ids.bin", std::string(reinterpret_cast<const char*>(image.data()), image.size()));
  std::string text = read_file(path / "manifest.json");
  rewrite_manifest(path, "\"user_ids.bin\": {\n      " + old_length,
                   "\"user_ids.bin\": {\n      \"bytes\": " + std::to_string(image.size()));
  EXPECT_EQ(message_of([&] { (void)load_model(path); }),
            (path / "user_ids.bin").string() + ": has 3 ids where the model has 5 rows");
}

TEST(Model, AnInterruptedSaveLeavesTheOldModel) {
  const TemporaryFolder folder;
  const fs::path path = folder / "m";
  save_model(small_model(), path);
  {
    const std::vector<std::string_view> names(kFiles.begin(), kFiles.end());
    StagedDirectory half(path, names);  // what a save has written when the process ends in its middle
    put_file(half.path() / "user_factors.bin", "half of it");
    put_file(half.path() / "manifest.json", "{");
    EXPECT_EQ(load_model(path).users.row(4)[2], small_model().users.row(4)[2]);
  }
  EXPECT_EQ(load_model(path).items.row(2)[0], small_model().items.row(2)[0]);
  EXPECT_EQ(std::distance(fs::directory_iterator(folder.path()), fs::directory_iterator()), 1)
      << "nothing is left over";
}

TEST(Model, SavingReplacesAModelAndNothingElse) {
  const TemporaryFolder folder;
  Model model = small_model();
  save_model(model, folder / "m");
  model.users.row(0)[0] = 42.0F;
  save_model(model, folder / "m");
  EXPECT_EQ(load_model(folder / "m").users.row(0)[0], 42.0F);

  fs::create_directory(folder / "empty");
  save_model(model, folder / "empty");
  EXPECT_TRUE(is_model(folder / "empty"));

  fs::create_directory(folder / "photos");
  put_file(folder / "photos" / "cat.jpg", "meow");
  EXPECT_THAT(message_of([&] { save_model(model, folder / "photos"); }),
              StartsWith((folder / "photos").string() + ": "));
  EXPECT_EQ(read_file(folder / "photos" / "cat.jpg"), "meow");
  EXPECT_EQ(std::distance(fs::directory_iterator(folder.path()), fs::directory_iterator()), 3)
      << "nothing is left over";
}

TEST(Model, WhatIsNoModel) {
  const TemporaryFolder folder;
  EXPECT_FALSE(is_model(folder / "nothing"));
  EXPECT_EQ(message_of([&] { (void)load_model(folder / "nothing"); }),
            (folder / "nothing").string() + ": there is no such model");
  put_file(folder / "file", "text");
  EXPECT_FALSE(is_model(folder / "file"));
  EXPECT_EQ(message_of([&] { (void)load_model(folder / "file"); }),
            (folder / "file").string() + ": is not a model directory");
  EXPECT_FALSE(is_model(folder.path()));
  EXPECT_EQ(message_of([&] { (void)load_model(folder.path()); }),
            folder.path().string() + ": is not a model directory: it has no manifest.json");
}

TEST(Model, TheManifestIsText) {
  const TemporaryFolder folder;
  save_model(small_model(), folder / "m");
  const std::string text = read_manifest(folder / "m");
  EXPECT_THAT(text, StartsWith("{\n  \"format\": \"concerto-model\",\n  \"format_version\": 2,\n  \"users\": 5,\n"));
  EXPECT_THAT(text, HasSubstr("\"rmse\": 0.8434"));
  EXPECT_EQ(text, read_file(folder / "m" / "manifest.json"));
}

}  // namespace
}  // namespace concerto::test
