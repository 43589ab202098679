// Progress of training: a bar on a terminal, a line an epoch elsewhere.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "concerto/train/trainer.hpp"

#include "log.hpp"

namespace concerto {

class Progress {
 public:
  Progress(Console& console, std::uint32_t epochs, std::uint64_t entries);
  /// Clears an unfinished bar.
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// To be handed to `train`; refers to this object.
  [[nodiscard]] TrainObserver observer();

 private:
  void step(std::uint32_t epoch, double share);
  void epoch(const EpochRecord& record);
  void clear_bar();

  Console& console_;
  std::uint32_t epochs_;
  std::uint64_t entries_;
  std::chrono::steady_clock::time_point begin_;
  std::chrono::steady_clock::time_point last_drawn_;
  std::size_t drawn_width_ = 0;
};

/// "0.3 s", "2 min 05 s", "1 h 02 min".
[[nodiscard]] std::string duration_text(double seconds);
/// "2.1 M", "930 k".
[[nodiscard]] std::string count_text(double count);

}  // namespace concerto
