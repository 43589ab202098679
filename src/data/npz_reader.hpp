// SciPy's sparse matrices in compressed row form, as scipy.sparse.save_npz writes them.
#pragma once

#include <filesystem>

#include "concerto/data/reader.hpp"

namespace concerto::data {

/// Rows are users, columns are items. Error{kUnsupported} for other sparse forms, big-endian and complex numbers.
[[nodiscard]] RawRatings read_npz(const std::filesystem::path& path, const ReadOptions& options);

}  // namespace concerto::data
