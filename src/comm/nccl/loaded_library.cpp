// The dynamic loader's functions.
#include "loaded_library.hpp"

#include <filesystem>
#include <system_error>
#include <utility>

#include <dlfcn.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "concerto/base/error.hpp"
#include "concerto/base/library_search.hpp"

namespace concerto {
namespace {

namespace fs = std::filesystem;

void* open(const std::string& file) {
  return dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
}

std::string loader_words() {
  const char* words = dlerror();
  return words == nullptr ? "" : words;
}

}  // namespace

LoadedLibrary::LoadedLibrary(const std::string& path, const std::vector<std::string>& names,
                             const std::string& package) {
  std::vector<std::string> tried;
  std::string words;
  const auto attempt = [&](const std::string& file, bool is_expected) {
    handle_ = open(file);
    if (handle_ != nullptr) {
      opened_ = file;
    } else if (is_expected && words.empty()) {
      words = loader_words();
    }
    return handle_ != nullptr;
  };
  if (!path.empty()) {
    if (attempt(path, true)) return;
    throw Error(ErrorCode::kUnsupported, fmt::format("'{}' does not load: {}", path, words));
  }
  tried.emplace_back("the loader's path");
  for (const std::string& name : names) {
    if (attempt(name, false)) return;
  }
  for (const fs::path& folder : library_folders(machine_places(), package)) {
    tried.push_back(folder.string());
    for (const std::string& name : names) {
      std::error_code ignored;
      if (fs::exists(folder / name, ignored) && attempt(folder / name, true)) return;
    }
  }
  const std::string what = words.empty() ? fmt::format("{} is not there", fmt::join(names, " or "))
                                         : fmt::format("{} does not load ({})", names.front(), words);
  throw Error(ErrorCode::kUnsupported,
              fmt::format("{}; tried {}: put its folder into LD_LIBRARY_PATH", what, fmt::join(tried, ", ")));
}

LoadedLibrary::~LoadedLibrary() {
  if (handle_ != nullptr) (void)dlclose(handle_);
}

LoadedLibrary::LoadedLibrary(LoadedLibrary&& other) noexcept
    : handle_(std::exchange(other.handle_, nullptr)), opened_(std::move(other.opened_)) {}

void* LoadedLibrary::symbol(const char* name) const {
  void* found = dlsym(handle_, name);
  if (found == nullptr) {
    throw Error(ErrorCode::kUnsupported, fmt::format("{} has no {}: another version is needed", opened_, name));
  }
  return found;
}

}  // namespace concerto
