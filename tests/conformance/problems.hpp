// The problems of the conformance suite: small matrices with every awkward feature, objectives, factor tables.
//
// All of it is a pure function of its arguments. Nothing here knows a backend.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <ostream>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "concerto/base/rng.hpp"
#include "concerto/data/ratings.hpp"
#include "concerto/model/factors.hpp"
#include "concerto/model/objective.hpp"

namespace concerto::test {

struct Entry {
  RowIndex user;
  RowIndex item;
  float value;
};

enum class Values { kNone, kRatings, kWeights, kSigned, kIntegers };

/// One matrix in both orientations.
struct Problem {
  std::string name;
  CompressedMatrix by_user;
  CompressedMatrix by_item;
};

/// One orientation of the entries: columns ascend within a row, duplicates stay in the order given.
inline CompressedMatrix compress(RowIndex rows, RowIndex columns, const std::vector<Entry>& entries, Side rows_are,
                                 bool with_values) {
  const auto row_of = [&](const Entry& e) { return rows_are == Side::kUsers ? e.user : e.item; };
  const auto column_of = [&](const Entry& e) { return rows_are == Side::kUsers ? e.item : e.user; };
  std::vector<Entry> sorted = entries;
  std::ranges::stable_sort(sorted, [&](const Entry& a, const Entry& b) {
    return std::pair(row_of(a), column_of(a)) < std::pair(row_of(b), column_of(b));
  });
  CompressedMatrix matrix;
  matrix.rows = rows;
  matrix.column_count = columns;
  matrix.offsets.assign(std::size_t{rows} + 1, 0);
  for (const Entry& entry : sorted) {
    ++matrix.offsets[row_of(entry) + 1];
    matrix.columns.push_back(column_of(entry));
    if (with_values) matrix.values.push_back(entry.value);
  }
  for (RowIndex r = 0; r < rows; ++r) matrix.offsets[r + 1] += matrix.offsets[r];
  return matrix;
}

inline Problem make_problem(std::string name, RowIndex users, RowIndex items, const std::vector<Entry>& entries,
                            bool with_values) {
  return {std::move(name), compress(users, items, entries, Side::kUsers, with_values),
          compress(items, users, entries, Side::kItems, with_values)};
}

inline float draw_value(Values values, Random& random) {
  switch (values) {
    case Values::kNone:
      return 1.0F;
    case Values::kRatings:
      return 0.5F * static_cast<float>(1 + random.below(10));
    case Values::kWeights:
      return 0.25F * static_cast<float>(1 + random.below(12));
    case Values::kIntegers:
      return static_cast<float>(1 + random.below(5));
    case Values::kSigned:
      break;
  }
  const float size = 0.5F * static_cast<float>(1 + random.below(6));
  return random.below(3) == 0 ? -size : size;
}

/// A matrix with a giant row (user 1), a hot item (2), empty rows at both ends of both sides (where there are more than
/// four rows), five pairs that occur twice, and, with signed values, a user (3) with negative values only.
inline Problem awkward_problem(RowIndex users, RowIndex items, std::size_t entries, Values values, std::uint64_t seed) {
  Random random(seed, 77);
  const RowIndex edge_u = users > 4 ? 1 : 0;
  const RowIndex edge_i = items > 4 ? 1 : 0;
  std::set<std::pair<RowIndex, RowIndex>> pairs;
  for (RowIndex i = edge_i; i < items - edge_i; ++i) pairs.emplace(std::min<RowIndex>(1, users - 1), i);
  for (RowIndex u = edge_u; u < users - edge_u; ++u) pairs.emplace(u, std::min<RowIndex>(2, items - 1));
  const std::size_t cells = std::size_t{users - 2 * edge_u} * (items - 2 * edge_i);
  while (pairs.size() < std::min(entries, cells)) {
    pairs.emplace(edge_u + static_cast<RowIndex>(random.below(users - 2 * edge_u)),
                  edge_i + static_cast<RowIndex>(random.below(items - 2 * edge_i)));
  }
  std::vector<Entry> list;
  for (const auto& [user, item] : pairs) {
    const float value = draw_value(values, random);
    list.push_back({user, item, values == Values::kSigned && user == 3 ? -std::fabs(value) : value});
  }
  const std::size_t stride = std::max<std::size_t>(1, list.size() / 5);
  for (std::size_t k = 0, end = list.size(); k < end; k += stride) {
    list.push_back({list[k].user, list[k].item, list[k].value < 0 ? list[k].value : 1.5F});
  }
  return make_problem(std::to_string(users) + "x" + std::to_string(items), users, items, list, values != Values::kNone);
}

/// A size at which the reference stays quick at this rank.
inline Problem problem_for_rank(std::uint32_t rank, Values values) {
  if (rank <= 67) return awkward_problem(67, 131, 900, values, rank);
  if (rank <= 129) return awkward_problem(31, 37, 300, values, rank);
  return awkward_problem(11, 17, 60, values, rank);
}

struct NamedObjective {
  std::string name;
  Objective objective;
  Values values = Values::kRatings;
  friend std::ostream& operator<<(std::ostream& out, const NamedObjective& named) { return out << named.name; }
};

inline NamedObjective explicit_objective(std::string name, double lambda, double nu, bool biases) {
  Objective objective;
  objective.regularization = lambda;
  objective.regularization_exponent = nu;
  objective.biases = biases;
  objective.bias_regularization = 0.5 * lambda;
  objective.mean = 2.7;
  return {std::move(name), objective, Values::kRatings};
}

inline NamedObjective unobserved_objective(std::string name, double lambda, double nu, Values values) {
  Objective objective;
  objective.kind = ObjectiveKind::kImplicitUnobserved;
  objective.regularization = lambda;
  objective.regularization_exponent = nu;
  objective.unobserved_weight = 0.2;
  return {std::move(name), objective, values};
}

inline NamedObjective alpha_objective(std::string name, double lambda, double nu, Confidence confidence) {
  Objective objective;
  objective.kind = ObjectiveKind::kImplicitAlpha;
  objective.regularization = lambda;
  objective.regularization_exponent = nu;
  objective.alpha =
      confidence == Confidence::kProduct ? 1.25 : 4.0;  // product: c = 0.625 at the least, gram weight < 0
  objective.confidence = confidence;
  return {std::move(name), objective, Values::kSigned};
}

inline std::vector<NamedObjective> explicit_objectives() {
  return {explicit_objective("ExplicitNu1", 0.05, 1.0, false), explicit_objective("ExplicitNu05", 0.2, 0.5, false),
          explicit_objective("ExplicitNu0", 1.0, 0.0, false),  explicit_objective("BiasedNu1", 0.05, 1.0, true),
          explicit_objective("BiasedNu05", 0.2, 0.5, true),    explicit_objective("BiasedNu0", 1.0, 0.0, true)};
}

inline std::vector<NamedObjective> implicit_objectives() {
  return {unobserved_objective("UnobservedIgnored", 0.02, 1.0, Values::kNone),
          unobserved_objective("UnobservedWeights", 0.1, 0.5, Values::kWeights),
          unobserved_objective("UnobservedNu0", 1.0, 0.0, Values::kWeights),
          alpha_objective("AlphaOnePlus", 0.5, 0.0, Confidence::kOnePlus),
          alpha_objective("AlphaProduct", 0.5, 0.0, Confidence::kProduct),
          alpha_objective("AlphaProductNu1", 0.1, 1.0, Confidence::kProduct)};
}

inline std::vector<NamedObjective> all_objectives() {
  std::vector<NamedObjective> all = explicit_objectives();
  for (NamedObjective& named : implicit_objectives()) all.push_back(std::move(named));
  return all;
}

/// One of each kind, for sizes at which all of them would take long.
inline std::vector<NamedObjective> main_objectives() {
  return {explicit_objective("BiasedNu1", 0.05, 1.0, true),
          unobserved_objective("Unobserved", 0.02, 1.0, Values::kNone),
          alpha_objective("AlphaProduct", 0.5, 0.0, Confidence::kProduct)};
}

/// Normal values of standard deviation 1 / sqrt(rank); biases of 0.3.
inline FactorTable random_table(const TableShape& shape, std::uint64_t seed) {
  FactorTable table(shape);
  Random random(seed, 5);
  for (RowIndex r = 0; r < shape.rows; ++r) {
    for (float& value : table.row(r)) value = static_cast<float>(random.normal() / std::sqrt(double{1} * shape.rank));
  }
  for (float& bias : table.biases()) bias = static_cast<float>(0.3 * random.normal());
  return table;
}

/// Whole numbers from -3 to 3: every sum of products is exact in fp32, whatever its order.
inline FactorTable integer_table(const TableShape& shape, std::uint64_t seed) {
  FactorTable table(shape);
  Random random(seed, 6);
  const auto draw = [&] { return static_cast<float>(random.below(7)) - 3.0F; };
  for (RowIndex r = 0; r < shape.rows; ++r) {
    for (float& value : table.row(r)) value = draw();
  }
  for (float& bias : table.biases()) bias = draw();
  return table;
}

}  // namespace concerto::test
