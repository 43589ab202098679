// Sessions without encryption: each side says who it is, and is believed. Only where the configuration asks for it.
#pragma once

#include "wire.hpp"

namespace concerto::tls {

[[nodiscard]] WireMaker plain_wires(const Identity& self);

}  // namespace concerto::tls
