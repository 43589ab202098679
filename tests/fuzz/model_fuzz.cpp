// Model directories with a damaged file: loading gives a Model or an Error. The first byte chooses the file. Of the
// rest, a manifest is taken as it is or (second choice) with a checksum that fits, so that values behind the checksum
// are reached; another file is replaced, or changed at one place, and the manifest is made to fit its length and
// checksum.
#include <array>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <string>

#include <unistd.h>

#include "concerto/base/checksum.hpp"
#include "concerto/base/error.hpp"
#include "concerto/base/file.hpp"
#include "concerto/model/model.hpp"

namespace {

namespace fs = std::filesystem;
using concerto::Model;

constexpr std::array<const char*, 6> kFiles{"user_factors.bin", "item_factors.bin", "user_biases.bin",
                                            "item_biases.bin",  "user_ids.bin",     "item_ids.bin"};
constexpr std::string_view kTail = ",\n  \"manifest_checksum\": \"";

std::string sum_of(std::string_view text) {
  return concerto::checksum_text(concerto::checksum(std::as_bytes(std::span(text.data(), text.size()))));
}

void put(const fs::path& path, std::string_view text) {
  concerto::OutputFile file(path);
  file.write(text);
}

/// A valid model in a folder of this process, made once.
class Directory {
 public:
  Directory() : path_(fs::temp_directory_path() / ("concerto-model-fuzz-" + std::to_string(::getpid()))) {
    Model model;
    model.objective.biases = true;
    model.users = concerto::FactorTable({.rows = 4, .rank = 2, .biases = true});
    model.items = concerto::FactorTable({.rows = 3, .rank = 2, .biases = true});
    concerto::initialize(model.users, concerto::Side::kUsers, 1, 1.0);
    concerto::initialize(model.items, concerto::Side::kItems, 1, 1.0);
    model.user_ids = concerto::IdMap::integers({3, 5, 8, 13}, concerto::kRowOrderSeed, 0);
    model.item_ids = concerto::IdMap::labels({"a", "b", "c"}, concerto::kRowOrderSeed, 1);
    concerto::save_model(model, path_);
    manifest_ = concerto::read_file(path_ / "manifest.json");
    for (std::size_t k = 0; k < kFiles.size(); ++k) contents_[k] = concerto::read_file(path_ / kFiles[k]);
  }
  ~Directory() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;

  void with_manifest(std::string text, bool fitting_checksum) {
    if (fitting_checksum) text += std::string(kTail) + sum_of(text) + "\"\n}\n";
    put(path_ / "manifest.json", text);
    load();
    put(path_ / "manifest.json", manifest_);
  }

  void with_file(std::size_t which, std::string_view content) {
    const std::string& before = contents_[which];
    std::string text = manifest_.substr(0, manifest_.rfind(kTail));
    const std::size_t entry = text.find(kFiles[which]);
    replace(text, entry, "\"bytes\": " + std::to_string(before.size()), "\"bytes\": " + std::to_string(content.size()));
    replace(text, entry, sum_of(before), sum_of(content));
    put(path_ / kFiles[which], content);
    with_manifest(text, true);
    put(path_ / kFiles[which], before);
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
  static void replace(std::string& text, std::size_t from, const std::string& old_part, const std::string& new_part) {
    text.replace(text.find(old_part, from), old_part.size(), new_part);
  }

  void load() const {
    try {
      const Model model = concerto::load_model(path_);
      if (model.user_ids.size() != model.users.rows() || model.item_ids.size() != model.items.rows()) std::abort();
      for (concerto::RowIndex row = 0; row < model.items.rows(); ++row) {
        if (model.item_ids.find(std::string_view(model.item_ids.text(row))) != row) std::abort();
      }
    } catch (const concerto::Error&) {
      return;  // refusing is an answer; anything else thrown ends the program
    }
  }

  fs::path path_;
  std::string manifest_;
  std::array<std::string, kFiles.size()> contents_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static Directory directory;
  if (size == 0) return 0;
  const std::string_view rest(reinterpret_cast<const char*>(data) + 1, size - 1);
  const std::size_t choice = data[0] % (2 + 2 * kFiles.size());
  if (choice < 2) {
    directory.with_manifest(std::string(rest), choice == 1);
  } else if (choice < 2 + kFiles.size()) {
    directory.with_file(choice - 2, rest);
  } else {
    directory.with_change(choice - 2 - kFiles.size(), rest);
  }
  return 0;
}
