// Repeated measurements by events on a stream: medians and spread after warm-up.
#pragma once

#include <algorithm>
#include <vector>

#include "runtime.hpp"

namespace concerto::bench {

struct Timing {
  double median_ms = 0.0;
  double least_ms = 0.0;
  double most_ms = 0.0;
  std::size_t repetitions = 0;
};

[[nodiscard]] inline Timing summarize(std::vector<double> milliseconds) {
  if (milliseconds.empty()) return {};
  std::ranges::sort(milliseconds);
  const std::size_t n = milliseconds.size();
  const double median = n % 2 == 1 ? milliseconds[n / 2] : 0.5 * (milliseconds[n / 2 - 1] + milliseconds[n / 2]);
  return {median, milliseconds.front(), milliseconds.back(), n};
}

/// How often something is run: `repetitions` times after `warmups`, but not on after `most_ms` milliseconds in all,
/// once it was measured at least once.
struct Repeat {
  unsigned warmups = 2;
  unsigned repetitions = 7;
  double most_ms = 3000.0;
};

/// The time of one run of `body`.
template <class Body>
[[nodiscard]] double time_once(const cuda::Stream& stream, const Body& body) {
  cuda::Event begin;
  cuda::Event end;
  begin.record(stream);
  body();
  end.record(stream);
  return end.milliseconds_since(begin);
}

template <class Body>
[[nodiscard]] Timing time_on(const cuda::Stream& stream, const Repeat& repeat, const Body& body) {
  double spent = 0.0;
  for (unsigned w = 0; w < repeat.warmups && spent < repeat.most_ms; ++w) spent += time_once(stream, body);
  std::vector<double> times;
  for (unsigned r = 0; r < repeat.repetitions && (r == 0 || spent < repeat.most_ms); ++r) {
    times.push_back(time_once(stream, body));
    spent += times.back();
  }
  return summarize(std::move(times));
}

}  // namespace concerto::bench
