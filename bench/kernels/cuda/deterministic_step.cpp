// What determinism costs SGD: epochs of the default mode and of `compute.deterministic` in turn, each mode in a backend
// of its own, on the same ratings and from the same factors. Deterministic epochs are checked to be so, byte by byte,
// and both modes to have come to the same loss.
#include <cmath>
#include <cstring>

#include <fmt/format.h>

#include "bench.hpp"

namespace concerto::bench {
namespace {

/// One mode: its grid, its tables, and what it has taken so far.
class Mode {
 public:
  Mode(Bench& bench, const CompressedMatrix& by_user, const CompressedMatrix& by_item)
      : bench_(bench), grid_(bench.backend.load_grid(by_user.view(), by_item.view())) {}

  /// Tables of the same values each time, and optimizer states at their start.
  void restart(std::uint32_t rank) {
    users_.reset();
    items_.reset();
    users_ = random_table(bench_, bench_.shape.users, rank, 61);
    items_ = random_table(bench_, bench_.shape.items, rank, 62);
    step_ = {};
    step_.grid = grid_.get();
    step_.users = users_.get();
    step_.items = items_.get();
    step_.objective.mean = 3.0;
    step_.rate = 0.01;
    times.clear();
  }
  void epoch() {
    bench_.backend.sgd_epoch(step_);
    ++step_.epoch;
  }
  double timed_epoch() {
    times.push_back(time_once(bench_.stream(), [&] { epoch(); }));
    return times.back();
  }
  [[nodiscard]] double loss() { return bench_.backend.grid_loss(*grid_, *users_, *items_, step_.objective); }
  /// Both tables' factors on the host.
  [[nodiscard]] std::vector<float> factors() const {
    std::vector<float> values;
    for (const Buffer* buffer : {users_.get(), items_.get()}) {
      const auto& master = cuda::buffer_as<cuda::TableBuffer>(buffer).master;
      const std::size_t at = values.size();
      values.resize(at + master.size());
      cuda::copy_to_host(bench_.stream(), values.data() + at, master.data(), master.bytes());
    }
    bench_.stream().wait();
    return values;
  }

  std::vector<double> times;

 private:
  Bench& bench_;
  std::unique_ptr<Buffer> grid_;
  std::unique_ptr<Buffer> users_;
  std::unique_ptr<Buffer> items_;
  SgdStep step_;
};

/// Is a second epoch from the same factors the same bytes?
bool repeats(Mode& mode, std::uint32_t rank) {
  mode.restart(rank);
  mode.epoch();
  const std::vector<float> first = mode.factors();
  mode.restart(rank);
  mode.epoch();
  const std::vector<float> second = mode.factors();
  return first.size() == second.size() && std::memcmp(first.data(), second.data(), first.size() * sizeof(float)) == 0;
}

json compare(Bench& bench, Mode& free, Mode& serial, std::uint32_t rank) {
  constexpr double kEqual = 0.02;
  const std::string name = fmt::format("sgd epoch, k = {}, deterministic beside default", rank);
  bench.require(repeats(serial, rank), name + ": two deterministic epochs differ");
  free.restart(rank);
  serial.restart(rank);
  std::vector<double> ratios;
  double spent = 0.0;
  for (unsigned r = 0; r < bench.repeat.repetitions && (r == 0 || spent < 2.0 * bench.repeat.most_ms); ++r) {
    const double default_ms = free.timed_epoch();
    const double serial_ms = serial.timed_epoch();
    ratios.push_back(serial_ms / std::max(1e-9, default_ms));
    spent += default_ms + serial_ms;
  }
  const double default_loss = free.loss();
  const double serial_loss = serial.loss();
  bench.require(std::isfinite(default_loss) && std::fabs(default_loss - serial_loss) <= kEqual * serial_loss,
                fmt::format("{}: losses {} and {} are not equal", name, default_loss, serial_loss));
  const Shape shape{bench.shape.users, bench.shape.items, bench.shape.entries, rank};
  json result = row(bench, name, summarize(serial.times), sgd_work(shape));
  result["default"] = to_json(summarize(free.times));
  result["times_slower"] = summarize(ratios).median_ms;
  result["loss"] = serial_loss;
  result["default_loss"] = default_loss;
  return result;
}

}  // namespace

json run_deterministic(Bench& bench) {
  (void)bench.ceilings();
  const CompressedMatrix by_user = copy_to_host(bench.stream(), *bench.ratings().by_user);
  const CompressedMatrix by_item = copy_to_host(bench.stream(), *bench.ratings().by_item);
  bench.known_ratings.reset();
  cuda::CudaBackend backend({.deterministic = true}, bench.facts);
  Bench other{backend, bench.facts, bench.pool, bench.shape, bench.scale, bench.work, bench.repeat, {}, {}, {}};
  Mode free(bench, by_user, by_item);
  Mode serial(other, by_user, by_item);
  json rows = json::array();
  for (const std::uint32_t rank : {64U, 128U}) rows.push_back(compare(bench, free, serial, rank));
  return {{"rows", rows}};
}

}  // namespace concerto::bench
