// Planted data in chunks that are a scenario's blocks.
#include "training.hpp"

#include <cmath>

#include "concerto/compute/backends.hpp"

#include "unit/train/small_data.hpp"

namespace concerto::sim {
namespace {

constexpr RowIndex kChunk = 64;

}  // namespace

Training::Training(const Scenario& scenario, std::span<const ReplicatedBlock> blocks,
                   std::span<const PlacedBlock> placed) {
  const RowIndex users = scenario.users * kChunk;
  const RowIndex items = scenario.items * kChunk;
  const double density = std::min(0.5, 40.0 / std::min(users, items));
  data_.emplace(test::dataset_of(users, items, test::planted_entries(users, items, density, scenario.seed)));
  options_.objective.regularization = 0.05;
  options_.objective.biases = true;
  options_.objective.bias_regularization = 0.05;
  options_.rank = 3;
  options_.seed = scenario.seed;
  options_.solver = scenario.is_adding ? SolverKind::kSgd : SolverKind::kAls;
  options_.inner = InnerSolver::kCholesky;
  // Ranks that add to the same items at once take as many steps at once: small ones.
  options_.learning_rate = 0.03;
  options_.epochs = scenario.epochs;
  const auto backend = make_reference_backend();
  const TrainResult alone = train(*backend, *data_, nullptr, nullptr, options_, std::nullopt, {}, {});
  options_.objective.mean = alone.mean;
  alone_ = error_of(alone.users, alone.items);
  nothing_ = error_of(FactorTable(alone.users.shape()), FactorTable(alone.items.shape()));

  plan_.blocks.assign(blocks.begin(), blocks.end());
  plan_.placed.assign(placed.begin(), placed.end());
  plan_.blocks_per_step = scenario.blocks_per_step;
  const std::uint32_t floats = options_.rank + 1 + (scenario.is_adding ? 1 : 0);
  for (std::uint32_t b = 0; b < blocks.size(); ++b) {
    const RowIndex begin = (b < scenario.items ? b : b - scenario.items) * kChunk;
    plan_.rows.push_back({begin, begin + kChunk});
    plan_.weights.push_back(static_cast<std::uint64_t>(placed[b].weight));
    plan_.blocks[b].bytes = kChunk * floats * sizeof(float);
  }
}

double Training::error_of(const FactorTable& users, const FactorTable& items) const {
  const CompressedRows matrix = data_->by_user();
  double sum = 0.0;
  for (RowIndex u = 0; u < matrix.rows; ++u) {
    for (EntryIndex k = matrix.offsets[u]; k < matrix.offsets[u + 1]; ++k) {
      const RowIndex i = matrix.columns[k];
      double residual = matrix.values[k] - options_.objective.mean - users.bias(u) - items.bias(i);
      for (std::uint32_t f = 0; f < users.rank(); ++f)
        residual -= static_cast<double>(users.row(u)[f]) * items.row(i)[f];
      sum += residual * residual;
    }
  }
  return std::sqrt(sum / static_cast<double>(std::max<EntryIndex>(1, data_->entries())));
}

TrainingProcess::TrainingProcess(const Training& training)
    : training_(training),
      backend_(make_reference_backend()),
      trainer_(std::make_unique<AsynchronousTrainer>(*backend_, training.data(), training.options(), std::nullopt,
                                                     training.plan())) {}

void TrainingProcess::step(const BlockStep& step, const Replicator& replicator) {
  if (ownership_ != replicator.ownership_changes()) {
    ownership_ = replicator.ownership_changes();
    std::vector<BlockId> own;
    for (BlockId b = 0; b < training_.plan().rows.size(); ++b) {
      if (replicator.owns(b)) own.push_back(b);
    }
    trainer_->own(own);
  }
  trainer_->prepare(step, replicator);
  trainer_->run(step);
}

}  // namespace concerto::sim
