// Progress of training. The time left assumes that the epochs to come take as long as those done, evaluation included.
#include "progress.hpp"

#include <algorithm>

#include <fmt/format.h>

namespace concerto {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::chrono::milliseconds kRedraw{100};
constexpr std::size_t kBarWidth = 30;

double seconds_between(Clock::time_point begin, Clock::time_point end) {
  return std::chrono::duration<double>(end - begin).count();
}

}  // namespace

Progress::Progress(Console& console, std::uint32_t epochs, std::uint64_t entries)
    : console_(console), epochs_(epochs), entries_(entries), begin_(Clock::now()), last_drawn_(begin_) {}

Progress::~Progress() {
  clear_bar();
}

TrainObserver Progress::observer() {
  return {[this](std::uint32_t epoch_number, double share) { step(epoch_number, share); },
          [this](const EpochRecord& record) { epoch(record); }};
}

void Progress::clear_bar() {
  if (drawn_width_ == 0) return;
  console_.err << '\r' << std::string(drawn_width_, ' ') << '\r' << std::flush;
  drawn_width_ = 0;
}

void Progress::step(std::uint32_t epoch_number, double share) {
  const Clock::time_point now = Clock::now();
  if (!console_.shows_bar || now - last_drawn_ < kRedraw) return;
  last_drawn_ = now;
  const double done = epoch_number - 1 + share;
  const double elapsed = seconds_between(begin_, now);
  const auto filled = static_cast<std::size_t>(done / epochs_ * kBarWidth);
  const std::string bar = fmt::format(
      "epoch {}/{} [{}{}] {:.0f} %  {} updates/s  {} left", epoch_number, epochs_, std::string(filled, '='),
      std::string(kBarWidth - filled, ' '), 100.0 * done / epochs_,
      count_text(static_cast<double>(entries_) * done / elapsed), duration_text(elapsed / done * (epochs_ - done)));
  const std::size_t erased = drawn_width_ > bar.size() ? drawn_width_ - bar.size() : 0;
  console_.err << '\r' << bar << std::string(erased, ' ') << std::flush;
  drawn_width_ = bar.size();
}

void Progress::epoch(const EpochRecord& record) {
  clear_bar();
  std::string line = fmt::format("epoch {}/{}  {}  {} updates/s", record.epoch, epochs_, duration_text(record.seconds),
                                 count_text(static_cast<double>(entries_) / std::max(record.seconds, 1e-9)));
  if (record.loss) line += fmt::format("  loss {:.6g}", *record.loss);
  for (const auto& [name, value] : record.test) line += fmt::format("  {} {:.4f}", name, value);
  if (!record.validation.empty()) {
    line += "  validation:";
    for (const auto& [name, value] : record.validation) line += fmt::format(" {} {:.4f}", name, value);
  }
  if (record.epoch < epochs_) {
    const double each = seconds_between(begin_, Clock::now()) / record.epoch;
    line += fmt::format("  {} left", duration_text(each * (epochs_ - record.epoch)));
  }
  console_.log.info(line);
}

std::string duration_text(double seconds) {
  if (seconds < 0.0995) return fmt::format("{:.0f} ms", seconds * 1e3);
  if (seconds < 60.0) return fmt::format("{:.1f} s", seconds);
  const auto whole = static_cast<std::uint64_t>(seconds);
  if (whole < 3600) return fmt::format("{} min {:02} s", whole / 60, whole % 60);
  return fmt::format("{} h {:02} min", whole / 3600, whole / 60 % 60);
}

std::string count_text(double count) {
  if (count >= 1e9) return fmt::format("{:.1f} G", count / 1e9);
  if (count >= 1e6) return fmt::format("{:.1f} M", count / 1e6);
  if (count >= 1e3) return fmt::format("{:.0f} k", count / 1e3);
  return fmt::format("{:.0f}", count);
}

}  // namespace concerto
