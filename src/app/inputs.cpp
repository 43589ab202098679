// Data sets for commands, built by the data layer; this file decides which calls to make and checks what can be checked
// before they are made.
#include "inputs.hpp"

#include <algorithm>
#include <array>
#include <span>
#include <string_view>
#include <system_error>

#include <fmt/format.h>
#include <unistd.h>

#include "concerto/base/checksum.hpp"
#include "concerto/base/error.hpp"

namespace concerto {
namespace {

namespace fs = std::filesystem;

constexpr const char* kLessData = "use less data or a machine with more memory";
constexpr std::array<std::string_view, 4> kDuplicatesNames = {"sum", "last", "keep", "error"};  // as enumerated

SplitBy parse_split_by(const std::string& name) {
  if (name == "random") return SplitBy::kRandom;
  if (name == "user") return SplitBy::kUser;
  if (name == "last") return SplitBy::kLast;
  throw Error(ErrorCode::kBadInput, "known ways are random, user and last",
              fmt::format("data.split.by = \"{}\"", name));
}

ReadOptions read_options(const DataConfig& data, const ReadingRules& rules) {
  ReadOptions options;
  options.format = parse_format(data.format);
  options.need_values = rules.need_values || data.min_value.has_value();
  options.declared_users = data.users;
  options.declared_items = data.items;
  return options;
}

DatasetOptions dataset_options(const DataConfig& data, const ReadingRules& rules) {
  DatasetOptions options;
  options.duplicates = parse_duplicates(data.duplicates, rules.is_implicit);
  options.use_values = rules.use_values;
  options.min_value = data.min_value;
  options.declared_users = data.users;
  options.declared_items = data.items;
  return options;
}

void drop_values(HeldOut& part) {
  part.known.values = {};
  for (UnknownEntry& entry : part.unknown) entry.value = 1.0F;
}

HeldOut copy_of(const CompressedRows& view) {
  HeldOut part;
  part.known.rows = view.rows;
  part.known.column_count = view.column_count;
  part.known.offsets.assign(view.offsets.begin(), view.offsets.end());
  part.known.columns.assign(view.columns.begin(), view.columns.end());
  part.known.values.assign(view.values.begin(), view.values.end());
  return part;
}

/// What was decided when the directory was made cannot be asked for again.
void refuse_reading_options(const DataConfig& data) {
  const auto refuse = [&](const char* key) {
    throw Error(
        ErrorCode::kBadInput,
        fmt::format("{} is a prepared directory, which has this decided; give it to `concerto prepare`", data.train),
        key);
  };
  if (data.split) refuse("data.split");
  if (data.min_value) refuse("data.min_value");
  if (data.users != 0) refuse("data.users");
  if (data.items != 0) refuse("data.items");
  if (data.format != "auto") refuse("data.format");
  if (data.validation_share > 0.0) {
    throw Error(ErrorCode::kUnsupported,
                fmt::format("{} is a prepared directory, from which no share can be split off; name a validation file",
                            data.train),
                "data.validation");
  }
}

/// Entries merged by another rule than this run's are other data. The rule matters only where it took entries away and
/// their values, or their number, are looked at.
void refuse_other_merging(const MergeFacts& merging, const DataConfig& data, const ReadingRules& rules) {
  const Duplicates wanted = parse_duplicates(data.duplicates, rules.is_implicit);
  const bool counts_alone = !rules.use_values && wanted != Duplicates::kKeep;
  if (merging.merged == 0 || merging.duplicates == wanted || counts_alone) return;
  throw Error(ErrorCode::kBadInput,
              fmt::format("{} was prepared with duplicates = \"{}\", which merged {} entries; prepare it again with "
                          "--duplicates {}",
                          data.train, duplicates_name(merging.duplicates), merging.merged, duplicates_name(wanted)),
              "data.duplicates");
}

void refuse_other_preparation(const Dataset& dataset, const MergeFacts& merging, const DataConfig& data,
                              const ReadingRules& rules) {
  refuse_other_merging(merging, data, rules);
  if (rules.need_values && !dataset.has_values()) {
    throw Error(ErrorCode::kBadInput, "was prepared without values, but this run needs them", data.train);
  }
}

LoadedData map_prepared(const DataConfig& data, const ReadingRules& rules, ThreadPool& pool) {
  refuse_reading_options(data);
  Dataset::Prepared prepared = Dataset::map(data.train, pool);
  refuse_other_preparation(prepared.dataset, prepared.merging, data, rules);
  if (!rules.use_values) {
    prepared.dataset.ignore_values();
    if (prepared.held_out) drop_values(*prepared.held_out);
  }
  LoadedData loaded{
      std::move(prepared.dataset), std::move(prepared.held_out), std::nullopt, {}, prepared.merging, true};
  loaded.counts.read = loaded.train.entries();
  return loaded;
}

std::optional<SplitOptions> test_split(const DataConfig& data) {
  if (!data.split) return std::nullopt;
  return SplitOptions{data.split->test, parse_split_by(data.split->by), data.split->seed};
}

/// The validation part is split off in the manner of the test part, so that it predicts it.
std::optional<SplitOptions> validation_split(const DataConfig& data) {
  if (data.validation_share <= 0.0) return std::nullopt;
  const SplitConfig manner = data.split.value_or(SplitConfig{});
  return SplitOptions{data.validation_share, parse_split_by(manner.by), manner.seed};
}

void end_if_stopped(const std::stop_token& stop) {
  if (stop.stop_requested()) throw Error(ErrorCode::kCancelled, "stopped while data was loaded; nothing is kept");
}

LoadedData read_and_build(const DataConfig& data, const ReadingRules& rules, ThreadPool& pool,
                          const std::stop_token& stop) {
  ReadOptions reading = read_options(data, rules);
  const auto test = test_split(data);
  const auto validation = validation_split(data);
  const bool by_time = (test && test->by == SplitBy::kLast) || (validation && validation->by == SplitBy::kLast);
  reading.keep_times = by_time;
  RawRatings raw = read_ratings(data.train, reading, pool);
  end_if_stopped(stop);
  const DatasetOptions options = dataset_options(data, rules);
  BuiltDataset built = build_dataset(std::move(raw), options, test, validation, pool);
  const MergeFacts merging{options.duplicates, built.counts.merged_duplicates};
  return {std::move(built.train), std::move(built.test), std::move(built.validation), built.counts, merging, false};
}

void require_same_ids(const Dataset& prepared, const IdMap& users, const IdMap& items, const fs::path& path) {
  if (prepared.users().serialize() == users.serialize() && prepared.items().serialize() == items.serialize()) return;
  throw Error(ErrorCode::kBadInput, "was prepared from other users and items than these", path.string());
}

[[noreturn]] void refuse_without_test(const fs::path& path) {
  throw Error(ErrorCode::kBadInput, "was prepared without a test part", path.string());
}

/// Of everything that ranks must have alike: entries of training and of both held-out parts.
class EntriesDigest {
 public:
  void add(const CompressedRows& rows) {
    digest_.update(std::as_bytes(rows.offsets));
    digest_.update(std::as_bytes(rows.columns));
    digest_.update(std::as_bytes(rows.values));
  }
  [[nodiscard]] std::uint64_t value() const { return digest_.digest(); }

 private:
  ChecksumStream digest_;
};

std::uint64_t digest_of(const LoadedData& data) {
  EntriesDigest digest;
  digest.add(data.train.by_user());
  for (const auto* part : {&data.test, &data.validation}) {
    if (*part) digest.add((*part)->known.view());
  }
  return digest.value();
}

std::uint64_t combined(std::uint64_t first, std::uint64_t second) {
  const std::array<std::uint64_t, 2> both = {first, second};
  return checksum(std::as_bytes(std::span(both)));
}

struct SharedPart {
  SharedHeldOut held_out;
  std::uint64_t digest = 0;
};

/// A file beside opened training data, whose header has the digest `train_digest`: opened too where it is prepared.
SharedPart open_part(const fs::path& file, std::uint64_t train_digest, const Dataset& train, const DataConfig& data,
                     const ReadingRules& rules, ThreadPool& pool) {
  if (!Dataset::is_prepared(file)) {
    HeldOut part = load_into_rows(file, train.users(), train.items(),
                                  {read_options(data, rules), dataset_options(data, rules)}, PreparedPart::kTest, pool);
    EntriesDigest digest;
    digest.add(part.known.view());
    return {SharedHeldOut(std::move(part)), digest.value()};
  }
  Dataset::Opened opened = Dataset::open(file, pool);
  if (opened.digest != train_digest) require_same_ids(opened.dataset, train.users(), train.items(), file);
  if (!opened.held_out.is_there()) refuse_without_test(file);
  if (!rules.use_values) opened.held_out.ignore_values();
  return {std::move(opened.held_out), opened.digest};
}

void log_loaded(const Dataset& train, const SharedHeldOut& test, const SharedHeldOut& validation,
                const BuildCounts& counts, Log& log) {
  const auto entries_of = [](const SharedHeldOut& part, const char* name) {
    return part.is_there() ? fmt::format(", {} {} entries", part.facts().entries(), name) : std::string();
  };
  log.info(fmt::format("{} users, {} items, {} training entries{}{}", train.lengths(Side::kUsers).rows,
                       train.lengths(Side::kItems).rows, train.entries(), entries_of(test, "test"),
                       entries_of(validation, "validation")));
  if (counts.merged_duplicates > 0) {
    log.info(fmt::format("{} entries were duplicates and were merged", counts.merged_duplicates));
  }
  if (counts.held_out_known > 0) {
    log.info(fmt::format("{} held-out pairs are in the training part too and were left out", counts.held_out_known));
  }
  if (counts.below_min_value > 0) {
    log.info(fmt::format("{} entries were below data.min_value and were left out", counts.below_min_value));
  }
}

void require_readable(const fs::path& path, const std::string& what) {
  std::error_code ignored;
  if (!fs::exists(path, ignored)) {
    throw Error(ErrorCode::kBadInput, fmt::format("there is no {}", path.string()), what);
  }
  if (access(path.c_str(), R_OK) != 0) {
    throw Error(ErrorCode::kBadInput, fmt::format("{} cannot be read", path.string()), what);
  }
}

/// Is this path that place, or below it? Links and other spellings are seen through.
bool lies_in(const fs::path& path, const fs::path& place) {
  std::error_code ignored;
  fs::path step = fs::absolute(path).lexically_normal();
  while (!fs::equivalent(step, place, ignored)) {
    if (step == step.parent_path()) return false;
    step = step.parent_path();
  }
  return true;
}

}  // namespace

ReadingRules reading_rules(const std::string& objective, const std::string& values, bool has_alpha) {
  const bool is_implicit = objective == "implicit";
  const bool use_values = !is_implicit || values == "weight";
  return {is_implicit, use_values, use_values && !has_alpha};
}

std::string_view duplicates_name(Duplicates duplicates) {
  return kDuplicatesNames[static_cast<std::size_t>(duplicates)];
}

Duplicates parse_duplicates(const std::string& name, bool is_implicit) {
  if (name.empty()) return is_implicit ? Duplicates::kSum : Duplicates::kLast;
  const auto* const known = std::ranges::find(kDuplicatesNames, name);
  if (known != kDuplicatesNames.end()) return static_cast<Duplicates>(known - kDuplicatesNames.begin());
  throw Error(ErrorCode::kBadInput, "known ways are sum, last, keep and error",
              fmt::format("data.duplicates = \"{}\"", name));
}

FileFormat parse_format(const std::string& name) {
  const auto& names = file_format_names();
  const auto found = std::find(names.begin(), names.end(), name);
  if (found == names.end()) {
    throw Error(ErrorCode::kBadInput, fmt::format("known formats are {}", fmt::join(names, ", ")),
                fmt::format("format \"{}\"", name));
  }
  return static_cast<FileFormat>(found - names.begin());
}

LoadedData load_data(const DataConfig& data, const ReadingRules& rules, const MemoryBudget& budget, ThreadPool& pool,
                     Log& log, const std::stop_token& stop) {
  require_memory(predict_loading_bytes(data.train, rules.use_values, data.users + data.items), budget,
                 "loading " + data.train, kLessData);

  log.info("reading " + data.train);
  LoadedData loaded =
      Dataset::is_prepared(data.train) ? map_prepared(data, rules, pool) : read_and_build(data, rules, pool, stop);
  end_if_stopped(stop);
  const auto read_part = [&](const std::string& file) {
    require_memory(predict_loading_bytes(file, rules.use_values, 0), budget, "loading " + file, kLessData);
    return load_into_rows(file, loaded.train.users(), loaded.train.items(),
                          {read_options(data, rules), dataset_options(data, rules)}, PreparedPart::kTest, pool);
  };
  if (!data.test.empty()) loaded.test = read_part(data.test);
  if (!data.validation_file.empty()) loaded.validation = read_part(data.validation_file);
  end_if_stopped(stop);
  log_loaded(loaded.train, loaded.test ? &*loaded.test : nullptr, loaded.validation ? &*loaded.validation : nullptr,
             loaded.counts, log);
  return loaded;
}

SharedData load_shared_data(const DataConfig& data, const ReadingRules& rules, const MemoryBudget& budget,
                            ThreadPool& pool, Log& log, const std::stop_token& stop) {
  if (!Dataset::is_prepared(data.train)) {
    LoadedData whole = load_data(data, rules, budget, pool, log, stop);
    const std::uint64_t digest = digest_of(whole);
    SharedData shared{std::move(whole.train), {}, {}, whole.counts, digest};
    if (whole.test) shared.test = SharedHeldOut(std::move(*whole.test));
    if (whole.validation) shared.validation = SharedHeldOut(std::move(*whole.validation));
    return shared;
  }
  log.info("opening " + data.train);
  refuse_reading_options(data);
  Dataset::Opened opened = Dataset::open(data.train, pool);
  refuse_other_preparation(opened.dataset, opened.merging, data, rules);
  SharedData shared{std::move(opened.dataset), std::move(opened.held_out), {}, {}, opened.digest};
  if (!rules.use_values) {
    shared.train.ignore_values();
    shared.test.ignore_values();
  }
  shared.counts.read = shared.train.entries();
  const auto share_part = [&](const std::string& file) {
    const SharedPart part = open_part(file, opened.digest, shared.train, data, rules, pool);
    shared.digest = combined(shared.digest, part.digest);
    return part.held_out;
  };
  if (!data.test.empty()) shared.test = share_part(data.test);
  if (!data.validation_file.empty()) shared.validation = share_part(data.validation_file);
  end_if_stopped(stop);
  log_loaded(shared.train, shared.test, shared.validation, shared.counts, log);
  return shared;
}

HeldOut build_in_rows(const RawRatings& raw, const IdMap& users, const IdMap& items, const FileRules& rules,
                      ThreadPool& pool) {
  DatasetOptions building = rules.building;
  if (raw.values.empty()) building.min_value.reset();
  return build_held_out(raw, users, items, building, pool);
}

HeldOut load_into_rows(const fs::path& path, const IdMap& users, const IdMap& items, const FileRules& rules,
                       PreparedPart part, ThreadPool& pool) {
  if (!Dataset::is_prepared(path)) {
    // Ids beyond the training's are unknown, not errors, whatever was declared for the training file.
    ReadOptions open = rules.reading;
    open.declared_users = 0;
    open.declared_items = 0;
    return build_in_rows(read_ratings(path, open, pool), users, items, rules, pool);
  }
  Dataset::Prepared prepared = Dataset::map(path, pool);
  require_same_ids(prepared.dataset, users, items, path);
  if (part == PreparedPart::kTest && !prepared.held_out) refuse_without_test(path);
  HeldOut found = part == PreparedPart::kTest ? std::move(*prepared.held_out) : copy_of(prepared.dataset.by_user());
  if (!rules.building.use_values) drop_values(found);
  return found;
}

void require_data(const fs::path& path, const std::string& what) {
  require_readable(path, what);
  // A pipe cannot be read: data is looked at once for its format and its size, and then read.
  std::error_code ignored;
  if (fs::is_regular_file(path, ignored) || Dataset::is_prepared(path)) return;
  throw Error(ErrorCode::kBadInput, fmt::format("{} is neither a regular file nor prepared data", path.string()), what);
}

void require_model(const fs::path& path, const std::string& what) {
  require_readable(path, what);
  if (!is_model(path)) throw Error(ErrorCode::kBadInput, fmt::format("{} is not a model", path.string()), what);
}

Model open_model(const fs::path& path, const std::string& what, unsigned tables) {
  require_model(path, what);
  require_memory(tables * predict_model_bytes(path), {}, "the model " + path.string(),
                 "use a machine with more memory");
  return load_model(path);
}

void require_output_parent(const fs::path& path, const std::string& what) {
  const fs::path parent = fs::absolute(path).lexically_normal().parent_path();
  std::error_code ignored;
  const fs::path real = path.has_filename() ? parent : parent.parent_path();
  if (!fs::is_directory(real, ignored)) {
    throw Error(ErrorCode::kBadInput, fmt::format("the directory {} does not exist", real.string()), what);
  }
  if (access(real.c_str(), W_OK) != 0) {
    throw Error(ErrorCode::kBadInput, fmt::format("the directory {} cannot be written to", real.string()), what);
  }
}

void require_file_target(const fs::path& path, const std::string& what) {
  require_output_parent(path, what);
  std::error_code ignored;
  if (fs::is_directory(path, ignored)) {
    throw Error(ErrorCode::kBadInput, fmt::format("{} is a directory", path.string()), what);
  }
}

void require_model_target(const fs::path& path, const std::string& what) {
  require_output_parent(path, what);
  try {
    check_model_target(path);
  } catch (const Error& error) {
    throw Error(ErrorCode::kBadInput, path.string() + " " + error.message(), what);
  }
}

void require_apart(const NamedPath& output, const std::vector<NamedPath>& inputs) {
  if (output.path.empty()) return;
  for (const NamedPath& input : inputs) {
    if (input.path.empty() || (!lies_in(output.path, input.path) && !lies_in(input.path, output.path))) continue;
    throw Error(ErrorCode::kBadInput,
                fmt::format("writing {} would overwrite what {} reads, {}", output.path.string(), input.what,
                            input.path.string()),
                output.what);
  }
}

}  // namespace concerto
