// Writing synthetic data: blocks of users are generated in parallel while the blocks before them are written in order.
#include "concerto/data/synth.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "concerto/base/error.hpp"
#include "concerto/base/file.hpp"

#include "synth_entries.hpp"
#include "synth_model.hpp"

namespace concerto {
namespace {

constexpr const char* kTruthName = "truth.json";
constexpr std::array<std::string_view, 7> kFileNames = {
    kTruthName, "train.txt", "test.txt", "user_factors.npy", "item_factors.npy", "user_biases.npy", "item_biases.npy"};

void require(bool holds, const char* option, std::string message) {
  if (!holds) throw Error(ErrorCode::kBadInput, std::move(message), option);
}

void validate(const SynthOptions& o) {
  require(o.users >= 1 && o.users < kMaxRows, "users", fmt::format("must be from 1 to {}", kMaxRows - 1));
  require(o.items >= 1 && o.items < kMaxRows, "items", fmt::format("must be from 1 to {}", kMaxRows - 1));
  require(o.entries >= 1, "entries", "must be at least 1");
  require(o.entries <= o.users * o.items, "entries",
          fmt::format("must be at most users x items = {}: pairs are distinct", o.users * o.items));
  require(o.rank >= 1 && o.rank <= 8192, "rank", "must be from 1 to 8192");
  require(o.test_share >= 0.0 && o.test_share < 1.0, "test_share", "must be at least 0 and below 1");
  const auto is_spread = [](double x) { return std::isfinite(x) && x >= 0.0; };
  require(is_spread(o.zipf_exponent), "zipf_exponent", "must be a number of at least 0");
  require(is_spread(o.activity_sigma), "activity_sigma", "must be a number of at least 0");
  require(is_spread(o.signal_stddev), "signal_stddev", "must be a number of at least 0");
  require(is_spread(o.noise_stddev), "noise_stddev", "must be a number of at least 0");
  require(std::isfinite(o.mean), "mean", "must be a number");
}

/// A float array in NumPy's format 1.0: one column less as a vector.
void write_npy(const std::filesystem::path& path, std::span<const float> values, std::uint64_t rows,
               std::uint64_t columns) {
  const std::string shape = columns == 0 ? fmt::format("({},)", rows) : fmt::format("({}, {})", rows, columns);
  std::string text = fmt::format("{{'descr': '<f4', 'fortran_order': False, 'shape': {}, }}", shape);
  // The data begins at a multiple of 64 bytes; ten bytes stand before the text and a line end behind it.
  text.append(63 - (10 + text.size()) % 64, ' ');
  text += '\n';
  std::string header("\x93NUMPY\x01\x00", 8);
  header += static_cast<char>(text.size() & 0xff);
  header += static_cast<char>(text.size() >> 8);
  OutputFile file(path);
  file.write(header + text);
  file.write(std::as_bytes(values));
  file.finish();
}

/// Runs of users with about equal numbers of entries; a function of the options alone.
[[nodiscard]] std::vector<RowRange> cut_users(const SynthModel& model) {
  constexpr std::uint64_t kEntries = 32768;
  constexpr RowIndex kUsers = 8192;
  std::vector<RowRange> blocks;
  RowRange block;
  std::uint64_t entries = 0;
  for (RowIndex user = 0; user < model.entries_of_user.size(); ++user) {
    entries += model.entries_of_user[user];
    block.end = user + 1;
    if (entries < kEntries && block.size() < kUsers) continue;
    blocks.push_back(block);
    block.begin = block.end;
    entries = 0;
  }
  if (block.size() > 0) blocks.push_back(block);
  return blocks;
}

/// Adds up what blocks say, in their order.
struct Totals {
  std::uint64_t train_entries = 0;
  std::uint64_t test_entries = 0;
  double squared_error = 0.0;
  void add(const SynthBlock& block) {
    train_entries += block.train_entries;
    test_entries += block.test_entries;
    squared_error += block.squared_error;
  }
};

/// The two text files, filled in the order of blocks.
class Writer {
 public:
  explicit Writer(const std::filesystem::path& directory)
      : train_(directory / "train.txt"), test_(directory / "test.txt") {}
  void write(std::span<const SynthBlock> blocks) {
    for (const SynthBlock& block : blocks) {
      train_.write(block.train);
      test_.write(block.test);
      totals_.add(block);
    }
  }
  void finish() {
    train_.finish();
    test_.finish();
  }
  [[nodiscard]] const Totals& totals() const noexcept { return totals_; }

 private:
  OutputFile train_;
  OutputFile test_;
  Totals totals_;
};

[[nodiscard]] Totals write_entries(const SynthOptions& options, const SynthModel& model,
                                   const std::filesystem::path& directory, ThreadPool& pool,
                                   const std::function<void(std::uint64_t, std::uint64_t)>& progress) {
  const AliasTable items(model.popularity);
  std::vector<EntryGenerator> generators;
  generators.reserve(pool.size());
  for (unsigned worker = 0; worker < pool.size(); ++worker) generators.emplace_back(options, model, items);
  const std::vector<RowRange> users = cut_users(model);
  const std::size_t wave = std::size_t{8} * pool.size();
  std::vector<SynthBlock> previous;
  std::vector<SynthBlock> current;
  Writer writer(directory);
  for (std::size_t begin = 0; begin < users.size(); begin += wave) {
    const std::size_t count = std::min(wave, users.size() - begin);
    current.resize(count);
    for (SynthBlock& block : current) block.reset();
    // Index 0 writes the wave before; the others generate this one.
    pool.parallel_for(count + 1, 1, [&](std::size_t index, std::size_t, unsigned worker) {
      if (index == 0) {
        writer.write(previous);
        return;
      }
      const RowRange range = users[begin + index - 1];
      for (RowIndex user = range.begin; user < range.end; ++user) {
        generators[worker].generate(user, current[index - 1]);
      }
    });
    std::swap(previous, current);
    if (progress) progress(writer.totals().train_entries + writer.totals().test_entries, options.entries);
  }
  writer.write(previous);
  writer.finish();
  if (progress) progress(options.entries, options.entries);
  return writer.totals();
}

/// The options and what came of them, as JSON.
[[nodiscard]] std::string truth_text(const SynthOptions& o, const SynthSummary& summary) {
  const std::string rmse = o.is_implicit || summary.test_entries == 0 ? "null" : fmt::format("{}", summary.true_rmse);
  return fmt::format(
      "{{\n"
      "  \"schema\": 1,\n"
      "  \"options\": {{\n"
      "    \"users\": {}, \"items\": {}, \"entries\": {}, \"rank\": {},\n"
      "    \"zipf_exponent\": {}, \"activity_sigma\": {}, \"mean\": {}, \"signal_stddev\": {}, \"noise_stddev\": {},\n"
      "    \"test_share\": {}, \"implicit\": {}, \"seed\": {}\n"
      "  }},\n"
      "  \"train_entries\": {},\n"
      "  \"test_entries\": {},\n"
      "  \"true_test_rmse\": {}\n"
      "}}\n",
      o.users, o.items, o.entries, o.rank, o.zipf_exponent, o.activity_sigma, o.mean, o.signal_stddev, o.noise_stddev,
      o.test_share, o.is_implicit, o.seed, summary.train_entries, summary.test_entries, rmse);
}

}  // namespace

std::uint64_t synth_bytes(const SynthOptions& options) noexcept {
  constexpr std::uint64_t kBytesOfUser = 24;  // activity, counts, bias
  constexpr std::uint64_t kBytesOfItem = 64;  // popularity, its table of draws, keys of a generator, bias
  const std::uint64_t factors = sizeof(float) * (options.users + options.items) * options.rank;
  return factors + kBytesOfUser * options.users + kBytesOfItem * options.items;
}

SynthSummary synthesize(const SynthOptions& options, const std::filesystem::path& directory, ThreadPool& pool,
                        const std::function<void(std::uint64_t, std::uint64_t)>& progress) {
  validate(options);
  StagedDirectory staged(directory, kFileNames);
  const SynthModel model = plant_model(options, pool);
  const Totals totals = write_entries(options, model, staged.path(), pool, progress);
  write_npy(staged.path() / "user_factors.npy", model.user_factors, options.users, options.rank);
  write_npy(staged.path() / "item_factors.npy", model.item_factors, options.items, options.rank);
  write_npy(staged.path() / "user_biases.npy", model.user_biases, options.users, 0);
  write_npy(staged.path() / "item_biases.npy", model.item_biases, options.items, 0);

  SynthSummary summary;
  summary.train_entries = totals.train_entries;
  summary.test_entries = totals.test_entries;
  summary.noise_stddev = options.is_implicit ? 0.0 : options.noise_stddev;
  if (totals.test_entries > 0 && !options.is_implicit) {
    summary.true_rmse = std::sqrt(totals.squared_error / static_cast<double>(totals.test_entries));
  }
  OutputFile truth(staged.path() / kTruthName);
  truth.write(truth_text(options, summary));
  truth.finish();
  staged.commit();
  return summary;
}

}  // namespace concerto
