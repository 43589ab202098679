// Synthetic data: exact counts, distinct pairs, the same bytes for any number of threads, and a truth that really is
// one.
#include "concerto/data/synth.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <unistd.h>

#include "concerto/base/error.hpp"
#include "concerto/base/file.hpp"
#include "concerto/base/ids.hpp"

namespace concerto {
namespace {

namespace fs = std::filesystem;

struct Line {
  std::uint32_t user;
  std::uint32_t item;
  double value;
};

std::vector<Line> lines_of(const fs::path& path, bool has_values) {
  std::ifstream file(path);
  std::vector<Line> lines;
  Line line{0, 0, 1.0};
  while (file >> line.user >> line.item) {
    if (has_values) file >> line.value;
    lines.push_back(line);
  }
  EXPECT_TRUE(file.eof());
  return lines;
}

/// The floats of a .npy file; checks that its shape reads as `shape`.
std::vector<float> npy(const fs::path& path, const std::string& shape) {
  const std::string bytes = read_file(path);
  EXPECT_EQ(bytes.substr(0, 6), "\x93NUMPY");
  const std::size_t header = static_cast<unsigned char>(bytes[8]) + 256U * static_cast<unsigned char>(bytes[9]);
  EXPECT_EQ((10 + header) % 64, 0U);
  EXPECT_NE(bytes.substr(10, header).find("'descr': '<f4', 'fortran_order': False, 'shape': " + shape),
            std::string::npos);
  std::vector<float> values((bytes.size() - 10 - header) / 4);
  std::memcpy(values.data(), bytes.data() + 10 + header, values.size() * 4);
  return values;
}

/// The planted model as a reader of the directory sees it.
struct Truth {
  Truth(const fs::path& directory, const SynthOptions& o)
      : rank(o.rank),
        users(npy(directory / "user_factors.npy", "(" + std::to_string(o.users) + ", " + std::to_string(o.rank) + ")")),
        items(npy(directory / "item_factors.npy", "(" + std::to_string(o.items) + ", " + std::to_string(o.rank) + ")")),
        user_biases(npy(directory / "user_biases.npy", "(" + std::to_string(o.users) + ",)")),
        item_biases(npy(directory / "item_biases.npy", "(" + std::to_string(o.items) + ",)")) {}
  [[nodiscard]] double score(std::uint32_t user, std::uint32_t item) const {
    double sum = static_cast<double>(user_biases[user]) + item_biases[item];
    for (std::uint32_t k = 0; k < rank; ++k)
      sum += static_cast<double>(users[user * rank + k]) * items[item * rank + k];
    return sum;
  }
  std::uint32_t rank;
  std::vector<float> users, items, user_biases, item_biases;
};

class SynthTest : public testing::Test {
 protected:
  SynthTest()
      : root_(fs::temp_directory_path() / ("concerto-synth-" + std::to_string(::getpid()) + "-" +
                                           testing::UnitTest::GetInstance()->current_test_info()->name())) {
    fs::create_directories(root_);
  }
  ~SynthTest() override { fs::remove_all(root_); }

  static SynthOptions small(bool is_implicit) {
    SynthOptions options;
    options.users = 997;
    options.items = 499;
    options.entries = 40009;
    options.rank = 11;
    options.is_implicit = is_implicit;
    return options;
  }

  ThreadPool pool_{2};
  fs::path root_;
};

TEST_F(SynthTest, HasExactlyTheEntriesAskedForAndNoPairTwice) {
  for (const bool is_implicit : {false, true}) {
    const SynthOptions options = small(is_implicit);
    const fs::path directory = root_ / (is_implicit ? "clicks" : "ratings");
    const SynthSummary summary = synthesize(options, directory, pool_, {});
    const std::vector<Line> train = lines_of(directory / "train.txt", !is_implicit);
    const std::vector<Line> test = lines_of(directory / "test.txt", !is_implicit);
    EXPECT_EQ(train.size(), summary.train_entries);
    EXPECT_EQ(test.size(), summary.test_entries);
    EXPECT_EQ(train.size() + test.size(), options.entries);
    EXPECT_NEAR(static_cast<double>(test.size()), 0.1 * static_cast<double>(options.entries), 400);
    std::set<std::pair<std::uint32_t, std::uint32_t>> pairs;
    std::set<std::uint32_t> train_users;
    for (const std::vector<Line>* part : {&train, &test}) {
      for (const Line& line : *part) {
        ASSERT_LT(line.user, options.users);
        ASSERT_LT(line.item, options.items);
        ASSERT_TRUE(pairs.emplace(line.user, line.item).second);
        if (part == &train) train_users.insert(line.user);
        const double stars = line.value * 2;
        ASSERT_TRUE(stars == std::floor(stars) && stars >= 1 && stars <= 10) << line.value;
      }
    }
    EXPECT_EQ(train_users.size(), options.users);
    EXPECT_TRUE(std::ranges::any_of(train, [](const Line& line) { return line.item == 0; }));
  }
}

TEST_F(SynthTest, IsTheSameForAnyNumberOfThreads) {
  for (const bool is_implicit : {false, true}) {
    SynthOptions options = small(is_implicit);
    options.users = 9001;
    options.entries = 180007;
    const auto name = [&](unsigned threads) { return root_ / (std::to_string(threads) + (is_implicit ? "i" : "e")); };
    for (const unsigned threads : {1U, 2U, 3U}) {
      ThreadPool pool(threads);
      (void)synthesize(options, name(threads), pool, {});
    }
    for (const auto& file : fs::directory_iterator(name(1))) {
      const fs::path own = file.path().filename();
      EXPECT_EQ(read_file(file.path()), read_file(name(2) / own)) << own;
      EXPECT_EQ(read_file(file.path()), read_file(name(3) / own)) << own;
    }
    options.seed = 2;
    (void)synthesize(options, root_ / "other", pool_, {});
    EXPECT_NE(read_file(name(1) / "train.txt"), read_file(root_ / "other" / "train.txt"));
  }
}

TEST_F(SynthTest, TheTrueModelScoresWhatTheSummarySays) {
  const SynthOptions options = small(false);
  const SynthSummary summary = synthesize(options, root_ / "d", pool_, {});
  const Truth truth(root_ / "d", options);
  double squares = 0.0;
  for (const Line& line : lines_of(root_ / "d" / "test.txt", true)) {
    const double error = line.value - options.mean - truth.score(line.user, line.item);
    squares += error * error;
  }
  EXPECT_NEAR(std::sqrt(squares / static_cast<double>(summary.test_entries)), summary.true_rmse, 1e-5);
  // Rounding to half stars adds a variance of 1/48; clipping changes a little more.
  EXPECT_NEAR(summary.true_rmse, std::sqrt(0.36 + 1.0 / 48), 0.03);
  EXPECT_EQ(summary.noise_stddev, 0.6);

  double sum = 0.0;
  double score_squares = 0.0;
  for (std::uint32_t user = 0; user < options.users; ++user) {
    for (std::uint32_t item = 0; item < options.items; ++item) {
      const double score = truth.score(user, item);
      sum += score;
      score_squares += score * score;
    }
  }
  const double pairs = static_cast<double>(options.users * options.items);
  EXPECT_NEAR(std::sqrt(score_squares / pairs), options.signal_stddev, 0.08);
  EXPECT_NEAR(sum / pairs, 0.0, 0.1);
}

TEST_F(SynthTest, PopularityAndActivityAreSkewed) {
  const SynthOptions options = small(false);
  (void)synthesize(options, root_ / "d", pool_, {});
  std::vector<double> items(options.items);
  std::vector<double> users(options.users);
  for (const Line& line : lines_of(root_ / "d" / "train.txt", true)) {
    ++items[line.item];
    ++users[line.user];
  }
  const auto share_of_top_tenth = [](std::vector<double> counts) {
    std::ranges::sort(counts, std::greater<>{});
    const auto top = counts.begin() + static_cast<std::ptrdiff_t>(counts.size() / 10);
    return std::accumulate(counts.begin(), top, 0.0) / std::accumulate(counts.begin(), counts.end(), 0.0);
  };
  EXPECT_GT(share_of_top_tenth(items), 0.25);
  EXPECT_GT(share_of_top_tenth(users), 0.3);
  // Independent of popularity, an even spread would give about 0.1.
  EXPECT_LT(share_of_top_tenth(items), 0.8);
}

TEST_F(SynthTest, TrueScoresRankClicksBetterThanPopularity) {
  SynthOptions options = small(true);
  options.entries = 20000;
  (void)synthesize(options, root_ / "d", pool_, {});
  const Truth truth(root_ / "d", options);
  // The chance that a held-out click outranks a random item, by true score and by popularity alone.
  double by_score = 0.0;
  double by_popularity = 0.0;
  double comparisons = 0.0;
  for (const Line& line : lines_of(root_ / "d" / "test.txt", false)) {
    for (std::uint32_t other = 0; other < options.items; other += 7) {
      by_score += truth.score(line.user, line.item) > truth.score(line.user, other) ? 1 : 0;
      by_popularity += truth.item_biases[line.item] > truth.item_biases[other] ? 1 : 0;
      ++comparisons;
    }
  }
  EXPECT_GT(by_popularity / comparisons, 0.6);
  EXPECT_GT(by_score / comparisons, by_popularity / comparisons + 0.05);
}

TEST_F(SynthTest, FullAndNearlyEmptyMatricesWork) {
  SynthOptions full;
  full.users = 13;
  full.items = 7;
  full.entries = 91;
  full.rank = 1;
  full.test_share = 0.0;
  for (const bool is_implicit : {false, true}) {
    full.is_implicit = is_implicit;
    (void)synthesize(full, root_ / "full", pool_, {});
    EXPECT_EQ(lines_of(root_ / "full" / "train.txt", !is_implicit).size(), 91U);
    EXPECT_TRUE(read_file(root_ / "full" / "test.txt").empty());
  }
  SynthOptions sparse = full;
  sparse.users = 5000;
  sparse.entries = 11;
  EXPECT_EQ(synthesize(sparse, root_ / "sparse", pool_, {}).train_entries, 11U);
  SynthOptions steep = full;  // hardly anything but the first items is ever drawn by popularity
  steep.users = 3;
  steep.items = 4001;
  steep.entries = 1000;
  steep.zipf_exponent = 9.0;
  EXPECT_EQ(synthesize(steep, root_ / "steep", pool_, {}).train_entries, 1000U);
}

TEST_F(SynthTest, ReportsProgressUpToTheTotal) {
  std::vector<std::uint64_t> done;
  const SynthOptions options = small(false);
  (void)synthesize(options, root_ / "d", pool_, [&](std::uint64_t entries, std::uint64_t total) {
    EXPECT_EQ(total, options.entries);
    done.push_back(entries);
  });
  ASSERT_FALSE(done.empty());
  EXPECT_TRUE(std::ranges::is_sorted(done));
  EXPECT_EQ(done.back(), options.entries);
}

TEST_F(SynthTest, ImpossibleOptionsAreRefusedBeforeAnythingIsWritten) {
  const auto place = [&](auto change) {
    SynthOptions options = small(false);
    change(options);
    try {
      (void)synthesize(options, root_ / "bad", pool_, {});
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kBadInput);
      return error.where();
    }
    return std::string("accepted");
  };
  EXPECT_EQ(place([](SynthOptions& o) { o.users = 0; }), "users");
  EXPECT_EQ(place([](SynthOptions& o) { o.items = kMaxRows; }), "items");
  EXPECT_EQ(place([](SynthOptions& o) { o.entries = 997 * 499 + 1; }), "entries");
  EXPECT_EQ(place([](SynthOptions& o) { o.entries = 0; }), "entries");
  EXPECT_EQ(place([](SynthOptions& o) { o.rank = 0; }), "rank");
  EXPECT_EQ(place([](SynthOptions& o) { o.test_share = 1.0; }), "test_share");
  EXPECT_EQ(place([](SynthOptions& o) { o.noise_stddev = -1.0; }), "noise_stddev");
  EXPECT_TRUE(fs::is_empty(root_));
}

}  // namespace
}  // namespace concerto
