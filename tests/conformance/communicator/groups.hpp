// Groups of ranks for the communicator suite: threads of this process, over memory, over TCP, over TLS, and with a fake
// NCCL whose device memory is the host's, with buffers on the device and, staged, of the host.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <ostream>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "concerto/base/rng.hpp"
#include "concerto/comm/communicators.hpp"
#include "concerto/comm/networks.hpp"
#include "concerto/comm/trust.hpp"

#include "nccl_factory.hpp"
#include "support/fake_nccl/fake_device.hpp"
#include "support/folder_store.hpp"

namespace concerto {

using std::chrono::milliseconds;

/// Which implementation.
enum class Kind { kInproc, kGloo, kChannel, kNccl, kStagedNccl };

struct Case {
  Kind kind;
  Rank size;
};
inline std::string name_of(Kind kind) {
  return kind == Kind::kInproc ? "inproc" : kind == Kind::kGloo ? "gloo" : kind == Kind::kChannel ? "channel" : "nccl";
}
inline bool is_nccl(Kind kind) {
  return kind == Kind::kNccl || kind == Kind::kStagedNccl;
}
inline void PrintTo(const Case& one, std::ostream* out) {
  *out << (one.kind == Kind::kStagedNccl ? "staged_" : "") << name_of(one.kind) << one.size;
}
/// Groups of these sizes of every kind.
inline std::vector<Case> cases_of(const std::vector<Rank>& sizes) {
  std::vector<Case> all;
  for (const Kind kind : {Kind::kInproc, Kind::kGloo, Kind::kChannel, Kind::kNccl, Kind::kStagedNccl}) {
    for (const Rank size : sizes) all.push_back({kind, size});
  }
  return all;
}

/// Long enough that no operation of a healthy group meets it on a busy machine.
inline CommLimits patient() {
  return {milliseconds(120'000), milliseconds(60'000)};
}

using Bytes = std::vector<std::byte>;

class Group {
 public:
  Group(const Case& one, const CommLimits& limits) {
    if (one.kind == Kind::kInproc) {
      InprocGroup group = make_inproc_group(one.size, limits);
      ranks = std::move(group.ranks);
      faults = std::move(group.faults);
      return;
    }
    ranks.resize(one.size);
    networks_.resize(one.size);
    for (Rank rank = 0; rank < one.size; ++rank) stores_.push_back(std::make_unique<FolderStore>(folder_.path()));
    JobAuthority authority("job");
    each([&](Rank rank) {
      if (one.kind == Kind::kChannel) networks_[rank] = make_tls_network(authority.issue(identity(rank)));
      auto made = make(one, rank, limits);
      ASSERT_TRUE(made) << made.failure().message;
      ranks[rank] = std::move(made.value());
    });
  }

  /// Calls `body(rank)` in a thread for each rank.
  void each(const std::function<void(Rank)>& body) const {
    std::vector<std::thread> threads;
    for (Rank rank = 0; rank < ranks.size(); ++rank) threads.emplace_back([&, rank] { body(rank); });
    for (std::thread& thread : threads) thread.join();
  }
  void each(const std::function<void(Communicator&)>& body) const {
    each([&](Rank rank) { body(*ranks[rank]); });
  }

 private:
  TemporaryFolder folder_;
  std::vector<std::unique_ptr<FolderStore>> stores_;
  std::vector<std::unique_ptr<Network>> networks_;  ///< channel only; they outlive the ranks

 public:
  std::vector<std::unique_ptr<Communicator>> ranks;
  std::shared_ptr<InprocFaults> faults;  ///< inproc only

 private:
  static Identity identity(Rank rank) { return {"job", Role::kRank, rank, 1}; }
  Result<std::unique_ptr<Communicator>> make(const Case& one, Rank rank, const CommLimits& limits) {
    Store& store = *stores_[rank];
    if (one.kind == Kind::kChannel) {
      ChannelOptions options;
      options.self = identity(rank);
      options.size = one.size;
      return make_channel_communicator(*networks_[rank], store, options, limits);
    }
    if (one.kind == Kind::kNccl) {
      return connect_nccl(store, NcclLibrary(CONCERTO_FAKE_NCCL), std::make_unique<FakeDevice>(), rank, one.size, {},
                          limits);
    }
    if (one.kind == Kind::kStagedNccl) {
      return connect_staged_nccl(store, NcclLibrary(CONCERTO_FAKE_NCCL), std::make_unique<FakeDevice>(),
                                 std::make_unique<FakeDevice>(FakeDevice::Copies::kOwnMemory), rank, one.size, {},
                                 limits);
    }
    GlooOptions options;
    options.address = "127.0.0.1";
    return make_gloo_communicator(store, rank, one.size, options, limits);
  }
};

/// The tag of the `index`th operation of a test.
inline OperationTag tag(std::uint64_t index) {
  return {1, 0, 7, index};
}

/// Bytes that tell places and salts apart.
inline Bytes pattern(std::size_t size, std::uint64_t salt) {
  Bytes bytes(size);
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>((i * 31 + i / 256 + salt * 101) & 0xff);
  return bytes;
}

/// An all-gather: blocks, and the bytes that every rank has to have in them afterwards.
struct Layout {
  std::vector<GatherBlock> blocks;
  Bytes whole;

  /// What `rank` starts with: its own blocks, elsewhere something else.
  [[nodiscard]] Bytes part_of(Rank rank) const {
    Bytes part(whole.size(), std::byte{0x5a});
    for (const GatherBlock& block : blocks) {
      if (block.owner == rank)
        std::copy_n(whole.begin() + static_cast<std::ptrdiff_t>(block.offset), block.bytes,
                    part.begin() + static_cast<std::ptrdiff_t>(block.offset));
    }
    return part;
  }
};

/// Blocks that fill a buffer, in a drawn order and of drawn owners; some empty, one of several segments.
inline Layout uneven_layout(Rank size, std::uint64_t seed) {
  Random random(seed, size);
  Layout layout;
  std::size_t total = 0;
  const std::uint64_t count = 3 + random.below(3 * size + 1);
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::size_t bytes = i == 0 ? 3'333'333 : random.below(4) == 0 ? 0 : random.below(100'000);
    layout.blocks.push_back({static_cast<Rank>(random.below(size)), total, bytes});
    total += bytes;
  }
  std::vector<GatherBlock> shuffled;
  for (const std::uint32_t i : random_permutation(static_cast<std::uint32_t>(count), seed, 1)) {
    shuffled.push_back(layout.blocks[i]);
  }
  layout.blocks = shuffled;
  layout.whole = pattern(total, seed);
  return layout;
}

/// Equal blocks of `bytes`, one a rank.
inline Layout even_layout(Rank size, std::size_t bytes) {
  Layout layout;
  for (Rank rank = 0; rank < size; ++rank) layout.blocks.push_back({rank, rank * bytes, bytes});
  layout.whole = pattern(size * bytes, 3);
  return layout;
}

/// The suite's parameter.
class Communicators : public ::testing::TestWithParam<Case> {
 protected:
  [[nodiscard]] Rank size() const { return GetParam().size; }
};

}  // namespace concerto
