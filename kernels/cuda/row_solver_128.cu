// The kernels of row_solver.cuh for systems of up to 128 columns.
#include "row_solver.cuh"

namespace concerto::cuda {

template void launch_rows_of_width<128>(const Stream&, MemoryPool&, const SystemArguments&, bool, bool,
                                        const DeviceRowPlan&, Scratch<float>&);

}  // namespace concerto::cuda
