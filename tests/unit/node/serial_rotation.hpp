// A rotation as one process would execute it: strata in order, in each ranks in order. The oracle of simulated
// clusters.
#pragma once

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <tuple>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "concerto/base/rng.hpp"
#include "concerto/node/effects.hpp"
#include "concerto/node/rotation.hpp"

namespace concerto::test {

/// What a rank's users and the parts of the items have become: numbers that a step mixes.
struct Contents {
  std::uint64_t users = 0;
  std::map<std::uint32_t, std::uint64_t> parts;

  static std::uint64_t mixed(std::uint64_t a, std::uint64_t b) {
    const auto words = philox({static_cast<std::uint32_t>(a), static_cast<std::uint32_t>(a >> 32),
                               static_cast<std::uint32_t>(b), static_cast<std::uint32_t>(b >> 32)},
                              77);
    return std::uint64_t{words[0]} << 32 | words[1];
  }
  void step(std::uint32_t part) {
    users = mixed(users, parts[part]);
    parts[part] = mixed(parts[part], users);
  }
};

class SerialRotation {
 public:
  SerialRotation(const Rotation& rotation, std::uint32_t epochs) {
    std::map<std::uint32_t, std::uint64_t> items;
    std::vector<std::uint64_t> users;
    for (Rank r = 0; r < rotation.ranks; ++r) users.push_back(r);
    for (std::uint32_t epoch = 1; epoch <= epochs; ++epoch) {
      std::set<std::pair<Rank, std::uint32_t>> met;
      for (std::uint32_t stratum = 0; stratum < rotation.ranks; ++stratum) {
        std::set<std::uint32_t> parts;
        for (Rank r = 0; r < rotation.ranks; ++r) {
          for (std::uint32_t j = 0; j < rotation.parts_per_rank; ++j) {
            const std::uint32_t round = stratum * rotation.parts_per_rank + j;
            const std::uint32_t part = rotation.part(r, epoch, round);
            EXPECT_LT(part, rotation.parts());
            EXPECT_TRUE(parts.insert(part).second) << "two ranks share a part in a stratum";
            EXPECT_TRUE(met.insert({r, part}).second) << "a rank meets a part twice in an epoch";
            before_[{r, epoch, round}] = {users[r], items[part]};
            Contents contents{users[r], {{part, items[part]}}};
            contents.step(part);
            users[r] = contents.users;
            items[part] = contents.parts[part];
          }
        }
      }
      after_.push_back(items);
    }
  }

  /// What `rank` must see of its users and of its part when it begins a round; nothing after the epochs executed here.
  [[nodiscard]] std::optional<std::pair<std::uint64_t, std::uint64_t>> before(Rank rank, const StepId& step) const {
    const auto found = before_.find({rank, step.epoch, step.round});
    return found == before_.end() ? std::nullopt : std::optional(found->second);
  }
  /// The parts after an epoch; null likewise.
  [[nodiscard]] const std::map<std::uint32_t, std::uint64_t>* after(std::uint32_t epoch) const {
    return epoch <= after_.size() ? &after_[epoch - 1] : nullptr;
  }

 private:
  std::map<std::tuple<Rank, std::uint32_t, std::uint32_t>, std::pair<std::uint64_t, std::uint64_t>> before_;
  std::vector<std::map<std::uint32_t, std::uint64_t>> after_;
};

}  // namespace concerto::test
