// What the planted bugs are called.
#pragma once

#include "planted.hpp"

namespace concerto::sim {

[[nodiscard]] const char* name_of(Bug bug);

}  // namespace concerto::sim
