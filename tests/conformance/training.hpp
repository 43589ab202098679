// Training on a backend, as small as it can be: tables, steps of each solver, and the whole objective.
#pragma once

#include <algorithm>
#include <optional>

#include "backends_under_test.hpp"
#include "problems.hpp"

namespace concerto::test {

/// A suite runs for each pair of a backend and an objective.
using ObjectiveCase = std::tuple<BackendCase, NamedObjective>;

inline std::string objective_case_name(const ::testing::TestParamInfo<ObjectiveCase>& info) {
  return std::get<0>(info.param).name + std::get<1>(info.param).name;
}

struct SolverSettings {
  InnerSolver inner = InnerSolver::kCg;
  std::uint32_t cg_steps = 3;
  double momentum = 0.0;
  std::uint32_t slice = 0;  ///< 0: ALS; else subspace

  [[nodiscard]] std::string name() const {
    if (slice > 0) return "slice " + std::to_string(slice);
    const std::string plain = inner == InnerSolver::kCholesky ? "cholesky" : "cg " + std::to_string(cg_steps);
    return momentum == 0.0 ? plain : plain + ", momentum " + std::to_string(momentum);
  }
};

class Training {
 public:
  Training(Backend& backend, const Problem& problem, const Objective& objective, std::uint32_t rank, std::uint64_t seed)
      : backend_(backend),
        objective_(objective),
        user_shape_{problem.by_user.rows, rank, objective.biases},
        item_shape_{problem.by_item.rows, rank, objective.biases},
        by_user_(backend.load_ratings(problem.by_user.view())),
        by_item_(backend.load_ratings(problem.by_item.view())),
        users_(upload(backend, random_table(user_shape_, seed))),
        items_(upload(backend, random_table(item_shape_, seed + 1))) {}

  /// Puts one value into all rows of a side.
  void fill(Side side, float value) {
    FactorTable host(side == Side::kUsers ? user_shape_ : item_shape_);
    for (RowIndex r = 0; r < host.rows(); ++r) std::ranges::fill(host.row(r), value);
    backend_.write_rows(side == Side::kUsers ? *users_ : *items_, {0, host.rows()}, host);
  }

  /// One half-sweep, or the given rows of it.
  void solve(Side side, const SolverSettings& settings, std::optional<RowRange> rows = {}) {
    const bool is_users = side == Side::kUsers;
    const Buffer* fixed = is_users ? items_.get() : users_.get();
    Buffer* target = is_users ? users_.get() : items_.get();
    const Buffer* ratings = is_users ? by_user_.get() : by_item_.get();
    const RowRange all{0, is_users ? user_shape_.rows : item_shape_.rows};
    const auto gram = objective_.is_implicit() ? backend_.gram(*fixed) : nullptr;
    if (settings.slice > 0) {
      backend_.solve_slices({.ratings = ratings,
                             .fixed = fixed,
                             .gram = gram.get(),
                             .target = target,
                             .rows = rows.value_or(all),
                             .objective = objective_,
                             .slice = settings.slice});
    } else {
      backend_.solve_rows({.ratings = ratings,
                           .fixed = fixed,
                           .gram = gram.get(),
                           .target = target,
                           .rows = rows.value_or(all),
                           .objective = objective_,
                           .inner = settings.inner,
                           .cg_steps = settings.cg_steps,
                           .momentum = settings.momentum});
    }
  }

  void epoch(const SolverSettings& settings) {
    solve(Side::kItems, settings);
    solve(Side::kUsers, settings);
  }

  [[nodiscard]] FactorTable table(Side side) const {
    return side == Side::kUsers ? download(backend_, *users_, user_shape_) : download(backend_, *items_, item_shape_);
  }

  /// The whole objective, from the backend's own measures.
  [[nodiscard]] double loss() const {
    double sum = backend_.entry_loss(*by_user_, {0, user_shape_.rows}, *users_, *items_, objective_) +
                 backend_.penalty(*by_user_, {0, user_shape_.rows}, *users_, objective_) +
                 backend_.penalty(*by_item_, {0, item_shape_.rows}, *items_, objective_);
    if (objective_.is_implicit()) {
      sum += objective_.base_weight() * backend_.inner_product(*backend_.gram(*users_), *backend_.gram(*items_));
    }
    return sum;
  }

 private:
  Backend& backend_;
  Objective objective_;
  TableShape user_shape_;
  TableShape item_shape_;
  std::unique_ptr<Buffer> by_user_;
  std::unique_ptr<Buffer> by_item_;
  std::unique_ptr<Buffer> users_;
  std::unique_ptr<Buffer> items_;
};

}  // namespace concerto::test
