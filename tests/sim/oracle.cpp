// The judgements of the oracle.
#include "oracle.hpp"

#include <algorithm>

#include <fmt/format.h>

namespace concerto::sim {
namespace {

std::string text(const Version& version) {
  return fmt::format("{}.{}", version.term, version.serial);
}

}  // namespace

void Oracle::held(const std::string& who, BlockId block, const Version& before, const Version& version,
                  const Contents& contents) {
  if (version < before) {
    fail(fmt::format("{} went back from version {} of block {} to {}", who, text(before), block, text(version)));
  }
  if (contents.is_damaged) return;
  const auto [known, is_new] = hashes_.try_emplace({block, version}, contents.hash());
  if (!is_new && known->second != contents.hash()) {
    fail(
        fmt::format("{} holds other bytes as version {} of block {} than were held before", who, text(version), block));
  }
}

void Oracle::seen(BlockId block, const Version& version) {
  Version& highest = seen_[block];
  highest = std::max(highest, version);
}

void Oracle::sealed(const std::string& who, BlockId block, Rank writer, const FrontierEntry& delta, std::int64_t sum) {
  const auto [known, is_new] = deltas_.try_emplace({block, writer, delta.incarnation, delta.sequence}, sum);
  if (!is_new && known->second != sum) {
    fail(fmt::format("{}: delta {} of rank {} ({}) to block {} has changed since it was sealed", who, delta.sequence,
                     writer, delta.incarnation, block));
  }
}

void Oracle::merge(const std::string& who, BlockId block, Rank writer, const FrontierEntry& delta, std::int64_t sum,
                   Contents& contents) {
  sealed(who, block, writer, delta, sum);
  Part* part = contents.find(writer, delta.incarnation);
  if (part == nullptr) {
    const auto place = std::ranges::find_if(contents.parts, [&](const Part& p) {
      return std::pair(p.writer, p.incarnation) > std::pair(writer, delta.incarnation);
    });
    for (const Part& p : contents.parts) {
      if (p.writer == writer && p.incarnation > delta.incarnation) {
        fail(fmt::format("{} merged a delta of an earlier life of rank {} into block {}", who, writer, block));
      }
    }
    part = &*contents.parts.insert(place, Part{writer, delta.incarnation, 0, 0, 0});
  }
  if (delta.sequence <= part->last) {
    fail(fmt::format("{} merged delta {} of rank {} into block {} twice", who, delta.sequence, writer, block));
  } else if (delta.sequence > part->last + 1 && !may_miss(block, writer, delta.incarnation, delta.sequence - 1)) {
    fail(fmt::format("{} merged delta {} of rank {} into block {} after {}", who, delta.sequence, writer, block,
                     part->last));
  } else if (delta.sequence > part->last + 1 &&
             reported_lost_[{block, writer, delta.incarnation}] + 1 != delta.sequence) {
    fail(fmt::format("{} merged delta {} of rank {} into block {} after {} and did not say that some are lost", who,
                     delta.sequence, writer, block, part->last));
  }
  part->last = delta.sequence;
  part->sum += sum;
  part->clock = std::max(part->clock, delta.clock);
}

void Oracle::reported_lost(BlockId block, Rank writer, const FrontierEntry& last) {
  std::uint64_t& highest = reported_lost_[{block, writer, last.incarnation}];
  highest = std::max(highest, last.sequence);
}

bool Oracle::may_miss(BlockId block, Rank writer, Incarnation incarnation, std::uint64_t sequence) const {
  const auto found = lost_.find({block, writer, incarnation});
  return found != lost_.end() && found->second >= sequence;
}

void Oracle::stable(const std::string& who, BlockId block, Rank writer, const FrontierEntry& delta,
                    bool owns_it_itself) {
  if (!owns_it_itself && promised_[{block, writer, delta.incarnation}] < delta.sequence) {
    fail(fmt::format("{} drops delta {} to block {}, which nobody has called stable", who, delta.sequence, block));
  }
  std::uint64_t& highest = stable_[{block, writer, delta.incarnation}];
  highest = std::max(highest, delta.sequence);
}

void Oracle::copies_left(BlockId block, const std::vector<const Contents*>& copies,
                         const std::vector<Version>& versions) {
  const auto seen = seen_.find(block);
  if (seen != seen_.end() && std::ranges::none_of(versions, [&](const Version& v) { return v >= seen->second; })) {
    has_lost_ = true;
  }
  for (auto it = stable_.lower_bound({block, 0, 0}); it != stable_.end() && std::get<0>(it->first) == block; ++it) {
    const auto& [b, writer, incarnation] = it->first;
    std::uint64_t highest = 0;
    for (const Contents* copy : copies) {
      const Part* part = copy->find(writer, incarnation);
      if (part != nullptr) highest = std::max(highest, part->last);
    }
    if (highest >= it->second) continue;
    std::uint64_t& lost = lost_[it->first];
    lost = std::max(lost, it->second);
    it->second = highest;
  }
}

void Oracle::promised(const std::string& who, BlockId block, Rank writer, const FrontierEntry& delta,
                      const Contents* successor) {
  std::uint64_t& highest = promised_[{block, writer, delta.incarnation}];
  highest = std::max(highest, delta.sequence);
  if (successor == nullptr) return;
  const Part* part = successor->find(writer, delta.incarnation);
  if (part == nullptr || part->last < delta.sequence) {
    fail(fmt::format("{} called delta {} of rank {} to block {} stable, which the successor has not", who,
                     delta.sequence, writer, block));
  }
}

void Oracle::took_over(const std::string& who, BlockId block, const Contents& contents) {
  must_have_stable(who, block, contents);
}

void Oracle::must_have_stable(const std::string& who, BlockId block, const Contents& contents) {
  for (auto it = stable_.lower_bound({block, 0, 0}); it != stable_.end() && std::get<0>(it->first) == block; ++it) {
    const auto& [b, writer, incarnation] = it->first;
    const Part* part = contents.find(writer, incarnation);
    if (it->second > (part == nullptr ? 0 : part->last)) {
      fail(fmt::format("delta {} of rank {} ({}) to block {} was stable and is not in what {} has", it->second, writer,
                       incarnation, block, who));
    }
  }
}

void Oracle::ended(const std::string& who, BlockId block, const Contents& contents) {
  must_have_stable(who, block, contents);
  // Exactly once: the sum is that of the deltas that are in, each by its number.
  for (const Part& part : contents.parts) {
    std::int64_t sum = 0;
    for (std::uint64_t n = 1; n <= part.last; ++n) {
      const auto delta = deltas_.find({block, part.writer, part.incarnation, n});
      if (delta != deltas_.end()) sum += delta->second;
    }
    if (sum != part.sum && !may_miss(block, part.writer, part.incarnation, 1)) {
      fail(fmt::format("block {} at {} holds {} of rank {} ({}), whose deltas add up to {}", block, who, part.sum,
                       part.writer, part.incarnation, sum));
    }
  }
}

}  // namespace concerto::sim
