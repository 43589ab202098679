// Where shared libraries of the toolkit are looked for, on a planted file system.
#include "concerto/base/library_search.hpp"

#include <filesystem>
#include <map>
#include <random>

#include <gtest/gtest.h>

namespace concerto {
namespace {

namespace fs = std::filesystem;

class LibrarySearch : public ::testing::Test {
 protected:
  LibrarySearch() { fs::create_directories(root); }
  ~LibrarySearch() override { fs::remove_all(root); }
  fs::path folder(const std::string& name) {
    fs::create_directories(root / name);
    return root / name;
  }
  SearchPlaces places() {
    return {[this](const char* name) { return variables[name]; }, {root / "usr/lib"}, {root / "cuda"}};
  }

  fs::path root = fs::temp_directory_path() / ("concerto_library_search_" + std::to_string(std::random_device()()));
  std::map<std::string, std::string> variables;
};

TEST_F(LibrarySearch, FindsNothingWhereThereIsNothing) {
  variables["CUDA_HOME"] = root / "absent";
  EXPECT_TRUE(library_folders(places(), "cublas").empty());
}

TEST_F(LibrarySearch, TheEnvironmentsToolkitComesFirstThenPython) {
  const fs::path toolkit = folder("cuda/lib64");
  const fs::path home = folder("home/lib64");
  const fs::path venv = folder("venv/lib/python3.11/site-packages/nvidia/cublas/lib");
  const fs::path newer = folder("usr/lib/python3.12/dist-packages/nvidia/cu13/lib");
  const fs::path older = folder("usr/lib/python3.11/site-packages/nvidia/cublas/lib");
  folder("usr/lib/python3.11/site-packages/nvidia/cudnn/lib");
  variables["CUDA_HOME"] = root / "home";
  variables["VIRTUAL_ENV"] = root / "venv";
  EXPECT_EQ(library_folders(places(), "cublas"), (std::vector<fs::path>{home, toolkit, venv, newer, older}));
}

TEST_F(LibrarySearch, AFolderIsNamedOnce) {
  const fs::path toolkit = folder("cuda/lib64");
  variables["CUDA_HOME"] = root / "cuda";
  variables["CUDA_PATH"] = root / "cuda";
  EXPECT_EQ(library_folders(places(), "cublas"), std::vector<fs::path>{toolkit});
}

}  // namespace
}  // namespace concerto
