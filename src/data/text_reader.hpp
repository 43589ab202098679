// Reading a whole text file with all threads of a pool.
#pragma once

#include <filesystem>

#include "concerto/base/thread_pool.hpp"
#include "concerto/data/reader.hpp"

namespace concerto::data {

/// Text of any kind that `detect_layout` knows, plain or compressed. Errors as at `read_ratings`.
[[nodiscard]] RawRatings read_text(const std::filesystem::path& path, const ReadOptions& options, ThreadPool& pool);

}  // namespace concerto::data
