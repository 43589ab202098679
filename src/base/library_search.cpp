// The search for the toolkit's libraries. Errors of the file system mean "not there".
#include "concerto/base/library_search.hpp"

#include <algorithm>
#include <cstdlib>
#include <system_error>

namespace concerto {
namespace {

namespace fs = std::filesystem;

/// Entries of a folder whose name begins with `prefix`, the highest name first.
std::vector<fs::path> entries_named(const fs::path& folder, const std::string& prefix) {
  std::vector<fs::path> found;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    if (entry->path().filename().string().starts_with(prefix)) found.push_back(entry->path());
  }
  std::ranges::sort(found, std::greater{});
  return found;
}

class Folders {
 public:
  void add(const fs::path& folder) {
    std::error_code error;
    if (!fs::is_directory(folder, error)) return;
    if (std::ranges::find(found_, folder) == found_.end()) found_.push_back(folder);
  }
  /// The folders of NVIDIA's packages in a Python installation below `root`.
  void add_python(const fs::path& root, const std::string& package) {
    for (const fs::path& python : entries_named(root, "python3")) {
      for (const char* name : {"site-packages", "dist-packages"}) {
        add(python / name / "nvidia" / "cu13" / "lib");
        add(python / name / "nvidia" / package / "lib");
      }
    }
  }
  [[nodiscard]] std::vector<fs::path> take() { return std::move(found_); }

 private:
  std::vector<fs::path> found_;
};

}  // namespace

SearchPlaces machine_places() {
  SearchPlaces places;
  places.variable = [](const char* name) {
    const char* value = std::getenv(name);
    return std::string(value == nullptr ? "" : value);
  };
  places.toolkits = {"/usr/local/cuda"};
  for (const fs::path& toolkit : entries_named("/usr/local", "cuda-")) places.toolkits.push_back(toolkit);
  places.python_roots = {"/usr/local/lib", "/usr/lib", "/opt/conda/lib", "/opt/venv/lib"};
  const std::string home = places.variable("HOME");
  if (!home.empty()) {
    places.python_roots.push_back(fs::path(home) / ".local/lib");
    for (const fs::path& version : entries_named(fs::path(home) / ".pyenv/versions", "3")) {
      places.python_roots.push_back(version / "lib");
    }
  }
  return places;
}

std::vector<std::filesystem::path> library_folders(const SearchPlaces& places, const std::string& package) {
  Folders folders;
  std::vector<fs::path> toolkits;
  for (const char* name : {"CUDA_HOME", "CUDA_PATH"}) {
    const std::string value = places.variable(name);
    if (!value.empty()) toolkits.emplace_back(value);
  }
  toolkits.insert(toolkits.end(), places.toolkits.begin(), places.toolkits.end());
  for (const fs::path& toolkit : toolkits) {
    folders.add(toolkit / "lib64");
    folders.add(toolkit / "lib");
  }
  for (const char* name : {"VIRTUAL_ENV", "CONDA_PREFIX"}) {
    const std::string value = places.variable(name);
    if (!value.empty()) folders.add_python(fs::path(value) / "lib", package);
  }
  for (const fs::path& root : places.python_roots) folders.add_python(root, package);
  return folders.take();
}

}  // namespace concerto
