// Which backends the suite runs, and how an outcome is compared.
//
// The suite is linked into two programs that differ in their cases: cases_cpu_and_device.cpp (the cpu backend with each
// instruction set of this machine, and the cuda backend where there is a GPU) and cases_cuda_on_host.cpp (the cuda
// backend on the host machine of support/simt). A case runs every computation several times, with whatever must not
// matter changed in between, and the bytes must be the same; then the outcome is compared with the reference backend's,
// which is computed once for each key.
#pragma once

#include <cmath>
#include <functional>
#include <map>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "concerto/compute/backend.hpp"
#include "concerto/compute/backends.hpp"

#include "rounded_gathers.hpp"
#include "support/same_bytes.hpp"

namespace concerto::test {

struct Outcome;
using Computation = std::function<Outcome(Backend&)>;

struct BackendCase {
  std::string name;
  std::string backend;                             ///< as Backend::name says
  std::function<Outcome(const Computation&)> run;  ///< on this backend; see run_on
  bool gathers_bf16 = false;                       ///< compared with a reference that does, too
  bool is_slow = false;                            ///< runs kernels without a device: see is_run
  friend std::ostream& operator<<(std::ostream& out, const BackendCase& backend) { return out << backend.name; }
};

/// The optimized backends of this program.
std::vector<BackendCase> optimized_backends();
/// Those whose SGD visits entries in the contract's order.
std::vector<BackendCase> sgd_backends();

/// What a computation leaves behind.
struct Outcome {
  std::vector<FactorTable> tables;
  std::vector<double> numbers;
};

inline bool same_bytes(const Outcome& a, const Outcome& b) {
  if (a.tables.size() != b.tables.size() || a.numbers.size() != b.numbers.size()) return false;
  for (std::size_t t = 0; t < a.tables.size(); ++t) {
    if (!same_bytes(a.tables[t], b.tables[t])) return false;
  }
  return same_bytes<double>(a.numbers, b.numbers);
}

/// A few units in the last place of a warm start: random_table() draws rows of norm 1.
inline constexpr double kStartRounding = 1e-6;

/// The reference too, for what is asserted directly.
inline std::vector<BackendCase> with_reference(std::vector<BackendCase> cases) {
  const auto run = [](const Computation& compute) { return compute(*make_reference_backend()); };
  cases.insert(cases.begin(), BackendCase{.name = "Reference", .backend = "reference", .run = run});
  return cases;
}
inline std::vector<BackendCase> all_backends() {
  return with_reference(optimized_backends());
}

/// Runs on the case's backend. It may run several times, and fails where the bytes differ.
inline Outcome run_on(const BackendCase& which, const Computation& compute) {
  return which.run(compute);
}

/// The reference's outcome, computed once for each key in the life of the program.
inline const Outcome& reference_outcome(const std::string& key, const Computation& compute) {
  static std::map<std::string, Outcome> known;
  const auto found = known.find(key);
  if (found != known.end()) return found->second;
  return known.emplace(key, compute(*make_reference_backend())).first->second;
}
/// That of a reference which rounds what the case's backend rounds.
inline const Outcome& reference_outcome(const BackendCase& which, const std::string& key, const Computation& compute) {
  if (!which.gathers_bf16) return reference_outcome(key, compute);
  return reference_outcome(key + "/bf16", [&](Backend& reference) {
    RoundedGathers rounded(reference);
    return compute(rounded);
  });
}

/// A table as the case's backend reads it where it is the fixed side of a step.
inline FactorTable as_gathered(const BackendCase& which, const FactorTable& table) {
  return which.gathers_bf16 ? rounded_to_bf16(table) : table;
}

/// How near the loss of a full run must come to the reference's, relative to it. With bf16 gathers both round the
/// factors before each half-sweep: where those differ in their last fp32 bit, one may round up and the other down, a
/// step of 2^-8 of the value, and the next half-sweep starts from there. Single half-sweeps have no such allowance.
inline double run_tolerance(const BackendCase& which) {
  return which.gathers_bf16 ? 1e-3 : 1e-4;
}

/// Kernels that run on the host take seconds where a device takes microseconds: there, ranks above 16 and runs of many
/// half-sweeps are left to one objective of each kind, as named by main_objectives() or the nearest in
/// all_objectives().
inline bool is_run_at_length(const BackendCase& which, const std::string& objective) {
  return !which.is_slow || objective == "BiasedNu1" || objective == "Unobserved" || objective == "UnobservedIgnored" ||
         objective == "AlphaProduct";
}
inline bool is_run(const BackendCase& which, const std::string& objective, std::uint32_t rank) {
  return rank <= 16 || is_run_at_length(which, objective);
}

inline double norm(std::span<const float> values) {
  double sum = 0.0;
  for (const float value : values) sum += double{value} * value;
  return std::sqrt(sum);
}

/// Each row (with its bias) within `tolerance`, relative to the norm of the expected row, or to a hundredth of the
/// table's typical row where that is larger: a row that is small by cancellation has rounding errors of its terms'
/// size.
/// `absolute` is allowed beyond that: the rounding of a start much larger than the result.
inline void expect_rows_near(const FactorTable& actual, const FactorTable& expected, double tolerance,
                             double absolute = 0.0) {
  ASSERT_TRUE(actual.shape() == expected.shape());
  std::vector<double> scales;
  double squares = 0.0;
  for (RowIndex r = 0; r < expected.rows(); ++r) {
    scales.push_back(std::hypot(norm(expected.row(r)), expected.bias(r)));
    squares += scales[r] * scales[r];
  }
  const double least = 0.01 * std::sqrt(squares / expected.rows());
  for (RowIndex r = 0; r < expected.rows(); ++r) {
    double squared = std::pow(double{actual.bias(r)} - expected.bias(r), 2);
    for (std::size_t c = 0; c < expected.rank(); ++c) {
      squared += std::pow(double{actual.row(r)[c]} - expected.row(r)[c], 2);
    }
    const double error = std::sqrt(squared);
    if (scales[r] == 0.0) {
      EXPECT_EQ(error, 0.0) << "row " << r << " must be zero";
    } else {
      EXPECT_LE(error, tolerance * std::max(scales[r], least) + absolute) << "row " << r << " of norm " << scales[r];
    }
  }
}

inline std::unique_ptr<Buffer> upload(Backend& backend, const FactorTable& host) {
  auto buffer = backend.create_table(host.shape());
  backend.write_rows(*buffer, {0, host.rows()}, host);
  return buffer;
}

inline FactorTable download(const Backend& backend, const Buffer& buffer, const TableShape& shape) {
  FactorTable host(shape);
  backend.read_rows(buffer, {0, shape.rows}, host);
  return host;
}

inline std::string case_name(const ::testing::TestParamInfo<BackendCase>& info) {
  return info.param.name;
}

}  // namespace concerto::test
