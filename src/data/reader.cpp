// The one entry point of reading: which reader a file goes to, and the names of formats.
#include "concerto/data/reader.hpp"

#include <new>
#include <string_view>

#include "concerto/base/error.hpp"

#include "input_file.hpp"
#include "npz_reader.hpp"
#include "text_reader.hpp"

namespace concerto {
namespace {

// Zip archives begin with these, empty ones with the second.
bool is_zip(const std::filesystem::path& path) {
  char head[4] = {};
  const data::InputFile file(path);
  const std::string_view text(head, file.read_at(0, head, sizeof(head)));
  return text == std::string_view("PK\x03\x04", 4) || text == std::string_view("PK\x05\x06", 4);
}

}  // namespace

RawRatings read_ratings(const std::filesystem::path& path, const ReadOptions& options, ThreadPool& pool) {
  const std::string name = path.string();
  try {
    const bool has_zip = is_zip(path);
    const bool wants_npz = options.format == FileFormat::kNpz;
    if (has_zip && (wants_npz || options.format == FileFormat::kAuto)) return data::read_npz(path, options);
    if (has_zip) throw Error(ErrorCode::kBadInput, "is a zip archive (.npz), not text", name);
    if (wants_npz || path.extension() == ".npz") {
      throw Error(ErrorCode::kCorrupt, "is not a whole .npz file: it does not begin as a zip archive does", name);
    }
    return data::read_text(path, options, pool);
  } catch (const std::bad_alloc&) {
    throw Error(ErrorCode::kOutOfMemory, "not enough memory to hold the entries", name);
  }
}

const std::vector<std::string>& file_format_names() {
  static const std::vector<std::string> names = {"auto", "text", "adjacency", "matrix_market", "libmf", "npz"};
  return names;
}

}  // namespace concerto
