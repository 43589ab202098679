// Where a shared library of the CUDA toolkit may lie on a machine: the loader's own path, the toolkit, Python's
// packages.
//
// A program that loads such a library when it runs starts on machines without it, and takes the version that is there.
// This file knows names and folders, looks at the file system and the environment that it is given, and loads nothing.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace concerto {

/// What the search depends on.
struct SearchPlaces {
  /// A variable of the environment, "" where it is not set.
  std::function<std::string(const char*)> variable;
  /// Folders below which Python installations lie ("/usr/lib" for /usr/lib/python3.11/site-packages).
  std::vector<std::filesystem::path> python_roots;
  std::vector<std::filesystem::path> toolkits;  ///< besides CUDA_HOME and CUDA_PATH
};

/// This machine's.
[[nodiscard]] SearchPlaces machine_places();

/// The folders that may hold the toolkit's libraries, in the order in which they are to be tried: CUDA_HOME, CUDA_PATH
/// and the toolkits (lib64, lib), then the site-packages of VIRTUAL_ENV, CONDA_PREFIX and the Python roots (their
/// nvidia/cu13/lib and nvidia/PACKAGE/lib). Only folders that exist; each once.
[[nodiscard]] std::vector<std::filesystem::path> library_folders(const SearchPlaces& places,
                                                                 const std::string& package);

}  // namespace concerto
