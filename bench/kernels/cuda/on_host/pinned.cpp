// Pinned memory on the host machine of the tests: all memory is.
#include "pinned.hpp"

#include <new>

namespace concerto::bench {

PinnedBytes::PinnedBytes(std::size_t bytes) : data_(::operator new(bytes)) {}
PinnedBytes::~PinnedBytes() {
  ::operator delete(data_);
}

}  // namespace concerto::bench
