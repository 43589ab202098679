// Folding in: the factors of users that training did not see, from their histories, with the items fixed.
#pragma once

#include "concerto/compute/backend.hpp"
#include "concerto/model/objective.hpp"

namespace concerto {

/// One row for each row of `histories` (rows: new users, columns: item rows of the model), as the last ALS half-sweep
/// would have solved it: exact up to rank 1,024, by CG to convergence above. Users without entries are zero.
[[nodiscard]] FactorTable fold_in_users(Backend& backend, const FactorTable& items, const CompressedRows& histories,
                                        const Objective& objective);

}  // namespace concerto
