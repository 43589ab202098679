// The inner kernels of kernels/cpu behind plain functions, as a row's update calls them, for timing.
#pragma once

#include <cstddef>
#include <cstdint>

namespace concerto::bench {

/// The upper triangle of c += panel^T panel; panel is rows x width, c is width x c_step. rows * width * (width + 1)
/// flops that count.
void gram_of_panel(const float* panel, std::size_t rows, std::size_t width, float* c, std::size_t c_step);
/// The same with left = rows times weights.
void weighted_gram_of_panel(const float* left, const float* panel, std::size_t rows, std::size_t width, float* c,
                            std::size_t c_step);
/// Factors `system` in place and solves for x. width^3 / 3 + 2 width^2 flops. False if not positive definite.
bool factor_and_solve(float* system, std::size_t width, std::size_t step, float* inverses, float* x);
/// out += sum over rows k of weights[k] * (panel_k . x) * panel_k; rows a multiple of 8. 4 * rows * width flops.
void cg_pass(const float* panel, std::size_t rows, std::size_t width, const float* weights, const float* x, float* out);
/// The same over rows named by index, which are copied to `panel` on the way.
void first_cg_pass(const float* table, const std::uint32_t* indices, std::size_t rows, std::size_t width,
                   const float* weights, const float* x, float* out, float* panel);
/// out = vectors * matrix for `count` vectors, matrix width x width. 2 * count * width^2 flops.
void multiply_vectors(std::size_t count, const float* vectors, const float* matrix, std::size_t width, float* out);

}  // namespace concerto::bench
