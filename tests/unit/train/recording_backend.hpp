// The reference backend with a record of the ALS steps it was asked for, and losses by script.
#pragma once

#include <memory>
#include <vector>

#include "concerto/compute/backends.hpp"

namespace concerto::test {

class RecordingBackend : public Backend {
 public:
  struct Step {
    RowRange rows;
    RowIndex target_rows;
    bool has_gram;
    double momentum;
  };
  RecordingBackend() : inner_(make_reference_backend()) {}

  std::vector<Step> steps;
  unsigned orientations_loaded = 0;
  std::uint32_t best_steps = 16;        ///< of a half-sweep
  std::vector<double> scripted_losses;  ///< entry losses in the order of the calls; empty: the true ones

  [[nodiscard]] std::string_view name() const noexcept override { return inner_->name(); }
  [[nodiscard]] std::string description() const override { return inner_->description(); }
  [[nodiscard]] double work_per_second() const noexcept override { return inner_->work_per_second(); }
  [[nodiscard]] std::uint32_t steps_per_half_sweep() const noexcept override { return best_steps; }
  std::unique_ptr<Buffer> create_table(const TableShape& shape) override {
    auto table = inner_->create_table(shape);
    tables_.push_back({table.get(), shape.rows});
    return table;
  }
  void write_rows(Buffer& table, RowRange rows, const FactorTable& host) override {
    inner_->write_rows(table, rows, host);
  }
  void read_rows(const Buffer& table, RowRange rows, FactorTable& host) const override {
    inner_->read_rows(table, rows, host);
  }
  void write_state(Buffer& table, RowRange rows, std::span<const float> state) override {
    inner_->write_state(table, rows, state);
  }
  void read_state(const Buffer& table, RowRange rows, std::span<float> state) const override {
    inner_->read_state(table, rows, state);
  }
  std::unique_ptr<Buffer> load_ratings(const CompressedRows& ratings) override {
    ++orientations_loaded;
    return inner_->load_ratings(ratings);
  }
  std::unique_ptr<Buffer> load_grid(const CompressedRows& by_user, const CompressedRows& by_item,
                                    const RowCounts& counts) override {
    return inner_->load_grid(by_user, by_item, counts);
  }
  std::unique_ptr<Buffer> gram(const Buffer& table) override { return inner_->gram(table); }
  void solve_rows(const SolveStep& step) override {
    RowIndex target_rows = 0;
    for (const auto& [table, rows] : tables_) {
      if (table == step.target) target_rows = rows;
    }
    steps.push_back({step.rows, target_rows, step.gram != nullptr, step.momentum});
    inner_->solve_rows(step);
  }
  void solve_slices(const SubspaceStep& step) override { inner_->solve_slices(step); }
  bool sums_systems() const noexcept override { return inner_->sums_systems(); }
  void sum_systems(const SumStep& step, std::span<float> systems) override { inner_->sum_systems(step, systems); }
  void solve_systems(const SystemsStep& step) override { inner_->solve_systems(step); }
  void sgd_epoch(const SgdStep& step) override { inner_->sgd_epoch(step); }
  double entry_loss(const Buffer& by_user, RowRange rows, const Buffer& users, const Buffer& items,
                    const Objective& objective) override {
    const double truth = inner_->entry_loss(by_user, rows, users, items, objective);
    return scripted_losses.empty() ? truth : scripted_losses.at(losses_asked_++);
  }
  double penalty(const Buffer& ratings, RowRange rows, const Buffer& table, const Objective& objective) override {
    return inner_->penalty(ratings, rows, table, objective);
  }
  double grid_loss(const Buffer& grid, const Buffer& users, const Buffer& items, const Objective& objective) override {
    return inner_->grid_loss(grid, users, items, objective);
  }
  double inner_product(const Buffer& gram_a, const Buffer& gram_b) override {
    return inner_->inner_product(gram_a, gram_b);
  }
  ErrorSums prediction_errors(const CompressedRows& held_out, const Buffer& users, const Buffer& items, double mean,
                              float low, float high) override {
    return inner_->prediction_errors(held_out, users, items, mean, low, high);
  }
  TopKResult top_k(const TopKQuery& query) override { return inner_->top_k(query); }

 private:
  std::unique_ptr<Backend> inner_;
  std::vector<std::pair<const Buffer*, RowIndex>> tables_;
  std::size_t losses_asked_ = 0;
};

}  // namespace concerto::test
