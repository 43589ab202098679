// Starting a kernel on the host machine: it runs at once, and has ended when the call returns.
#pragma once

#include <functional>
#include <tuple>

#include "device/simt.cuh"
#include "runtime.hpp"

namespace concerto::cuda {

/// Runs `kernel` on every thread of `shape`. Arguments are converted to the kernel's parameters first, as on a device.
template <class... Parameters, class... Arguments>
void launch(const Stream&, const char* name, void (*kernel)(Parameters...), const LaunchShape& shape,
            Arguments&&... arguments) {
  const std::tuple<std::remove_cv_t<Parameters>...> values(static_cast<Parameters>(arguments)...);
  simt::run_grid(name, {shape.grid_x, shape.grid_y, 1}, shape.block, shape.shared_bytes,
                 [&] { std::apply(kernel, values); });
}

}  // namespace concerto::cuda
