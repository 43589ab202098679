// The names of a model directory's files.
#pragma once

#include <array>
#include <span>
#include <string_view>

#include "concerto/base/ids.hpp"

#include "manifest.hpp"

namespace concerto::model {

/// One side of a model: the names of its files.
struct SideNames {
  std::string_view factors;
  std::string_view biases;
  std::string_view ids;
};
inline constexpr SideNames kUserFiles{"user_factors.bin", "user_biases.bin", "user_ids.bin"};
inline constexpr SideNames kItemFiles{"item_factors.bin", "item_biases.bin", "item_ids.bin"};
[[nodiscard]] constexpr const SideNames& names_of(Side side) noexcept {
  return side == Side::kUsers ? kUserFiles : kItemFiles;
}

inline constexpr std::array<std::string_view, 7> kModelFiles = {kUserFiles.factors,  kUserFiles.biases, kUserFiles.ids,
                                                                kItemFiles.factors,  kItemFiles.biases, kItemFiles.ids,
                                                                model::kManifestName};

/// Is there neither an infinity nor a NaN?
[[nodiscard]] bool all_finite(std::span<const float> values);

}  // namespace concerto::model
