// The .npy header (a Python dictionary as text) and conversion of elements.
#include "npy_stream.hpp"

#include <algorithm>
#include <cstring>
#include <limits>
#include <string_view>

#include "concerto/base/error.hpp"

#include "parse_number.hpp"
#include "text_fields.hpp"

namespace concerto::data {
namespace {

constexpr std::size_t kMostHeaderBytes = std::size_t{1} << 16U;
constexpr std::size_t kMostTextBytes = 64;

// What stands behind 'key': in the dictionary, or an empty view.
std::string_view value_of(std::string_view dictionary, std::string_view key) {
  const std::size_t found = dictionary.find(key);
  if (found == std::string_view::npos) return {};
  const std::size_t begin = dictionary.find_first_not_of(" :", found + key.size());
  return begin == std::string_view::npos ? std::string_view{} : dictionary.substr(begin);
}

}  // namespace

NpyStream::NpyStream(const InputFile& file, const ZipMember& member) : stream_(file, member) {
  read_header();
}

void NpyStream::corrupt(const std::string& what) const {
  throw Error(ErrorCode::kCorrupt, what, where());
}

std::string NpyStream::where(std::uint64_t element) const {
  return stream_.where() + ": element " + std::to_string(element);
}

void NpyStream::read_header() {
  unsigned char head[8];
  stream_.read(head, sizeof(head));
  if (std::memcmp(head, "\x93NUMPY", 6) != 0 || head[6] < 1 || head[6] > 3) corrupt("is not a .npy array");
  unsigned char length_bytes[4] = {};
  stream_.read(length_bytes, head[6] == 1 ? 2 : 4);
  std::uint32_t length = 0;
  std::memcpy(&length, length_bytes, sizeof(length));
  if (length > kMostHeaderBytes) corrupt("has a damaged header");
  std::string header(length, '\0');
  stream_.read(header.data(), header.size());
  take_dictionary(header);
}

void NpyStream::take_dictionary(const std::string& header) {
  std::string_view type = value_of(header, "'descr'");
  std::string_view shape = value_of(header, "'shape'");
  if (type.size() < 4 || type[0] != '\'' || shape.empty() || shape[0] != '(') corrupt("has a damaged header");
  type = type.substr(1, type.find('\'', 1) - 1);
  if (type.size() < 3 || !is_digits(type.substr(2)) || type.size() > 6) {
    throw Error(ErrorCode::kUnsupported, "has elements of type " + quote(type), where());
  }
  kind_ = type[1];
  element_ = static_cast<std::size_t>(*digits_value(type.substr(2)));
  if (type[0] == '>' && element_ > 1) throw Error(ErrorCode::kUnsupported, "is stored big-endian", where());
  if (kind_ == 'U') element_ *= 4;
  shape = shape.substr(1, shape.find(')') - 1);
  const std::size_t comma = std::min(shape.find(','), shape.size());
  const std::string_view extent = shape.substr(0, comma);
  const bool is_scalar = shape.empty();
  const bool is_line = is_digits(extent) && shape.substr(comma).find_first_not_of(", ") == std::string_view::npos;
  const auto count = is_scalar ? std::optional<std::uint64_t>(1) : is_line ? digits_value(extent) : std::nullopt;
  if (!count || element_ == 0 || *count > stream_.left() / element_ || *count * element_ != stream_.left()) {
    corrupt("does not have the length that its header says");
  }
  count_ = *count;
}

std::size_t NpyStream::read_raw(std::size_t most) {
  const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(most, count_ - done_));
  raw_.resize(count * element_);
  stream_.read(raw_.data(), raw_.size());
  if (stream_.left() == 0) stream_.finish();
  return count;
}

template <class Out, class Stored>
void NpyStream::convert(std::vector<Out>& values, std::size_t count) const {
  values.resize(count);
  for (std::size_t index = 0; index < count; ++index) {
    Stored stored{};
    std::memcpy(&stored, raw_.data() + index * sizeof(Stored), sizeof(Stored));
    if constexpr (std::numeric_limits<Stored>::is_signed && !std::numeric_limits<Out>::is_signed) {
      if (stored < 0) {
        throw Error(ErrorCode::kBadInput, quote(std::to_string(stored)) + " is negative", where(done_ + index));
      }
    }
    values[index] = static_cast<Out>(stored);
  }
}

void NpyStream::next(std::vector<std::uint64_t>& values, std::size_t most) {
  const bool is_signed = kind_ == 'i';
  if ((!is_signed && kind_ != 'u') || (element_ != 4 && element_ != 8)) {
    throw Error(ErrorCode::kUnsupported, "does not hold integers of 32 or 64 bits", where());
  }
  const std::size_t count = read_raw(most);
  if (is_signed && element_ == 4) convert<std::uint64_t, std::int32_t>(values, count);
  if (is_signed && element_ == 8) convert<std::uint64_t, std::int64_t>(values, count);
  if (!is_signed && element_ == 4) convert<std::uint64_t, std::uint32_t>(values, count);
  if (!is_signed && element_ == 8) convert<std::uint64_t, std::uint64_t>(values, count);
  done_ += count;
}

void NpyStream::next(std::vector<double>& values, std::size_t most) {
  const std::size_t count = read_raw(most);
  switch (kind_ == 'b' ? 'u' * 16 + 1 : kind_ * 16 + static_cast<int>(std::min<std::size_t>(element_, 15))) {
    case 'f' * 16 + 4:
      convert<double, float>(values, count);
      break;
    case 'f' * 16 + 8:
      convert<double, double>(values, count);
      break;
    case 'i' * 16 + 1:
      convert<double, std::int8_t>(values, count);
      break;
    case 'i' * 16 + 2:
      convert<double, std::int16_t>(values, count);
      break;
    case 'i' * 16 + 4:
      convert<double, std::int32_t>(values, count);
      break;
    case 'i' * 16 + 8:
      convert<double, std::int64_t>(values, count);
      break;
    case 'u' * 16 + 1:
      convert<double, std::uint8_t>(values, count);
      break;
    case 'u' * 16 + 2:
      convert<double, std::uint16_t>(values, count);
      break;
    case 'u' * 16 + 4:
      convert<double, std::uint32_t>(values, count);
      break;
    case 'u' * 16 + 8:
      convert<double, std::uint64_t>(values, count);
      break;
    default:
      throw Error(ErrorCode::kUnsupported,
                  std::string("has elements of type ") + kind_ + std::to_string(element_) + ", not real numbers",
                  where());
  }
  done_ += count;
}

std::string NpyStream::text() {
  if ((kind_ != 'S' && kind_ != 'U') || count_ != 1 || element_ > kMostTextBytes) corrupt("is not a short text");
  (void)read_raw(1);
  std::string out;
  for (std::size_t index = 0; index < raw_.size(); index += kind_ == 'U' ? 4 : 1) {
    if (raw_[index] != 0) out += static_cast<char>(raw_[index]);
  }
  return out;
}

}  // namespace concerto::data
