// Lines out of bytes.
#include "line_buffer.hpp"

#include <algorithm>
#include <utility>

namespace concerto {

void LineBuffer::append(std::string_view bytes, const Consumer& consume) {
  while (!bytes.empty()) {
    const std::size_t newline = bytes.find('\n');
    const std::size_t wanted = std::min(newline, bytes.size());
    const std::size_t taken = std::min(wanted, kLongestLine - partial_.size());
    partial_.append(bytes.substr(0, taken));
    bytes.remove_prefix(taken);
    if (taken == newline) {
      bytes.remove_prefix(1);
      consume(std::exchange(partial_, {}));
    } else if (partial_.size() == kLongestLine && !bytes.empty() && bytes.front() != '\n') {
      consume(std::exchange(partial_, {}));
    }
  }
}

void LineBuffer::flush(const Consumer& consume) {
  if (!partial_.empty()) consume(std::exchange(partial_, {}));
}

}  // namespace concerto
