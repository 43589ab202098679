// Replicators of one run in one thread: messages a second, received and answered, without bytes or a network.
#include <benchmark/benchmark.h>

#include "concerto/base/rng.hpp"
#include "concerto/replication/replicator.hpp"

#include "support/replicator_group.hpp"

namespace concerto {
namespace {

/// 4 ranks write to random blocks of 1,024 in turn (sgd), or publish their own (als).
void replicate(benchmark::State& state, bool has_many_writers) {
  constexpr std::uint32_t kBlocks = 1'024;
  constexpr Rank kRanks = 4;
  constexpr std::uint32_t kBytes = 65'536;
  const std::vector<ReplicatedBlock> blocks(kBlocks, {Side::kItems, kBytes, has_many_writers, true});
  test::ReplicatorGroup group(kRanks, blocks, std::uint64_t{64} * kBytes);
  Random random(1);
  std::vector<std::pair<Rank, BlockId>> order;
  for (int i = 0; i < 1 << 16; ++i) {
    const auto block = static_cast<BlockId>(random.below(kBlocks));
    const auto rank = static_cast<Rank>(random.below(kRanks));
    order.emplace_back(has_many_writers ? rank : group.at(0).owner(block), block);
  }
  std::uint64_t before = group.delivered();
  std::size_t next = 0;
  for (auto _ : state) {
    const auto [rank, block] = order[next++ % order.size()];
    group.act(rank, [&, b = block](Replicator& m, ReplicaEffects& out) {
      if (has_many_writers) {
        m.wrote(b, m.written(b) + 1, out);
      } else {
        m.published(b, m.clock(b) + 1, out);
      }
    });
    group.deliver_some();
    group.deliver_some();
  }
  state.counters["messages"] =
      benchmark::Counter(static_cast<double>(group.delivered() - before), benchmark::Counter::kIsRate);
  group.deliver_all();
  if (!group.is_sound()) state.SkipWithError("a message was refused");
}

BENCHMARK_CAPTURE(replicate, many_writers, true);
BENCHMARK_CAPTURE(replicate, one_writer, false);

}  // namespace
}  // namespace concerto

BENCHMARK_MAIN();
