// What one epoch of each solver does, over the Backend contract. The trainer (trainer.cpp) decides how many epochs
// there are, what is measured and what is kept; an epoch only moves factors.
#pragma once

#include <functional>
#include <memory>
#include <stop_token>
#include <vector>

#include "concerto/compute/backend.hpp"
#include "concerto/data/dataset.hpp"
#include "concerto/data/partition.hpp"
#include "concerto/train/trainer.hpp"

namespace concerto {

/// What training keeps in the backend.
struct TrainingState {
  Backend& backend;
  const TrainOptions& options;
  Objective objective;  ///< with the mean filled in
  CompressedRows by_user_view;
  CompressedRows by_item_view;
  std::unique_ptr<Buffer> by_user;  ///< null with sgd, as by_item
  std::unique_ptr<Buffer> by_item;
  std::unique_ptr<Buffer> grid;  ///< sgd only
  std::unique_ptr<Buffer> users;
  std::unique_ptr<Buffer> items;
  std::vector<RowRange> user_steps;
  std::vector<RowRange> item_steps;
};

/// One epoch's circumstances.
struct EpochContext {
  std::uint32_t epoch = 1;
  double momentum = 0.0;  ///< of this epoch
  std::function<void(double share)> on_step;
  std::stop_token stop;
};

/// Each runs one epoch and returns true, or returns false at the first step boundary after a stop request; the tables
/// are then between two epochs. Items are solved first, then users.
[[nodiscard]] bool run_als_epoch(TrainingState& state, const EpochContext& context);
/// The user half of an ALS epoch, without momentum.
void solve_users(TrainingState& state);
[[nodiscard]] bool run_subspace_epoch(TrainingState& state, const EpochContext& context);
/// SGD has one step an epoch.
[[nodiscard]] bool run_sgd_epoch(TrainingState& state, const EpochContext& context);

/// The work of a row, for cutting steps of equal length.
[[nodiscard]] WorkModel als_work(const TrainOptions& options);
[[nodiscard]] WorkModel subspace_work(const TrainOptions& options);
[[nodiscard]] WorkModel sgd_work();

/// What SGD moves, and by which entries.
struct SgdBuffers {
  const Buffer* grid = nullptr;
  Buffer* users = nullptr;
  Buffer* items = nullptr;
};
/// The pass of an epoch, from 1, over one of the `grids` that the epoch goes through: its rate, and an order that
/// belongs to the epoch and the grid.
[[nodiscard]] SgdStep sgd_step(const TrainOptions& options, const Objective& objective, std::uint32_t epoch,
                               std::uint32_t grid, std::uint32_t grids, const SgdBuffers& buffers);

/// Both half-sweeps of an alternating epoch: `solve` is called for each step with the side, its rows, and the Gram of
/// the fixed side (null for explicit objectives).
using HalfStep = std::function<void(Side side, RowRange rows, const Buffer* gram)>;
[[nodiscard]] bool run_half_sweeps(TrainingState& state, const EpochContext& context, const HalfStep& solve);

}  // namespace concerto
