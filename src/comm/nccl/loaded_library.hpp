// A shared library that is found and opened when the program runs.
#pragma once

#include <string>
#include <vector>

namespace concerto {

/// Move-only owner. The library stays in memory when its owner is gone: NCCL and CUDA have threads of their own.
class LoadedLibrary {
 public:
  /// `path` where it is given; else the first of `names` that opens, from the loader's own path, then from the folders
  /// of CUDA's toolkits and of Python's packages (`package`). Error{kUnsupported} naming what was tried.
  LoadedLibrary(const std::string& path, const std::vector<std::string>& names, const std::string& package);
  ~LoadedLibrary();
  LoadedLibrary(LoadedLibrary&& other) noexcept;
  LoadedLibrary& operator=(LoadedLibrary&&) = delete;

  /// Error{kUnsupported} where the library has no such function.
  template <class Function>
  void resolve(const char* name, Function& function) const {
    function = reinterpret_cast<Function>(symbol(name));
  }

 private:
  [[nodiscard]] void* symbol(const char* name) const;
  void* handle_ = nullptr;
  std::string opened_;
};

}  // namespace concerto
