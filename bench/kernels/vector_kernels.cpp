// Plain functions around the kernels of kernels/cpu: see vector_kernels.hpp.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "vector_kernels.cpp"  // NOLINT: Highway compiles this file once for each set
#include <algorithm>

#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "cholesky-inl.h"
#include "row_system.hpp"

HWY_BEFORE_NAMESPACE();
namespace concerto::cpu::HWY_NAMESPACE {

void timed_gram(const float* left, const float* right, std::size_t rows, std::size_t width, float* c,
                std::size_t c_step) {
  add_outer_products(rows, left, right, width, width, 1.0F, c, c_step);
}

bool timed_cholesky(float* system, std::size_t width, std::size_t step, float* inverses, float* x) {
  if (!factor(system, width, step, inverses)) return false;
  solve_factored(system, width, step, inverses, x);
  return true;
}

void timed_pass(const float* panel, std::size_t rows, std::size_t width, const float* weights, const float* x,
                float* out) {
  panel_pass(panel, rows, width, weights, x, out);
}

void timed_first_pass(const float* table, const std::uint32_t* indices, std::size_t rows, std::size_t width,
                      const float* weights, const float* x, float* out, float* panel) {
  HWY_ALIGN float dots[kGroup];
  const float* group[kGroup];
  const float* ahead[kGroup];
  for (std::size_t k = 0; k < rows; k += kGroup) {
    for (std::size_t r = 0; r < kGroup; ++r) {
      group[r] = table + indices[k + r] * width;
      ahead[r] = table + indices[std::min(k + r + kCgDistance, rows - 1)] * width;
    }
    dot_group_gathered<true>(group, ahead, x, width, dots, panel + k * width);
    for (std::size_t r = 0; r < kGroup; ++r) dots[r] *= weights[k + r];
    add_group(group, dots, width, out);
  }
}

void timed_product(std::size_t count, const float* vectors, const float* matrix, std::size_t width, float* out) {
  multiply_rows(count, vectors, width, width, matrix, width, width, out, width);
}

}  // namespace concerto::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

#include "vector_kernels.hpp"

namespace concerto::cpu {
namespace {
HWY_EXPORT(timed_gram);
HWY_EXPORT(timed_cholesky);
HWY_EXPORT(timed_pass);
HWY_EXPORT(timed_first_pass);
HWY_EXPORT(timed_product);
}  // namespace
}  // namespace concerto::cpu

namespace concerto::bench {
using namespace concerto::cpu;  // NOLINT: the dispatch tables above

void gram_of_panel(const float* panel, std::size_t rows, std::size_t width, float* c, std::size_t c_step) {
  HWY_DYNAMIC_DISPATCH(timed_gram)(panel, panel, rows, width, c, c_step);
}
void weighted_gram_of_panel(const float* left, const float* panel, std::size_t rows, std::size_t width, float* c,
                            std::size_t c_step) {
  HWY_DYNAMIC_DISPATCH(timed_gram)(left, panel, rows, width, c, c_step);
}
bool factor_and_solve(float* system, std::size_t width, std::size_t step, float* inverses, float* x) {
  return HWY_DYNAMIC_DISPATCH(timed_cholesky)(system, width, step, inverses, x);
}
void cg_pass(const float* panel, std::size_t rows, std::size_t width, const float* weights, const float* x,
             float* out) {
  HWY_DYNAMIC_DISPATCH(timed_pass)(panel, rows, width, weights, x, out);
}
void first_cg_pass(const float* table, const std::uint32_t* indices, std::size_t rows, std::size_t width,
                   const float* weights, const float* x, float* out, float* panel) {
  HWY_DYNAMIC_DISPATCH(timed_first_pass)(table, indices, rows, width, weights, x, out, panel);
}
void multiply_vectors(std::size_t count, const float* vectors, const float* matrix, std::size_t width, float* out) {
  HWY_DYNAMIC_DISPATCH(timed_product)(count, vectors, matrix, width, out);
}

}  // namespace concerto::bench

#endif  // HWY_ONCE
