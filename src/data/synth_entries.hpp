// Draws the observed entries of one user after another and formats them as text lines.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "concerto/data/synth.hpp"

#include "synth_model.hpp"

namespace concerto {

/// What a run of users became: text of both parts, and what the true model makes of the held-out part.
struct SynthBlock {
  std::string train;
  std::string test;
  std::uint64_t train_entries = 0;
  std::uint64_t test_entries = 0;
  double squared_error = 0.0;  ///< of the true model on the held-out part; 0 if implicit

  /// Empties the block and keeps its memory.
  void reset() noexcept {
    train.clear();
    test.clear();
    train_entries = 0;
    test_entries = 0;
    squared_error = 0.0;
  }
};

/// Generates users one by one. One object a worker; the result depends on options and user alone.
class EntryGenerator {
 public:
  EntryGenerator(const SynthOptions& options, const SynthModel& model, const AliasTable& items);
  /// Appends the entries of `user` to `block`.
  void generate(RowIndex user, SynthBlock& block);

 private:
  void draw_sparse(RowIndex user);
  void draw_dense(RowIndex user);
  [[nodiscard]] float log_odds(RowIndex user, RowIndex item) const noexcept;
  void append(RowIndex user, RowIndex item, std::size_t place, SynthBlock& block) const;

  const SynthOptions& options_;
  const SynthModel& model_;
  const AliasTable& items_;
  std::vector<float> noise_;        // equally likely values
  std::vector<float> log_uniform_;  // the logarithms of equally likely values in (0, 1)
  float most_taste_ = 0.0F;
  std::uint64_t test_limit_ = 0;  // words below it mean: held out
  std::vector<RowIndex> chosen_;
  std::vector<RowIndex> seen_by_;  // by item: 1 + the last user that has it
  std::vector<std::pair<float, RowIndex>> keys_;
};

}  // namespace concerto
