// How good the model of a run was over time: from the versions that its ranks logged, after training and outside its
// time.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <stop_token>

#include "concerto/config/config.hpp"
#include "concerto/train/metrics.hpp"

#include "log.hpp"
#include "outcome.hpp"

namespace concerto::bench {

/// The metric that counts: the first of evaluate.metrics.
[[nodiscard]] Metric metric_of(const Config& config);

/// Judges runs on the same data. Holds the data and a model in memory.
class Judge {
 public:
  /// Reads the data as the runs of `config` do. Errors as of load_data; Error{kBadInput} where there is no test part.
  Judge(const Config& config, Log& log, const std::stop_token& stop);
  ~Judge();
  Judge(const Judge&) = delete;
  Judge& operator=(const Judge&) = delete;

  /// The curve of the versions in `folder`, which ended as the model in `model`: at most kGridPoints, and with a target
  /// at most kFinePoints more around the moment at which it is reached. Error{kIo, kCorrupt} naming the file. Costs an
  /// evaluation for each point.
  [[nodiscard]] Curve curve(const std::filesystem::path& folder, const std::filesystem::path& model,
                            std::optional<double> target) const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace concerto::bench
