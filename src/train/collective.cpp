// The choice between gathering factors and gathering partials (see train/collective.hpp).
#include "concerto/train/collective.hpp"

#include <fmt/format.h>

#include "concerto/base/error.hpp"

namespace concerto {
namespace {

/// Why partials cannot be had; empty where they can.
std::string obstacle(const Backend& backend, const TrainOptions& options, const CollectiveWish& wish) {
  if (options.solver != SolverKind::kAls) return "only solver.kind = \"als\" has Gram systems of whole rows";
  if (!backend.sums_systems()) return fmt::format("the {} backend sums no Gram systems", backend.name());
  if (options.rank > kMaxCholeskyRank) return fmt::format("Gram systems are limited to rank {}", kMaxCholeskyRank);
  if (wish.same_for_any_number_of_ranks) {
    return "compute.deterministic = true promises the same bytes for any number of ranks, and sums of partials depend "
           "on it";
  }
  return {};
}

}  // namespace

CollectiveBytes collective_bytes(RowIndex users, RowIndex items, const TrainOptions& options, Rank ranks) {
  const SystemLayout layout{options.rank, options.objective.biases};
  const std::uint64_t row = (options.rank + (options.objective.biases ? 1U : 0U)) * sizeof(float);
  const auto of_others = [ranks](std::uint64_t all) { return all * (ranks - 1) / ranks; };
  CollectiveBytes bytes;
  bytes.factors_epoch = of_others((std::uint64_t{users} + items) * row);
  bytes.grams_epoch = of_others(items * (layout.floats() * sizeof(float) + row));
  if (options.objective.is_implicit()) bytes.grams_epoch += (ranks - 1) * layout.gram_floats() * sizeof(float);
  bytes.grams_end = of_others(users * row);
  return bytes;
}

Collective choose_collective(const Backend& backend, RowIndex users, RowIndex items, const TrainOptions& options,
                             Rank ranks, const CollectiveWish& wish) {
  using Kind = CollectiveWish::Kind;
  const std::string why_not = obstacle(backend, options, wish);
  if (wish.kind == Kind::kGrams && !why_not.empty()) {
    throw Error(ErrorCode::kUnsupported, why_not + "; use \"auto\" or \"factors\"",
                "replication.collective = \"grams\"");
  }
  if (wish.kind != Kind::kAuto) return wish.kind == Kind::kGrams ? Collective::kGrams : Collective::kFactors;
  if (!why_not.empty()) return Collective::kFactors;
  if (options.inner == InnerSolver::kCg && options.rank > 4 * (options.cg_steps + 1)) return Collective::kFactors;
  const CollectiveBytes bytes = collective_bytes(users, items, options, ranks);
  const bool is_less = options.epochs * bytes.grams_epoch + bytes.grams_end < options.epochs * bytes.factors_epoch;
  return is_less ? Collective::kGrams : Collective::kFactors;
}

}  // namespace concerto
