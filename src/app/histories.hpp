// Users that a model does not know, folded in from their histories, for `evaluate` and `recommend`.
#pragma once

#include <filesystem>
#include <optional>

#include "concerto/base/thread_pool.hpp"
#include "concerto/compute/backend.hpp"
#include "concerto/data/dataset.hpp"
#include "concerto/model/model.hpp"

#include "inputs.hpp"

namespace concerto {

/// How the files of a model's users are read: values taken or ignored and pairs merged as in training, and entries left
/// out below `min_value`, or, where it is not given, below the data.min_value of training.
[[nodiscard]] FileRules file_rules(const Model& model, FileFormat format, std::optional<double> min_value);

/// Users with their factors and what they have seen.
struct FoldedUsers {
  IdMap ids;
  FactorTable factors;
  CompressedMatrix seen;            ///< rows = `ids`, columns = item rows of the model
  std::uint64_t unknown_items = 0;  ///< history entries of items that the model does not know
};

/// Every user of the history file, folded in; with `only_unknown` those that the model does not know.
[[nodiscard]] FoldedUsers fold_in_file(const Model& model, const std::filesystem::path& history, const FileRules& rules,
                                       bool only_unknown, Backend& backend, ThreadPool& pool);

/// The model with these users added. Row numbers of users change; item rows do not.
[[nodiscard]] Model with_users(Model model, const FoldedUsers& added);

/// `seen` (rows = `trained_ids`) in the rows of the extended model, with the histories of the added users put in.
/// Values are left out.
[[nodiscard]] CompressedMatrix with_seen(const CompressedRows& seen, const IdMap& trained_ids, const Model& extended,
                                         const FoldedUsers& added);

}  // namespace concerto
