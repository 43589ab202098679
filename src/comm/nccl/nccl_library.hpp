// NCCL, loaded.
#pragma once

#include <string>

#include "loaded_library.hpp"
#include "nccl_api.hpp"

namespace concerto {

class NcclLibrary {
 public:
  /// From `path`, or where it is found. Error{kUnsupported} where it is not, or too old.
  explicit NcclLibrary(const std::string& path);
  [[nodiscard]] const nccl::Api& api() const noexcept { return api_; }
  /// 22809: 2.28.9
  [[nodiscard]] int version() const noexcept { return version_; }

 private:
  LoadedLibrary library_;
  nccl::Api api_;
  int version_ = 0;
};

}  // namespace concerto
