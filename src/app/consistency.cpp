// Samples of rows, and what is computed of them.
#include "consistency.hpp"

#include <algorithm>
#include <cmath>
#include <set>

#include "concerto/base/check.hpp"
#include "concerto/base/rng.hpp"

namespace concerto {

/// Floyd's algorithm (Bentley and Floyd, "A sample of brilliance", CACM 1987).
std::vector<RowIndex> draw_rows(RowIndex rows, std::uint32_t count, std::uint64_t seed, std::uint64_t stream) {
  Random random(seed, stream);
  std::set<RowIndex> drawn;
  for (RowIndex last = rows - std::min(rows, count); last < rows; ++last) {
    const auto row = static_cast<RowIndex>(random.below(std::uint64_t{last} + 1));
    if (!drawn.insert(row).second) drawn.insert(last);
  }
  return {drawn.begin(), drawn.end()};
}

double agreement(std::span<const float> replica, std::span<const float> owners) {
  CONCERTO_CHECK(replica.size() == owners.size(), "samples of the same rows");
  double difference = 0.0;
  double norm = 0.0;
  for (std::size_t i = 0; i < owners.size(); ++i) {
    const double theirs = owners[i];
    difference += (replica[i] - theirs) * (replica[i] - theirs);
    norm += theirs * theirs;
  }
  if (difference == 0.0) return 1.0;
  return 1.0 - std::min(1.0, std::sqrt(difference / norm));  // of 1 and what is no number, min gives 1
}

double consistency_index(std::span<const double> weights, std::span<const double> agreements) {
  CONCERTO_CHECK(weights.size() == agreements.size(), "a weight for each rank");
  double sum = 0.0;
  for (std::size_t i = 0; i < weights.size(); ++i) sum += weights[i] * agreements[i];
  return sum;
}

std::size_t most_samples(std::size_t bytes_of_one) noexcept {
  constexpr std::size_t kBytes = std::size_t{64} << 20;
  return std::clamp<std::size_t>(kBytes / std::max<std::size_t>(1, bytes_of_one), 4, 256);
}

void ConsistencySamples::make_room() {
  while (samples_.size() >= most_) {
    stride_ *= 2;
    std::erase_if(samples_, [this](const ConsistencySample& sample) { return sample.number % stride_ != 0; });
  }
}

std::optional<std::uint64_t> ConsistencySamples::due(std::uint64_t elapsed) {
  const auto latest = [&] { return elapsed - elapsed % stride_; };
  if (!may_follow(latest())) return std::nullopt;
  make_room();
  return may_follow(latest()) ? std::optional(latest()) : std::nullopt;
}

ConsistencySample* ConsistencySamples::add(std::uint64_t number) {
  CONCERTO_CHECK(may_follow(number), "the numbers of samples rise");
  last_ = number;
  make_room();
  if (number % stride_ != 0) return nullptr;
  ConsistencySample& sample = samples_.emplace_back();
  sample.number = number;
  return &sample;
}

}  // namespace concerto
