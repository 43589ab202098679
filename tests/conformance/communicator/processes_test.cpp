// Ranks that are processes, over TCP and over TLS: killed, stopped, late.
//
// The parent has no other threads when it forks; children leave by _exit, which runs nothing of the parent's.
#include <algorithm>
#include <array>
#include <cstring>
#include <string>

#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "groups.hpp"

namespace concerto {
namespace {

constexpr Rank kSize = 4;
constexpr Rank kVictim = 2;

/// How a rank ended, in memory that parent and children share.
struct Ending {
  bool is_told = false;
  FailureKind kind = FailureKind::kRefused;
  std::array<bool, kSize> suspects{};
  std::array<char, 512> message{};
};

class Processes : public ::testing::TestWithParam<Kind> {
 protected:
  Processes() {
    void* shared = mmap(nullptr, kSize * sizeof(Ending), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CONCERTO_CHECK(shared != MAP_FAILED, "no shared memory");
    endings_ = static_cast<Ending*>(shared);
    for (Rank rank = 0; rank < kSize; ++rank) new (endings_ + rank) Ending;
    CONCERTO_CHECK(pipe(under_way_.data()) == 0, "no pipe");
  }
  ~Processes() override {
    for (const pid_t child : children_) {
      if (child > 0) {
        (void)kill(child, SIGKILL);
        (void)waitpid(child, nullptr, 0);
      }
    }
    for (const int end : under_way_) close(end);
    munmap(endings_, kSize * sizeof(Ending));
  }

  /// Starts the ranks; each gathers again and again until that fails.
  void start(const CommLimits& limits) {
    for (Rank rank = 0; rank < kSize; ++rank) {
      children_[rank] = fork();
      CONCERTO_CHECK(children_[rank] >= 0, "no process");
      if (children_[rank] == 0) {
        run_rank(rank, limits);
        _exit(0);
      }
    }
    for (Rank rank = 0; rank < kSize; ++rank) {
      pollfd waited{under_way_[0], POLLIN, 0};
      char byte = 0;
      ASSERT_EQ(poll(&waited, 1, 60'000), 1) << "the ranks do not get under way";
      ASSERT_EQ(read(under_way_[0], &byte, 1), 1);
    }
  }

  void run_rank(Rank rank, const CommLimits& limits) {
    alarm(100);  // whatever happens to the parent
    FolderStore store(folder_.path());
    std::unique_ptr<Network> network;
    auto made = make(rank, store, network, limits);
    if (!made) return tell(rank, {made.failure(), OperationKind::kBarrier, {}, {}});
    Communicator& communicator = *made.value();
    const Layout layout = even_layout(kSize, 3'000'000);
    Bytes buffer = layout.part_of(rank);
    for (std::uint64_t index = 0;; ++index) {
      if (!communicator.wait(communicator.all_gather(tag(index), buffer, layout.blocks))) break;
      if (index == 2) CONCERTO_CHECK(write(under_way_[1], "", 1) == 1, "the parent is gone");
    }
    tell(rank, *communicator.failure());
  }

  Result<std::unique_ptr<Communicator>> make(Rank rank, Store& store, std::unique_ptr<Network>& network,
                                             const CommLimits& limits) const {
    if (GetParam() == Kind::kGloo) {
      GlooOptions options;
      options.network_interface = "lo";
      return make_gloo_communicator(store, rank, kSize, options, limits);
    }
    ChannelOptions options;
    options.self = {"job", Role::kRank, rank, 1};
    options.size = kSize;
    network = make_tls_network(authority_.issue(options.self));
    return make_channel_communicator(*network, store, options, limits);
  }

  void tell(Rank rank, const CommFailure& failure) {
    Ending& ending = endings_[rank];
    ending.kind = failure.failure.kind;
    for (const Rank suspect : failure.suspects) ending.suspects.at(suspect) = true;
    std::strncpy(ending.message.data(), failure.failure.message.c_str(), ending.message.size() - 1);
    ending.is_told = true;
  }

  /// Waits for a child to end, at most for its own alarm; the status as of waitpid.
  int join(Rank rank) {
    int status = 0;
    EXPECT_EQ(waitpid(children_[rank], &status, 0), children_[rank]);
    children_[rank] = 0;
    return status;
  }

  JobAuthority authority_{"job"};
  TemporaryFolder folder_;
  Ending* endings_ = nullptr;
  std::array<int, 2> under_way_{};
  std::array<pid_t, kSize> children_{};
};

TEST_P(Processes, OfAKilledRankEveryRankHearsAndSuspectsIt) {
  start(patient());
  ASSERT_EQ(kill(children_[kVictim], SIGKILL), 0);
  for (Rank rank = 0; rank < kSize; ++rank) {
    const int status = join(rank);
    if (rank == kVictim) {
      EXPECT_TRUE(WIFSIGNALED(status));
      continue;
    }
    ASSERT_EQ(status, 0) << "rank " << rank;
    const Ending& ending = endings_[rank];
    ASSERT_TRUE(ending.is_told);
    EXPECT_EQ(ending.kind, FailureKind::kLost) << ending.message.data();
    EXPECT_TRUE(ending.suspects[kVictim]) << ending.message.data();
    EXPECT_FALSE(ending.suspects[rank]) << ending.message.data();
  }
}

TEST_P(Processes, AStoppedRankIsATimeoutAndFailsItselfWhenItGoesOn) {
  start({milliseconds(1500), milliseconds(60'000)});
  ASSERT_EQ(kill(children_[kVictim], SIGSTOP), 0);
  int timeouts = 0;
  for (Rank rank = 0; rank < kSize; ++rank) {
    if (rank == kVictim) continue;
    ASSERT_EQ(join(rank), 0) << "rank " << rank;
    const Ending& ending = endings_[rank];
    ASSERT_TRUE(ending.is_told);
    EXPECT_TRUE(ending.kind == FailureKind::kTimeout || ending.kind == FailureKind::kLost) << ending.message.data();
    timeouts += ending.kind == FailureKind::kTimeout;
    EXPECT_FALSE(ending.suspects[rank]) << ending.message.data();
    EXPECT_TRUE(std::ranges::count(ending.suspects, true) > 0) << ending.message.data();
  }
  EXPECT_GE(timeouts, 1);
  ASSERT_EQ(kill(children_[kVictim], SIGCONT), 0);
  EXPECT_EQ(join(kVictim), 0);
  EXPECT_TRUE(endings_[kVictim].is_told);
}

INSTANTIATE_TEST_SUITE_P(OverSockets, Processes, ::testing::Values(Kind::kGloo, Kind::kChannel),
                         [](const auto& one) { return name_of(one.param); });

}  // namespace
}  // namespace concerto
