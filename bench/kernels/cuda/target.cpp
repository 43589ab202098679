// The target run through the engine's own parts: prepared directory, trainer, metrics.
#include "target.hpp"

#include <chrono>
#include <stop_token>

#include "concerto/base/error.hpp"
#include "concerto/train/trainer.hpp"

namespace concerto::bench {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

}  // namespace

double prepare_target(const PlantedOptions& options, const std::filesystem::path& directory, ThreadPool& pool) {
  PlantedData data = make_planted(options, pool);
  CompressedMatrix by_item = transpose(data.by_user.view(), pool);
  const Dataset dataset(IdMap::indices(options.users, 1, 1), IdMap::indices(options.items, 1, 2),
                        std::move(data.by_user), std::move(by_item));
  std::filesystem::remove_all(directory);
  dataset.write(directory, &data.test, {});
  return data.true_rmse;
}

TargetRun run_target(Backend& backend, const std::filesystem::path& directory, double goal, ThreadPool& pool) {
  const Clock::time_point begin = Clock::now();
  TargetRun run;
  const Dataset::Prepared prepared = Dataset::map(directory, pool);
  run.open_seconds = seconds_since(begin);
  run.entries = prepared.dataset.entries();

  TrainOptions options;
  options.rank = 64;
  options.epochs = kTargetEpochs;
  options.metrics = {parse_metric("rmse")};
  std::stop_source stop;
  TrainObserver observer;
  observer.on_epoch = [&](const EpochRecord& record) {
    run.epoch_seconds.push_back(record.seconds);
    run.rmse.push_back(record.test.empty() ? 0.0 : record.test.front().second);
    if (run.seconds == 0.0 && run.rmse.back() <= goal) {
      run.seconds = seconds_since(begin);
      stop.request_stop();
    }
  };
  (void)train(backend, prepared.dataset, prepared.held_out ? &*prepared.held_out : nullptr, nullptr, options,
              std::nullopt, observer, stop.get_token());
  return run;
}

}  // namespace concerto::bench
