// Pieces of model directories: whoever writes which chunks, the bytes are the same; damage is found in its piece and
// named by rows; models of the first format are still read.
#include "concerto/model/model_writer.hpp"

#include <algorithm>
#include <map>

#include <gmock/gmock.h>

#include "concerto/base/checksum.hpp"
#include "concerto/data/partition.hpp"

#include "model_support.hpp"

namespace concerto::test {
namespace {

namespace fs = std::filesystem;
using testing::EndsWith;
using testing::HasSubstr;

/// 200 users in four chunks, the last of 8 rows, and 70 items in two.
Model model_of_chunks(bool biases) {
  Model model;
  model.objective.biases = biases;
  model.users = FactorTable({.rows = 200, .rank = 5, .biases = biases});
  model.items = FactorTable({.rows = 70, .rank = 5, .biases = biases});
  initialize(model.users, Side::kUsers, 3, 1.0);
  initialize(model.items, Side::kItems, 3, 1.0);
  for (FactorTable* table : {&model.users, &model.items}) {
    for (std::size_t row = 0; row < table->biases().size(); ++row)
      table->biases()[row] = 0.5F * static_cast<float>(row);
  }
  model.user_ids = IdMap::indices(200, kRowOrderSeed, 0);
  model.item_ids = IdMap::indices(70, kRowOrderSeed, 1);
  return model;
}

std::map<std::string, std::string> files_of(const fs::path& folder) {
  std::map<std::string, std::string> files;
  for (const auto& file : fs::directory_iterator(folder)) {
    files[file.path().filename().string()] = read_file(file.path());
  }
  return files;
}

/// The manifest without its own checksum, changed, with one that fits.
void change_manifest(const fs::path& model, const std::function<void(std::string&)>& change) {
  std::string text = read_file(model / "manifest.json");
  text.resize(text.rfind(",\n  \"manifest_checksum\""));
  change(text);
  const std::string sum = checksum_text(checksum(std::as_bytes(std::span(text.data(), text.size()))));
  put_file(model / "manifest.json", text + ",\n  \"manifest_checksum\": \"" + sum + "\"\n}\n");
}

void replace_once(std::string& text, const std::string& from, const std::string& to) {
  const std::size_t place = text.find(from);
  ASSERT_NE(place, std::string::npos) << from << " is not in " << text;
  text.replace(place, from.size(), to);
}

TEST(ModelWriter, PartsFromSeveralWritersAreTheBytesOfOne) {
  for (const bool biases : {true, false}) {
    const TemporaryFolder folder;
    const Model model = model_of_chunks(biases);
    save_model(model, folder / "alone");
    const ModelShape shape{model.users.shape(), model.items.shape()};
    StagedModel staged(folder / "parts");
    ModelRowFiles first(staged.folder(), shape, ModelRowFiles::Open::kMake);
    ModelRowFiles second(staged.folder(), shape, ModelRowFiles::Open::kExisting);
    PieceChecksums of_first(shape);
    PieceChecksums of_second(shape);
    second.write(Side::kUsers, {128, 200}, model.users, of_second);
    first.write(Side::kItems, {64, 70}, model.items, of_first);
    first.write(Side::kUsers, {64, 128}, model.users, of_first);
    second.write(Side::kUsers, {0, 64}, model.users, of_second);
    second.write(Side::kItems, {0, 64}, model.items, of_second);
    first.finish();
    second.finish();
    // No piece is written by both, so one of the two checksums is still 0.
    for (std::size_t k = 0; k < of_first.all().size(); ++k) {
      ASSERT_TRUE((of_first.all()[k] == 0) != (of_second.all()[k] == 0)) << "piece " << k;
      of_first.all()[k] |= of_second.all()[k];
    }
    staged.commit(model, of_first);
    EXPECT_EQ(files_of(folder / "parts"), files_of(folder / "alone"));
    EXPECT_EQ(std::distance(fs::directory_iterator(folder.path()), fs::directory_iterator()), 2) << "nothing is left";
  }
}

TEST(ModelWriter, ChecksumsHaveAPlaceForEachChunkOfEachFile) {
  const Model model = model_of_chunks(true);
  PieceChecksums checksums({model.users.shape(), model.items.shape()});
  EXPECT_EQ(checksums.all().size(), 4U + 4U + 2U + 2U);
  EXPECT_EQ(checksums.factors(Side::kUsers, {64, 200}).begin, 1U);
  EXPECT_EQ(checksums.factors(Side::kUsers, {64, 200}).count, 3U);
  EXPECT_EQ(checksums.biases(Side::kUsers, {0, 64}).begin, 4U);
  EXPECT_EQ(checksums.factors(Side::kItems, {0, 70}).begin, 8U);
  EXPECT_EQ(checksums.biases(Side::kItems, {64, 70}).begin, 11U);
  EXPECT_EQ(checksums.biases(Side::kItems, {64, 70}).count, 1U);
}

TEST(ModelWriter, WhatIsNotCommittedIsGone) {
  const TemporaryFolder folder;
  const Model model = model_of_chunks(true);
  save_model(model, folder / "m");
  const auto before = files_of(folder / "m");
  {
    StagedModel staged(folder / "m");
    ModelRowFiles files(staged.folder(), {model.users.shape(), model.items.shape()}, ModelRowFiles::Open::kMake);
    PieceChecksums checksums({model.users.shape(), model.items.shape()});
    files.write(Side::kUsers, {0, 64}, model.users, checksums);
    EXPECT_EQ(fs::file_size(staged.folder() / "user_factors.bin"), 200U * 5 * 4) << "of full length from the start";
  }
  EXPECT_EQ(files_of(folder / "m"), before);
  EXPECT_EQ(std::distance(fs::directory_iterator(folder.path()), fs::directory_iterator()), 1);
}

TEST(ModelWriter, DamageIsNamedByTheRowsOfItsPiece) {
  const TemporaryFolder folder;
  const Model model = model_of_chunks(true);
  save_model(model, folder / "m");
  const auto message_with_flip = [&](const std::string& name, std::size_t place) {
    const std::string whole = read_file(folder / "m" / name);
    std::string damaged = whole;
    damaged[place] = static_cast<char>(damaged[place] ^ 0x04);
    put_file(folder / "m" / name, damaged);
    const std::string message = message_of([&] { (void)load_model(folder / "m"); });
    put_file(folder / "m" / name, whole);
    return message;
  };
  const auto wanted = [&](const std::string& name, const std::string& rows) {
    return (folder / "m" / name).string() + ": was altered: the checksum of rows " + rows +
           " does not match the manifest";
  };
  EXPECT_EQ(message_with_flip("user_factors.bin", 0), wanted("user_factors.bin", "0 to 64"));
  EXPECT_EQ(message_with_flip("user_factors.bin", 64 * 20), wanted("user_factors.bin", "64 to 128"));
  EXPECT_EQ(message_with_flip("user_factors.bin", 199 * 20 + 19), wanted("user_factors.bin", "192 to 200"));
  EXPECT_EQ(message_with_flip("item_biases.bin", 69 * 4), wanted("item_biases.bin", "64 to 70"));
  EXPECT_EQ(load_model(folder / "m").users.rows(), 200U);
}

TEST(ModelWriter, PiecesOfAManifestMustFitTheirFile) {
  const TemporaryFolder folder;
  const Model model = model_of_chunks(false);
  const auto message = [&](const std::string& from, const std::string& to) {
    save_model(model, folder / "m");
    change_manifest(folder / "m", [&](std::string& text) { replace_once(text, from, to); });
    return message_of([&] { (void)load_model(folder / "m"); });
  };
  const std::string manifest = (folder / "m" / "manifest.json").string();
  EXPECT_EQ(message("\"piece_bytes\": 1280", "\"piece_bytes\": 640"),
            manifest + ": lists 4 pieces of 640 bytes of user_factors.bin, which do not fit its 4000 bytes");
  EXPECT_EQ(message("\"piece_bytes\": 1280", "\"piece_bytes\": 1281"),
            manifest + ": lists 4 pieces of 1281 bytes of user_factors.bin, which do not fit its 4000 bytes");
  EXPECT_EQ(message("\"piece_bytes\": 1280", "\"piece_bytes\": 18446744073709551615"),
            manifest +
                ": files.user_factors.bin.piece_bytes must be at most 9223372036854775807, not "
                "18446744073709551615");
  EXPECT_EQ(message("\"piece_bytes\": 1280", "\"piece_bytes\": 0"),
            manifest + ": files.user_factors.bin has no \"checksum\"");
  EXPECT_EQ(message("\"checksums\": \"", "\"checksums\": \"0"),
            manifest + ": files.user_factors.bin.checksums must be checksums of 16 digits each");
  EXPECT_EQ(message("\"checksums\": \"", "\"checksums\": \"000000000000000x"),
            manifest + ": files.user_factors.bin.checksums must be checksums of 16 digits each");
  EXPECT_EQ(message("\"checksums\": \"", "\"checksums\": \"0123456789abcdef"),
            manifest + ": lists 5 pieces of 1280 bytes of user_factors.bin, which do not fit its 4000 bytes");
}

TEST(ModelWriter, ModelsOfTheFirstFormatAreRead) {
  const TemporaryFolder folder;
  const Model model = model_of_chunks(true);
  save_model(model, folder / "m");
  change_manifest(folder / "m", [&](std::string& text) {
    replace_once(text, "\"format_version\": 2", "\"format_version\": 1");
    for (const char* name : {"user_factors.bin", "user_biases.bin", "item_factors.bin", "item_biases.bin"}) {
      const std::string content = read_file(folder / "m" / name);
      const std::size_t entry = text.find(std::string("\"") + name + "\"");
      const std::size_t begin = text.find("\"piece_bytes\"", entry);
      const std::string sum = checksum_text(checksum(std::as_bytes(std::span(content.data(), content.size()))));
      text.replace(begin, text.find('}', begin) - begin, "\"checksum\": \"" + sum + "\"\n    ");
    }
  });
  EXPECT_TRUE(is_model(folder / "m"));
  const Model loaded = load_model(folder / "m");
  for (RowIndex row = 0; row < 200; ++row) EXPECT_TRUE(std::ranges::equal(loaded.users.row(row), model.users.row(row)));
  EXPECT_TRUE(std::ranges::equal(loaded.items.biases(), model.items.biases()));
  std::string damaged = read_file(folder / "m" / "item_factors.bin");
  damaged[100] = static_cast<char>(damaged[100] ^ 1);
  put_file(folder / "m" / "item_factors.bin", damaged);
  EXPECT_THAT(message_of([&] { (void)load_model(folder / "m"); }),
              EndsWith("was altered: its checksum does not match the manifest"));
}

}  // namespace
}  // namespace concerto::test
