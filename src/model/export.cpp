// Factors for other programs: NumPy arrays, safetensors, plain text. Rows stand in ascending order of ids, beside them
// the ids; nothing of this is read back by Concerto.
//
// Sources of the formats: NumPy's format version 1.0 (numpy.lib.format); safetensors (a 64-bit length, a JSON header,
// the arrays).
#include <algorithm>
#include <array>
#include <cstring>
#include <functional>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "concerto/base/check.hpp"
#include "concerto/base/error.hpp"
#include "concerto/base/file.hpp"
#include "concerto/model/model.hpp"

namespace concerto {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kBufferBytes = std::size_t{1} << 20;
constexpr std::size_t kArrayAlignment = 64;  // of the first value in a .npy file, as NumPy writes it

using Sink = std::function<void(std::span<const std::byte>)>;

/// Collects small writes into large ones. `flush` comes last; without it the rest is lost.
class Buffered {
 public:
  explicit Buffered(Sink sink) : sink_(std::move(sink)) {}
  void append(std::span<const std::byte> bytes) {
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
    if (bytes_.size() >= kBufferBytes) flush();
  }
  void append(std::string_view text) { append(std::as_bytes(std::span(text.data(), text.size()))); }
  void flush() {
    sink_(bytes_);
    bytes_.clear();
  }

 private:
  Sink sink_;
  std::vector<std::byte> bytes_;
};

/// One array of the export: a side's factors or its biases.
struct Array {
  std::string name;
  const FactorTable* table;
  const IdMap* ids;
  bool is_biases;

  [[nodiscard]] std::uint64_t width() const noexcept { return is_biases ? 1 : table->rank(); }
  [[nodiscard]] std::uint64_t bytes() const noexcept { return table->rows() * width() * sizeof(float); }
  [[nodiscard]] std::span<const float> row(RowIndex r) const {
    return is_biases ? table->biases().subspan(r, 1) : table->row(r);
  }
};

struct SideName {
  std::string_view factors;
  std::string_view biases;
  std::string_view ids;
};
constexpr SideName kUsers{"users", "user_biases", "user_ids.txt"};
constexpr SideName kItems{"items", "item_biases", "item_ids.txt"};
constexpr std::string_view kMeanName = "mean.txt";

std::vector<Array> arrays_of(const Model& model) {
  std::vector<Array> arrays{{std::string(kUsers.factors), &model.users, &model.user_ids, false},
                            {std::string(kItems.factors), &model.items, &model.item_ids, false}};
  if (model.objective.biases) {
    arrays.push_back({std::string(kUsers.biases), &model.users, &model.user_ids, true});
    arrays.push_back({std::string(kItems.biases), &model.items, &model.item_ids, true});
  }
  return arrays;
}

void write_values(const Array& array, Buffered& out) {
  for (const RowIndex row : array.ids->row_order()) out.append(std::as_bytes(array.row(row)));
}

std::string npy_header(const Array& array) {
  const std::string shape = array.is_biases ? fmt::format("({},)", array.table->rows())
                                            : fmt::format("({}, {})", array.table->rows(), array.table->rank());
  std::string text = fmt::format("{{'descr': '<f4', 'fortran_order': False, 'shape': {}, }}", shape);
  constexpr std::size_t kPrefix = 10;  // magic, version, length of the text
  const std::size_t whole = (kPrefix + text.size() + 1 + kArrayAlignment - 1) / kArrayAlignment * kArrayAlignment;
  text.resize(whole - kPrefix - 1, ' ');
  text += '\n';
  std::string header = "\x93NUMPY";
  header += '\x01';
  header += '\0';
  header += static_cast<char>(text.size() & 0xFFU);
  header += static_cast<char>(text.size() >> 8U);
  return header + text;
}

/// Opens `path`, lets `body` write it and makes it durable.
void write_new_file(const fs::path& path, const std::function<void(Buffered&)>& body) {
  OutputFile file(path);
  Buffered out([&](std::span<const std::byte> bytes) { file.write(bytes); });
  body(out);
  out.flush();
  file.finish();
}

void write_ids(const IdMap& ids, Buffered& out) {
  for (const RowIndex row : ids.row_order()) {
    out.append(ids.text(row));
    out.append("\n");
  }
}

/// What both directory formats have beside the arrays.
void write_companions(const Model& model, const fs::path& folder) {
  write_new_file(folder / kUsers.ids, [&](Buffered& out) { write_ids(model.user_ids, out); });
  write_new_file(folder / kItems.ids, [&](Buffered& out) { write_ids(model.item_ids, out); });
  if (!model.objective.is_implicit()) {
    write_new_file(folder / kMeanName, [&](Buffered& out) { out.append(fmt::format("{}\n", model.objective.mean)); });
  }
}

/// The files that an export to a directory may consist of: the first one always does.
std::vector<std::string> file_names(std::string_view extension) {
  std::vector<std::string> names;
  for (const std::string_view stem : {kUsers.factors, kItems.factors, kUsers.biases, kItems.biases}) {
    names.push_back(std::string(stem) + std::string(extension));
  }
  for (const std::string_view name : {kUsers.ids, kItems.ids, kMeanName}) names.emplace_back(name);
  return names;
}

/// Writes every array by `write`, the ids and the mean into a directory that appears whole.
void export_directory(const Model& model, const fs::path& path, std::string_view extension,
                      const std::function<void(const Array&, Buffered&)>& write) {
  const std::vector<std::string> names = file_names(extension);
  StagedDirectory directory(path, std::vector<std::string_view>(names.begin(), names.end()));
  for (const Array& array : arrays_of(model)) {
    write_new_file(directory.path() / (array.name + std::string(extension)), [&](Buffered& out) { write(array, out); });
  }
  write_companions(model, directory.path());
  directory.commit();
}

void write_npy(const Array& array, Buffered& out) {
  out.append(npy_header(array));
  write_values(array, out);
}

void write_lines(const Array& array, Buffered& out) {
  fmt::memory_buffer line;
  for (const RowIndex row : array.ids->row_order()) {
    line.clear();
    fmt::format_to(fmt::appender(line), "{}", array.ids->text(row));
    for (const float value : array.row(row)) fmt::format_to(fmt::appender(line), "\t{}", value);
    line.push_back('\n');
    out.append(std::string_view(line.data(), line.size()));
  }
}

constexpr std::string_view kMetadata = R"({"__metadata__":{"format":"concerto")";

std::string safetensors_header(const Model& model, const std::vector<Array>& arrays) {
  std::string members(kMetadata.substr(1));
  if (!model.objective.is_implicit()) members += fmt::format(R"(,"mean":"{}")", model.objective.mean);
  members += "}";
  std::uint64_t begin = 0;
  for (const Array& array : arrays) {
    const std::string shape = array.is_biases ? fmt::format("[{}]", array.table->rows())
                                              : fmt::format("[{},{}]", array.table->rows(), array.table->rank());
    members += fmt::format(R"(,"{}":{{"dtype":"F32","shape":{},"data_offsets":[{},{}]}})", array.name, shape, begin,
                           begin + array.bytes());
    begin += array.bytes();
  }
  std::string text = fmt::format("{{{}}}", members);
  text.resize((text.size() + 7) / 8 * 8, ' ');  // the arrays begin at a multiple of eight
  std::string header(sizeof(std::uint64_t), '\0');
  const std::uint64_t length = text.size();
  std::memcpy(header.data(), &length, sizeof(length));
  return header + text;
}

/// An export may be replaced by the next one, and nothing else by it.
void require_no_foreign_file(const fs::path& path) {
  std::error_code ignored;
  if (fs::is_directory(path, ignored)) {
    throw Error(ErrorCode::kBadInput, "is a directory; name a file", path.string());
  }
  if (!fs::is_regular_file(path, ignored)) return;
  const MappedFile file(path);
  const std::string_view text(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
  if (!text.substr(std::min(text.size(), sizeof(std::uint64_t))).starts_with(kMetadata)) {
    throw Error(ErrorCode::kBadInput, "exists and is no export of Concerto; choose another name or remove it",
                path.string());
  }
}

void export_safetensors(const Model& model, const fs::path& path) {
  const std::vector<Array> arrays = arrays_of(model);
  const auto write_staged = [](const fs::path& target, const std::function<void(Buffered&)>& body) {
    StagedFile file(target);
    Buffered out([&](std::span<const std::byte> bytes) { file.write(bytes); });
    body(out);
    out.flush();
    file.commit();
  };
  require_no_foreign_file(path);
  const std::string beside = path.string() + ".";
  write_staged(beside + std::string(kUsers.ids), [&](Buffered& out) { write_ids(model.user_ids, out); });
  write_staged(beside + std::string(kItems.ids), [&](Buffered& out) { write_ids(model.item_ids, out); });
  write_staged(path, [&](Buffered& out) {  // last: where it stands, its ids stand
    out.append(safetensors_header(model, arrays));
    for (const Array& array : arrays) write_values(array, out);
  });
}

}  // namespace

void export_model(const Model& model, ExportFormat format, const fs::path& path) {
  CONCERTO_CHECK(model.user_ids.size() == model.users.rows() && model.item_ids.size() == model.items.rows(),
                 "every row of a model has an id");
  switch (format) {
    case ExportFormat::kNpy:
      return export_directory(model, path, ".npy", write_npy);
    case ExportFormat::kSafetensors:
      return export_safetensors(model, path);
    case ExportFormat::kText:
      return export_directory(model, path, ".txt", write_lines);
  }
}

}  // namespace concerto
