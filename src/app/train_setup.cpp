// From the configuration to what training takes (see train_setup.hpp).
#include "train_setup.hpp"

#include <string>

#include "memory.hpp"
#include "summary.hpp"

namespace concerto {
namespace {

Objective make_objective(const ModelConfig& model) {
  Objective objective;
  if (model.objective == "implicit") {
    objective.kind = model.alpha ? ObjectiveKind::kImplicitAlpha : ObjectiveKind::kImplicitUnobserved;
  }
  objective.regularization = model.regularization;
  objective.regularization_exponent = model.regularization_exponent.value_or(model.alpha ? 0.0 : 1.0);
  objective.biases = model.biases;
  objective.bias_regularization = model.bias_regularization.value_or(model.regularization);
  objective.unobserved_weight = model.unobserved_weight.value_or(objective.unobserved_weight);
  objective.alpha = model.alpha.value_or(objective.alpha);
  objective.confidence = model.confidence == "product" ? Confidence::kProduct : Confidence::kOnePlus;
  return objective;
}

SolverKind solver_kind(const std::string& name) {
  if (name == "subspace") return SolverKind::kSubspace;
  return name == "sgd" ? SolverKind::kSgd : SolverKind::kAls;
}

}  // namespace

TrainOptions train_options(const Config& config) {
  TrainOptions options;
  options.objective = make_objective(config.model);
  options.rank = config.model.rank;
  options.seed = config.model.seed;
  options.init_stddev = config.model.init_stddev;
  options.nonnegative = config.model.nonnegative;
  options.solver = solver_kind(config.solver.kind);
  options.inner = config.solver.inner == "cholesky" ? InnerSolver::kCholesky : InnerSolver::kCg;
  options.cg_steps = config.solver.cg_steps;
  options.slice = config.solver.slice;
  options.momentum = config.solver.momentum;
  options.epochs = config.solver.epochs;
  options.learning_rate = config.solver.learning_rate;
  options.decay = config.solver.decay;
  options.stop_after = config.solver.stop_after;
  options.metrics = parse_metrics(config.evaluate.metrics, options.objective.is_implicit());
  options.evaluate_every = config.evaluate.every;
  options.clip_to_range = config.evaluate.clip == "range";
  if (options.stop_after > 0 && !config.solver.stop_metric.empty()) {
    options.stop_metric = parse_metric(config.solver.stop_metric);
  }
  return options;
}

MemoryShape memory_shape(const TrainOptions& options, const Dataset& data, unsigned threads) {
  MemoryShape shape;
  shape.users = data.lengths(Side::kUsers).rows;
  shape.items = data.lengths(Side::kItems).rows;
  shape.entries = data.entries();
  shape.rank = options.rank;
  shape.values = data.has_values();
  shape.biases = options.objective.biases;
  shape.is_implicit = options.objective.is_implicit();
  shape.slice = options.slice;
  shape.threads = threads;
  switch (options.solver) {
    case SolverKind::kSubspace:
      shape.solver = MemoryShape::Solver::kSubspace;
      break;
    case SolverKind::kSgd:
      shape.solver = MemoryShape::Solver::kSgd;
      break;
    case SolverKind::kAls:
      shape.solver =
          options.inner == InnerSolver::kCholesky ? MemoryShape::Solver::kCholesky : MemoryShape::Solver::kCg;
  }
  return shape;
}

std::uint64_t predict_host_bytes(const Config& config, const MemoryShape& shape, std::string_view backend, Rank ranks) {
  const unsigned copies = (config.solver.stop_after > 0 ? 2 : 1) + (config.model.warm_start.empty() ? 0 : 2);
  std::uint64_t bytes = predict_training_bytes(shape, copies, backend);
  if (ranks > 0) bytes += predict_share_bytes(shape, ranks);
  if (ranks > 0 && config.replication.level != "strong") {
    bytes += predict_asynchronous_bytes(shape, ranks);
    if (config.replication.sample_seconds > 0.0) bytes += predict_sampling_bytes(shape);
  }
  return bytes;
}

}  // namespace concerto
