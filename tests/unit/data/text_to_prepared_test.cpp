// The whole way: text is read, built, written and mapped, and what is mapped equals what was built from the text.
#include <algorithm>
#include <filesystem>
#include <string>

#include <gtest/gtest.h>
#include <unistd.h>

#include "concerto/data/dataset.hpp"
#include "concerto/data/reader.hpp"
#include "concerto/data/synth.hpp"

namespace concerto {
namespace {

namespace fs = std::filesystem;

TEST(TextToPrepared, MappedEqualsBuiltByteForByte) {
  const fs::path root = fs::temp_directory_path() / ("concerto-text-" + std::to_string(::getpid()));
  fs::create_directories(root);
  ThreadPool pool(2);
  SynthOptions synth;
  synth.users = 1009;
  synth.items = 503;
  synth.entries = 30011;
  const SynthSummary summary = synthesize(synth, root / "synth", pool, {});

  const auto build = [&](ThreadPool& own) {
    return build_dataset(read_ratings(root / "synth" / "train.txt", {}, own), {}, {}, {}, own);
  };
  const BuiltDataset built = build(pool);
  EXPECT_EQ(built.train.entries(), summary.train_entries);
  EXPECT_EQ(built.train.users().size(), synth.users);
  const HeldOut test = build_held_out(read_ratings(root / "synth" / "test.txt", {}, pool), built.train.users(),
                                      built.train.items(), {}, pool);
  EXPECT_EQ(test.entries(), summary.test_entries);
  EXPECT_EQ(test.unknown_users, 0U);
  built.train.write(root / "prepared", &test, {});

  ThreadPool three(3);
  const BuiltDataset again = build(three);
  const Dataset::Prepared mapped = Dataset::map(root / "prepared", pool);
  for (const Dataset* other : {&again.train, &mapped.dataset}) {
    EXPECT_EQ(other->users().serialize(), built.train.users().serialize());
    EXPECT_EQ(other->items().serialize(), built.train.items().serialize());
    EXPECT_TRUE(std::ranges::equal(other->by_user().offsets, built.train.by_user().offsets));
    EXPECT_TRUE(std::ranges::equal(other->by_user().columns, built.train.by_user().columns));
    EXPECT_TRUE(std::ranges::equal(other->by_user().values, built.train.by_user().values));
    EXPECT_TRUE(std::ranges::equal(other->by_item().offsets, built.train.by_item().offsets));
    EXPECT_TRUE(std::ranges::equal(other->by_item().columns, built.train.by_item().columns));
    EXPECT_TRUE(std::ranges::equal(other->by_item().values, built.train.by_item().values));
  }
  ASSERT_TRUE(mapped.held_out.has_value());
  EXPECT_EQ(mapped.held_out->known.columns, test.known.columns);
  EXPECT_EQ(mapped.held_out->known.values, test.known.values);
  EXPECT_EQ(mapped.held_out->unknown.size(), test.unknown.size());
  fs::remove_all(root);
}

}  // namespace
}  // namespace concerto
