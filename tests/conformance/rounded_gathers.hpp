// A backend that reads the fixed side of a step rounded to bf16, made of another: the specification of `gather =
// "bf16"`.
//
// Tables keep what is written to them; only Gram matrices, the fixed side of solving and both sides of a ranking see
// rounded factors. Biases, losses, errors of predictions and SGD do not. Each call copies the table: for tests alone.
#pragma once

#include <bit>
#include <cstdint>
#include <map>
#include <memory>

#include "concerto/base/check.hpp"
#include "concerto/compute/backend.hpp"

namespace concerto::test {

/// The nearest number with eight bits of significand, ties to even; for finite values.
inline float rounded_to_bf16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  return std::bit_cast<float>((bits + 0x7fffU + (bits >> 16 & 1U)) & 0xffff0000U);
}

inline FactorTable rounded_to_bf16(const FactorTable& table) {
  FactorTable rounded = table;
  for (RowIndex r = 0; r < rounded.rows(); ++r) {
    for (float& value : rounded.row(r)) value = rounded_to_bf16(value);
  }
  return rounded;
}

class RoundedGathers final : public Backend {
 public:
  explicit RoundedGathers(Backend& inner) : inner_(inner) {}

  [[nodiscard]] std::string_view name() const noexcept override { return inner_.name(); }
  [[nodiscard]] std::string description() const override { return inner_.description() + ", bf16 gathers"; }

  [[nodiscard]] std::unique_ptr<Buffer> create_table(const TableShape& shape) override {
    auto table = inner_.create_table(shape);
    shapes_[table.get()] = shape;
    return table;
  }
  void write_rows(Buffer& table, RowRange rows, const FactorTable& host) override {
    inner_.write_rows(table, rows, host);
  }
  void read_rows(const Buffer& table, RowRange rows, FactorTable& host) const override {
    inner_.read_rows(table, rows, host);
  }
  void write_state(Buffer& table, RowRange rows, std::span<const float> state) override {
    inner_.write_state(table, rows, state);
  }
  void read_state(const Buffer& table, RowRange rows, std::span<float> state) const override {
    inner_.read_state(table, rows, state);
  }
  [[nodiscard]] std::unique_ptr<Buffer> load_ratings(const CompressedRows& ratings) override {
    return inner_.load_ratings(ratings);
  }
  using Backend::load_grid;
  [[nodiscard]] std::unique_ptr<Buffer> load_grid(const CompressedRows& by_user, const CompressedRows& by_item,
                                                  const RowCounts& counts) override {
    return inner_.load_grid(by_user, by_item, counts);
  }

  [[nodiscard]] std::unique_ptr<Buffer> gram(const Buffer& table) override { return inner_.gram(*rounded(&table)); }
  void solve_rows(const SolveStep& step) override {
    const auto fixed = rounded(step.fixed);
    SolveStep on_rounded = step;
    on_rounded.fixed = fixed.get();
    inner_.solve_rows(on_rounded);
  }
  void solve_slices(const SubspaceStep& step) override {
    const auto fixed = rounded(step.fixed);
    SubspaceStep on_rounded = step;
    on_rounded.fixed = fixed.get();
    inner_.solve_slices(on_rounded);
  }
  [[nodiscard]] bool sums_systems() const noexcept override { return inner_.sums_systems(); }
  void sum_systems(const SumStep& step, std::span<float> systems) override {
    const auto fixed = rounded(step.fixed);
    SumStep on_rounded = step;
    on_rounded.fixed = fixed.get();
    inner_.sum_systems(on_rounded, systems);
  }
  void solve_systems(const SystemsStep& step) override { inner_.solve_systems(step); }
  void sgd_epoch(const SgdStep& step) override { inner_.sgd_epoch(step); }

  [[nodiscard]] double entry_loss(const Buffer& by_user, RowRange rows, const Buffer& users, const Buffer& items,
                                  const Objective& objective) override {
    return inner_.entry_loss(by_user, rows, users, items, objective);
  }
  [[nodiscard]] double penalty(const Buffer& ratings, RowRange rows, const Buffer& table,
                               const Objective& objective) override {
    return inner_.penalty(ratings, rows, table, objective);
  }
  [[nodiscard]] double grid_loss(const Buffer& grid, const Buffer& users, const Buffer& items,
                                 const Objective& objective) override {
    return inner_.grid_loss(grid, users, items, objective);
  }
  [[nodiscard]] double inner_product(const Buffer& gram_a, const Buffer& gram_b) override {
    return inner_.inner_product(gram_a, gram_b);
  }
  [[nodiscard]] ErrorSums prediction_errors(const CompressedRows& held_out, const Buffer& users, const Buffer& items,
                                            double mean, float low, float high) override {
    return inner_.prediction_errors(held_out, users, items, mean, low, high);
  }
  [[nodiscard]] TopKResult top_k(const TopKQuery& query) override {
    const auto queries = rounded(query.queries);
    const auto candidates = rounded(query.candidates);
    TopKQuery on_rounded = query;
    on_rounded.queries = queries.get();
    on_rounded.candidates = candidates.get();
    return inner_.top_k(on_rounded);
  }

 private:
  [[nodiscard]] std::unique_ptr<Buffer> rounded(const Buffer* table) const {
    const auto shape = shapes_.find(table);
    CONCERTO_CHECK(shape != shapes_.end(), "a table of another backend");
    FactorTable host(shape->second);
    inner_.read_rows(*table, {0, host.rows()}, host);
    auto copy = inner_.create_table(host.shape());
    inner_.write_rows(*copy, {0, host.rows()}, rounded_to_bf16(host));
    return copy;
  }

  Backend& inner_;
  std::map<const Buffer*, TableShape> shapes_;
};

}  // namespace concerto::test
