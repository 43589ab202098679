// One sweep an epoch, in which the parts of the items go round (node/rotation.hpp). A rank works on a part as soon as
// it is here, and passes it on when done; those of the last stratum are exchanged among all instead, so that after the
// epoch every rank has all items as they are.
#include <algorithm>

#include <fmt/format.h>

#include "concerto/base/check.hpp"

#include "epoch_schedule.hpp"

namespace concerto {
namespace {

class RotatingSchedule final : public EpochSchedule {
 public:
  explicit RotatingSchedule(const NodeOptions& options) : rank_(options.rank), rotation_(options.rotation) {
    CONCERTO_CHECK(rotation_.ranks == options.ranks && rotation_.parts_per_rank > 0, "a rotation of another run");
  }

  void begin(std::uint32_t epoch, EffectList& out) override {
    epoch_ = epoch;
    is_beginning_ = true;
    started_ = finished_ = awaited_ = received_ = sent_ = exchanged_ = installed_ = 0;
    out.push(BeginSweep{epoch_, Side::kItems});
  }

  void sweep_begun(EffectList& out) override {
    is_beginning_ = false;
    run_next_steps(out);
  }

  void step_finished(const StepId& step, EffectList& out) override {
    CONCERTO_CHECK(step == step_id(finished_), "a step finished that was not the next");
    const std::uint32_t round = finished_++;
    if (round < rotation_.passes()) {
      out.push(SendBlock{pass_to(rotation_.next(rank_), round + rotation_.parts_per_rank), out.next_operation()});
    }
    exchange_finished_rows(out);
    run_next_steps(out);
  }

  void block_sent(const BlockPass& pass, EffectList& out) override {
    CONCERTO_CHECK(pass.epoch == epoch_ && pass.from == rank_ && sent_ < rotation_.passes(),
                   "a block was sent that is not of this epoch");
    ++sent_;
    exchange_finished_rows(out);
  }

  void block_received(const BlockPass& pass, EffectList& out) override {
    CONCERTO_CHECK(pass == pass_to(rank_, rotation_.parts_per_rank + received_), "a block came that was not the next");
    ++received_;
    out.push(InstallBlock{pass});  // before the step that is begun next
    run_next_steps(out);
  }

  void rows_exchanged(const StepId& step, EffectList& out) override {
    CONCERTO_CHECK(
        step.epoch == epoch_ && step.round >= rotation_.passes() && step.round < rotation_.passes() + exchanged_,
        "an exchange that was not begun");
    out.push(InstallRows{step});
  }

  void rows_installed(const StepId& step, EffectList&) override {
    CONCERTO_CHECK(step.epoch == epoch_, "rows of another epoch were installed");
    ++installed_;
  }

  [[nodiscard]] bool is_complete() const noexcept override {
    return rotation_.ranks == 1 ? finished_ == rotation_.rounds() : installed_ == rotation_.parts_per_rank;
  }
  [[nodiscard]] bool owes() const noexcept override { return is_beginning_ || started_ > finished_; }
  [[nodiscard]] std::string place() const override {
    const std::uint32_t round = std::min(finished_, rotation_.rounds() - 1);
    return fmt::format("stratum {}, part {}", rotation_.stratum(round), rotation_.part(rank_, epoch_, round));
  }

 private:
  [[nodiscard]] StepId step_id(std::uint32_t round) const { return {epoch_, Side::kItems, round}; }

  /// The part that `to` works on in its round.
  [[nodiscard]] BlockPass pass_to(Rank to, std::uint32_t round) const {
    return {epoch_, rotation_.stratum(round), rotation_.part(to, epoch_, round), rotation_.previous(to), to};
  }

  /// Begins the next steps whose parts are here, and awaits the parts that take their turn.
  void run_next_steps(EffectList& out) {
    const std::uint32_t ahead = std::min(rotation_.rounds(), finished_ + kStepsAhead);
    while (started_ < std::min(ahead, rotation_.parts_per_rank + received_)) {
      out.push(RunStep{step_id(started_++)});
      if (awaited_ < rotation_.passes()) {
        out.push(ReceiveBlock{pass_to(rank_, rotation_.parts_per_rank + awaited_++)});
      }
    }
  }

  /// Exchanges what is finished of the last stratum, once no part that this rank has sent is in use any more.
  void exchange_finished_rows(EffectList& out) {
    if (rotation_.ranks == 1 || sent_ < rotation_.passes()) return;
    while (rotation_.passes() + exchanged_ < finished_) {
      out.push(ExchangeRows{step_id(rotation_.passes() + exchanged_++), out.next_operation()});
    }
  }

  Rank rank_;
  Rotation rotation_;
  std::uint32_t epoch_ = 1;
  bool is_beginning_ = true;
  std::uint32_t started_ = 0;  ///< steps of the epoch
  std::uint32_t finished_ = 0;
  std::uint32_t awaited_ = 0;  ///< blocks that are, or were, to come
  std::uint32_t received_ = 0;
  std::uint32_t sent_ = 0;
  std::uint32_t exchanged_ = 0;  ///< rounds of the last stratum
  std::uint32_t installed_ = 0;
};

}  // namespace

std::unique_ptr<EpochSchedule> make_rotating_schedule(const NodeOptions& options) {
  return std::make_unique<RotatingSchedule>(options);
}

}  // namespace concerto
