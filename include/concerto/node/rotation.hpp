// Stratified SGD on several ranks: who works on which part of the items when, and to whom it goes next. A pure function
// of the numbers of ranks and parts, the seed and the epoch, that every rank computes alike.
//
// Each rank keeps its users; items are cut into ranks * parts_per_rank parts, parts_per_rank consecutive ones are a
// group. An epoch has as many strata as there are ranks. In stratum s, rank p works on the parts of group
// (p + s + first shift of the epoch) mod ranks, one after another: in a stratum no two ranks share an item, and never a
// user, and after all strata every rank has met every part. So an epoch equals the serial execution of its strata in
// order, within one in any order of ranks. A group always goes to the rank before (mod ranks), one part of it while the
// next is worked on.
//
// Source: Gemulla et al. 2011, "Large-scale matrix factorization with distributed stochastic gradient descent".
#pragma once

#include <cstdint>

#include "concerto/base/ids.hpp"
#include "concerto/base/rng.hpp"

namespace concerto {

struct Rotation {
  Rank ranks = 1;
  std::uint32_t parts_per_rank = 2;
  std::uint64_t seed = 1;

  [[nodiscard]] std::uint32_t parts() const noexcept { return ranks * parts_per_rank; }
  /// Steps of a rank in an epoch, numbered from 0 as rounds: one a part, parts_per_rank a stratum.
  [[nodiscard]] std::uint32_t rounds() const noexcept { return parts(); }
  /// Blocks that a rank passes on in an epoch, and as many that it takes: its rounds but those of the last stratum.
  [[nodiscard]] std::uint32_t passes() const noexcept { return (ranks - 1) * parts_per_rank; }
  [[nodiscard]] std::uint32_t stratum(std::uint32_t round) const noexcept { return round / parts_per_rank; }

  [[nodiscard]] Rank first_shift(std::uint32_t epoch) const noexcept {
    constexpr std::uint64_t kStream = 0x524f'5400'0000'0000;  // "ROT", apart from other uses of the seed
    return static_cast<Rank>(Random(seed, kStream | epoch).below(ranks));
  }
  /// The part that `rank` works on in a round.
  [[nodiscard]] std::uint32_t part(Rank rank, std::uint32_t epoch, std::uint32_t round) const noexcept {
    const std::uint64_t group = (std::uint64_t{rank} + stratum(round) + first_shift(epoch)) % ranks;
    return static_cast<std::uint32_t>(group) * parts_per_rank + round % parts_per_rank;
  }
  /// To whom `rank` passes its parts, and from whom it takes them.
  [[nodiscard]] Rank next(Rank rank) const noexcept { return (rank + ranks - 1) % ranks; }
  [[nodiscard]] Rank previous(Rank rank) const noexcept { return (rank + 1) % ranks; }
};

}  // namespace concerto
