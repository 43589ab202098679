// The inputs of commands: data sets from files or prepared directories, other files in the rows of a model, and checks
// of paths before any work starts.
#pragma once

#include <filesystem>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "concerto/base/thread_pool.hpp"
#include "concerto/config/config.hpp"
#include "concerto/data/dataset.hpp"
#include "concerto/model/model.hpp"

#include "log.hpp"
#include "memory.hpp"

namespace concerto {

/// How entries are read, whatever the file.
struct ReadingRules {
  bool is_implicit = false;
  bool use_values = true;   ///< false: every entry counts 1, whatever the file says
  bool need_values = true;  ///< a file without values is an error; else its entries count 1 each
};
/// With alpha, values are used where the file has them: clicks without counts are what alpha was made for.
[[nodiscard]] ReadingRules reading_rules(const std::string& objective, const std::string& values, bool has_alpha);

/// "text" -> FileFormat::kText; Error{kBadInput} listing the names.
[[nodiscard]] FileFormat parse_format(const std::string& name);

/// "sum" -> Duplicates::kSum; without a name sum if implicit, else last. Error{kBadInput} listing the names.
[[nodiscard]] Duplicates parse_duplicates(const std::string& name, bool is_implicit);
[[nodiscard]] std::string_view duplicates_name(Duplicates duplicates);

struct LoadedData {
  Dataset train;
  std::optional<HeldOut> test;
  std::optional<HeldOut> validation;
  BuildCounts counts;
  MergeFacts merging;
  bool was_prepared = false;
};

/// Reads data.train and the held-out parts that `data` names, which `require_data` passed. Predicts memory first.
/// Error{kCancelled} where a stop was requested by the time something is read or built.
[[nodiscard]] LoadedData load_data(const DataConfig& data, const ReadingRules& rules, const MemoryBudget& budget,
                                   ThreadPool& pool, Log& log, const std::stop_token& stop = {});

/// The data of a run as one of its ranks has it. Prepared data is opened, and only the rank's own rows are ever read of
/// it; other files are read whole.
struct SharedData {
  Dataset train;
  SharedHeldOut test;
  SharedHeldOut validation;
  BuildCounts counts;
  std::uint64_t digest = 0;  ///< the same on ranks whose data are alike
};

/// The same for a rank of several. `pool` outlives what is returned.
[[nodiscard]] SharedData load_shared_data(const DataConfig& data, const ReadingRules& rules, const MemoryBudget& budget,
                                          ThreadPool& pool, Log& log, const std::stop_token& stop = {});

/// How a file beside the training data is read and built.
struct FileRules {
  ReadOptions reading;
  DatasetOptions building;
};

/// What was read, in the rows of two id maps. Where values may be missing and are, no entry is below `min_value`.
[[nodiscard]] HeldOut build_in_rows(const RawRatings& raw, const IdMap& users, const IdMap& items,
                                    const FileRules& rules, ThreadPool& pool);

/// Which part of a prepared directory stands for it.
enum class PreparedPart { kTraining, kTest };

/// Reads a file, or a part of a prepared directory, into the rows of two id maps.
[[nodiscard]] HeldOut load_into_rows(const std::filesystem::path& path, const IdMap& users, const IdMap& items,
                                     const FileRules& rules, PreparedPart part, ThreadPool& pool);

/// Error{kBadInput} unless a readable file or a prepared directory is there. `what` names the argument.
void require_data(const std::filesystem::path& path, const std::string& what);

/// Loads the model that `what` names, in memory that is there. `tables`: how often its factors will be held.
[[nodiscard]] Model open_model(const std::filesystem::path& path, const std::string& what, unsigned tables);

/// Error{kBadInput} unless a model is there, be it damaged.
void require_model(const std::filesystem::path& path, const std::string& what);

/// Error{kBadInput} when an output could not be put there for want of a writable parent directory.
void require_output_parent(const std::filesystem::path& path, const std::string& what);

/// The same for a file, and that no directory stands there.
void require_file_target(const std::filesystem::path& path, const std::string& what);

/// The same for a model directory, and that nothing foreign stands there.
void require_model_target(const std::filesystem::path& path, const std::string& what);

/// A path and the argument that gives it; an empty path: not given.
struct NamedPath {
  std::string what;
  std::filesystem::path path;
};

/// Error{kBadInput} when writing `output` would overwrite an input, or a directory that holds one, or within one.
void require_apart(const NamedPath& output, const std::vector<NamedPath>& inputs);

}  // namespace concerto
