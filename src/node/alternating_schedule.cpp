// Two sweeps an epoch, items first: in each round every rank solves a group of its blocks, and the rows of one round
// travel to all while the next is solved. A sweep begins when every row of the one before is installed.
#include <algorithm>

#include <fmt/format.h>

#include "concerto/base/check.hpp"

#include "epoch_schedule.hpp"

namespace concerto {
namespace {

class AlternatingSchedule final : public EpochSchedule {
 public:
  explicit AlternatingSchedule(const NodeOptions& options) : ranks_(options.ranks), rounds_(options.rounds) {}

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
    CONCERTO_CHECK(step == (StepId{epoch_, side_, solved_}), "a step finished that was not the next");
    ++solved_;
    if (ranks_ > 1) {
      out.push(ExchangeRows{step, out.next_operation()});
    } else {
      ++installed_;
    }
    run_next_steps(out);
    end_sweep_if_installed(out);
  }

  void rows_exchanged(const StepId& step, EffectList& out) override {
    CONCERTO_CHECK(step.epoch == epoch_ && step.side == side_ && step.round < solved_,
                   "an exchange that was not begun");
    out.push(InstallRows{step});
  }

  void rows_installed(const StepId& step, EffectList& out) override {
    CONCERTO_CHECK(step.epoch == epoch_ && step.side == side_, "rows of another sweep were installed");
    ++installed_;
    end_sweep_if_installed(out);
  }

  [[nodiscard]] bool is_complete() const noexcept override { return is_complete_; }
  [[nodiscard]] bool owes() const noexcept override { return is_beginning_ || solved_ < rounds_; }
  [[nodiscard]] std::string place() const override {
    return fmt::format("{}, round {}", side_ == Side::kItems ? "items" : "users", std::min(solved_, rounds_ - 1));
  }

 private:
  void begin_sweep(Side side, EffectList& out) {
    side_ = side;
    is_beginning_ = true;
    started_ = solved_ = installed_ = 0;
    out.push(BeginSweep{epoch_, side});
  }

  void run_next_steps(EffectList& out) {
    while (started_ < std::min(rounds_, solved_ + kStepsAhead)) out.push(RunStep{{epoch_, side_, started_++}});
  }

  void end_sweep_if_installed(EffectList& out) {
    if (installed_ < rounds_) return;
    if (side_ == Side::kItems) {
      begin_sweep(Side::kUsers, out);
    } else {
      is_complete_ = true;
    }
  }

  Rank ranks_;
  std::uint32_t rounds_;
  std::uint32_t epoch_ = 1;
  Side side_ = Side::kItems;
  bool is_beginning_ = true;
  bool is_complete_ = false;
  std::uint32_t started_ = 0;  ///< steps of the sweep
  std::uint32_t solved_ = 0;
  std::uint32_t installed_ = 0;
};

}  // namespace

std::unique_ptr<EpochSchedule> make_alternating_schedule(const NodeOptions& options) {
  return std::make_unique<AlternatingSchedule>(options);
}

}  // namespace concerto
