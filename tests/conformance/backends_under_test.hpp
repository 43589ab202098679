// Which backends the suite runs, and how an outcome is compared.
//
// A case is a backend and, for cpu, one of the instruction sets of this machine. Every computation is run with 1, 2 and
// 3 threads and must give the same bytes each time; then it is compared with the reference backend, whose outcome is
// computed once for each key.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "concerto/base/thread_pool.hpp"
#include "concerto/compute/backend.hpp"
#include "concerto/compute/backends.hpp"

#include "support/same_bytes.hpp"

namespace concerto::test {

struct BackendCase {
  std::string name;
  std::string instruction_set;  ///< empty for the reference
  bool is_reference = false;
  friend std::ostream& operator<<(std::ostream& out, const BackendCase& backend) { return out << backend.name; }
};

inline std::string alphanumeric(std::string name) {
  std::erase_if(name, [](unsigned char c) { return std::isalnum(c) == 0; });
  return name;
}

/// The optimized backends.
inline std::vector<BackendCase> optimized_backends() {
  std::vector<BackendCase> cases;
  for (const std::string& set : cpu_instruction_sets()) cases.push_back({"Cpu" + alphanumeric(set), set, false});
  return cases;
}

/// The reference too, for what is asserted directly.
inline std::vector<BackendCase> all_backends() {
  std::vector<BackendCase> cases = optimized_backends();
  cases.insert(cases.begin(), {"Reference", "", true});
  return cases;
}

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

using Computation = std::function<Outcome(Backend&)>;

/// Runs on the case's backend; cpu with 1, 2 and 3 threads, whose outcomes must be the same bytes.
inline Outcome run_on(const BackendCase& which, const Computation& compute) {
  if (which.is_reference) return compute(*make_reference_backend());
  select_cpu_instruction_set(which.instruction_set);
  Outcome first;
  for (unsigned threads = 1; threads <= 3; ++threads) {
    ThreadPool pool(threads);
    Outcome outcome = compute(*make_cpu_backend(pool));
    if (threads == 1) {
      first = std::move(outcome);
    } else {
      EXPECT_TRUE(same_bytes(first, outcome)) << threads << " threads and 1 thread differ in bytes";
    }
  }
  select_cpu_instruction_set("");
  return first;
}

/// The reference's outcome, computed once for each key in the life of the program.
inline const Outcome& reference_outcome(const std::string& key, const Computation& compute) {
  static std::map<std::string, Outcome> known;
  const auto found = known.find(key);
  if (found != known.end()) return found->second;
  return known.emplace(key, compute(*make_reference_backend())).first->second;
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
