// Opening cuBLAS. libcublas needs libcublasLt of the same folder: that is opened first, its symbols for all, so that
// the loader does not look for it elsewhere.
#include "nvidia/cublas_library.hpp"

#include <filesystem>
#include <system_error>
#include <vector>

#include <dlfcn.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "concerto/base/error.hpp"
#include "concerto/base/library_search.hpp"

namespace concerto::cuda {
namespace {

constexpr int kMajors[] = {13, 12};

struct Opened {
  void* light = nullptr;
  void* library = nullptr;
  std::string failure;  ///< the loader's words on a file that is there but did not open
};

std::string loader_words() {
  const char* words = dlerror();
  return words == nullptr ? "" : words;
}

void* open_library(const std::string& name, int visibility) {
  return dlopen(name.c_str(), RTLD_NOW | visibility | RTLD_NODELETE);
}

/// One version from one folder; an empty folder is the loader's own path.
Opened open_from(const std::filesystem::path& folder, int major) {
  const auto file = [&](const char* name) { return (folder / fmt::format("{}.so.{}", name, major)).string(); };
  Opened opened;
  std::error_code error;
  if (!folder.empty() && !std::filesystem::exists(file("libcublas"), error)) return opened;
  opened.light = open_library(file("libcublasLt"), RTLD_GLOBAL);
  std::string words = opened.light == nullptr ? loader_words() : "";
  opened.library = open_library(file("libcublas"), RTLD_LOCAL);
  if (opened.library == nullptr && words.empty()) words = loader_words();
  if (opened.library != nullptr) return opened;
  if (opened.light != nullptr) (void)dlclose(opened.light);
  return {nullptr, nullptr, folder.empty() ? "" : words};
}

/// The first that opens. `tried` is filled with the places in words.
Opened open_first(std::vector<std::string>& tried) {
  std::string failure;
  const auto attempt = [&](const std::filesystem::path& folder) {
    Opened opened;
    for (const int major : kMajors) {
      opened = open_from(folder, major);
      if (opened.library != nullptr) return opened;
      if (failure.empty()) failure = opened.failure;
    }
    return opened;
  };
  tried.emplace_back("the loader's path");
  Opened opened = attempt({});
  if (opened.library != nullptr) return opened;
  for (const std::filesystem::path& folder : library_folders(machine_places(), "cublas")) {
    tried.push_back(folder.string());
    opened = attempt(folder);
    if (opened.library != nullptr) return opened;
  }
  opened.failure = failure;
  return opened;
}

std::string missing_message(const std::vector<std::string>& tried, const std::string& failure) {
  const std::string what = failure.empty() ? "cuBLAS is not there (libcublas.so.13 or .12)"
                                           : fmt::format("cuBLAS does not load ({})", failure);
  return fmt::format("{}; tried {}: put its folder into LD_LIBRARY_PATH", what, fmt::join(tried, ", "));
}

template <class Function>
void resolve(void* library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  if (function == nullptr) {
    throw Error(ErrorCode::kUnsupported, fmt::format("this cuBLAS has no {}: another version is needed", name), "cuda");
  }
}

}  // namespace

CublasLibrary::CublasLibrary() {
  std::vector<std::string> tried;
  const Opened opened = open_first(tried);
  if (opened.library == nullptr) {
    throw Error(ErrorCode::kUnsupported, missing_message(tried, opened.failure), "cuda");
  }
  light_ = opened.light;
  library_ = opened.library;
  resolve(library_, "cublasCreate_v2", create);
  resolve(library_, "cublasDestroy_v2", destroy);
  resolve(library_, "cublasSetStream_v2", set_stream);
  resolve(library_, "cublasGemmEx", product);
  resolve(library_, "cublasGemmStridedBatchedEx", batched_product);
  resolve(library_, "cublasGetStatusString", status_string);
}

CublasLibrary::~CublasLibrary() {
  if (library_ != nullptr) (void)dlclose(library_);
  if (light_ != nullptr) (void)dlclose(light_);
}

CublasLibrary::CublasLibrary(CublasLibrary&& other) noexcept
    : create(other.create),
      destroy(other.destroy),
      set_stream(other.set_stream),
      product(other.product),
      batched_product(other.batched_product),
      status_string(other.status_string),
      light_(std::exchange(other.light_, nullptr)),
      library_(std::exchange(other.library_, nullptr)) {}

std::string CublasLibrary::obstacle() {
  try {
    const CublasLibrary library;
  } catch (const Error& error) {
    return error.message();
  }
  return "";
}

}  // namespace concerto::cuda
