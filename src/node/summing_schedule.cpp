// Two sweeps an epoch, items first. A round of the items: every rank sums partial systems over its own users' entries,
// partials go to the items' owners, owners solve, and the rows go to all. Users are solved by their owners and stay
// there.
//
// Exchanges begin in one order on all ranks, whatever is ready first: the partials of a round go before the rows of the
// round kPartialsAhead before it, so that there is a round to sum while one is solved and travels.
#include <algorithm>

#include <fmt/format.h>

#include "concerto/base/check.hpp"

#include "epoch_schedule.hpp"

namespace concerto {
namespace {

constexpr std::uint32_t kPartialsAhead = 1;

class SummingSchedule final : public EpochSchedule {
 public:
  explicit SummingSchedule(const NodeOptions& options) : ranks_(options.ranks), rounds_(options.rounds) {}

  void begin(std::uint32_t epoch, EffectList& out) override {
    epoch_ = epoch;
    is_complete_ = false;
    begin_sweep(Side::kItems, out);
  }

  void sweep_begun(EffectList& out) override {
    is_beginning_ = false;
    run_next_steps(out);
  }

  void step_finished(const StepId& step, EffectList& out) override {
    CONCERTO_CHECK(step == (StepId{epoch_, side_, finished_}), "a step finished that was not the next");
    ++finished_;
    run_next_steps(out);
    if (side_ == Side::kUsers) {
      is_complete_ = finished_ == rounds_;
    } else if (ranks_ == 1) {
      out.push(SolveSystems{step});
    } else {
      begin_exchanges(out);
    }
  }

  void partials_exchanged(const StepId& step, EffectList& out) override {
    CONCERTO_CHECK(step.epoch == epoch_ && step.side == side_ && step.round < partials_begun_,
                   "partials that were not exchanged");
    ++arrived_;
    out.push(SolveSystems{step});
  }

  void systems_solved(const StepId& step, EffectList& out) override {
    CONCERTO_CHECK(step == (StepId{epoch_, Side::kItems, solved_}), "a round was solved that was not the next");
    ++solved_;
    if (ranks_ > 1) {
      begin_exchanges(out);
    } else {
      end_items_round(out);
    }
  }

  void rows_exchanged(const StepId& step, EffectList& out) override {
    CONCERTO_CHECK(step.epoch == epoch_ && step.side == side_ && step.round < rows_begun_,
                   "an exchange that was not begun");
    out.push(InstallRows{step});
  }

  void rows_installed(const StepId& step, EffectList& out) override {
    CONCERTO_CHECK(step.epoch == epoch_ && step.side == Side::kItems, "rows of another sweep were installed");
    end_items_round(out);
  }

  [[nodiscard]] bool is_complete() const noexcept override { return is_complete_; }
  [[nodiscard]] bool owes() const noexcept override {
    return is_beginning_ || finished_ < rounds_ || solved_ < arrived_;
  }
  [[nodiscard]] std::string place() const override {
    return fmt::format("{}, round {}", side_ == Side::kItems ? "items" : "users", std::min(finished_, rounds_ - 1));
  }

 private:
  void begin_sweep(Side side, EffectList& out) {
    side_ = side;
    is_beginning_ = true;
    started_ = finished_ = partials_begun_ = arrived_ = solved_ = rows_begun_ = installed_ = 0;
    out.push(BeginSweep{epoch_, side});
  }

  void run_next_steps(EffectList& out) {
    while (started_ < std::min(rounds_, finished_ + kStepsAhead)) out.push(RunStep{{epoch_, side_, started_++}});
  }

  /// The exchanges that are next and ready.
  void begin_exchanges(EffectList& out) {
    while (rows_begun_ < rounds_) {
      const bool partials_are_next = partials_begun_ < std::min(rounds_, rows_begun_ + 1 + kPartialsAhead);
      if (partials_are_next) {
        if (partials_begun_ == finished_) return;
        out.push(ExchangePartials{{epoch_, side_, partials_begun_++}, out.next_operation()});
      } else {
        if (rows_begun_ == solved_) return;
        out.push(ExchangeRows{{epoch_, side_, rows_begun_++}, out.next_operation()});
      }
    }
  }

  void end_items_round(EffectList& out) {
    if (++installed_ == rounds_) begin_sweep(Side::kUsers, out);
  }

  Rank ranks_;
  std::uint32_t rounds_;
  std::uint32_t epoch_ = 1;
  Side side_ = Side::kItems;
  bool is_beginning_ = true;
  bool is_complete_ = false;
  std::uint32_t started_ = 0;  ///< steps of the sweep
  std::uint32_t finished_ = 0;
  std::uint32_t partials_begun_ = 0;  ///< rounds of the items, and so on
  std::uint32_t arrived_ = 0;         ///< of which all ranks' partials are here
  std::uint32_t solved_ = 0;
  std::uint32_t rows_begun_ = 0;
  std::uint32_t installed_ = 0;
};

}  // namespace

std::unique_ptr<EpochSchedule> make_summing_schedule(const NodeOptions& options) {
  return std::make_unique<SummingSchedule>(options);
}

}  // namespace concerto
