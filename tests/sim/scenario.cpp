// Drawing, writing and reading scenarios.
#include "scenario.hpp"

#include <algorithm>
#include <map>
#include <sstream>

#include <fmt/format.h>

#include "concerto/base/error.hpp"
#include "concerto/base/rng.hpp"

namespace concerto::sim {
namespace {

constexpr std::array<const char*, kFaultKinds> kFaultNames{"cut",       "frame", "replay",      "partition", "one-way",
                                                           "slow-link", "pause", "slow-rank",   "ticks",     "restart",
                                                           "remove",    "expel", "late-record", "damage"};
constexpr std::array<const char*, 3> kLevelNames{"strong", "bounded", "eventual"};

bool kills(FaultKind kind) {
  return kind == FaultKind::kRestart || kind == FaultKind::kRemove || kind == FaultKind::kExpel;
}

TableLevel draw_level(Random& random, bool is_adding) {
  TableLevel level;
  level.level = static_cast<Level>(is_adding ? 1 + random.below(2) : random.below(3));
  level.max_lag = static_cast<std::uint32_t>(random.below(4));
  return level;
}

Fault draw_fault(Random& random, const Scenario& s, Ticks horizon) {
  Fault fault;
  fault.kind = static_cast<FaultKind>(random.below(kFaultKinds));
  fault.at = random.below(horizon);
  fault.lasts = s.pace * (20 + random.below(random.below(4) == 0 ? 5'000 : 500));
  fault.a = static_cast<Rank>(random.below(s.ranks));
  fault.b = static_cast<Rank>((fault.a + 1 + random.below(s.ranks - 1)) % s.ranks);
  fault.amount = 1 + static_cast<std::uint32_t>(random.below(fault.kind == FaultKind::kSlowLink ? 300 : 8));
  return fault;
}

}  // namespace

const char* name_of(FaultKind kind) {
  return kFaultNames[static_cast<std::size_t>(kind)];
}

Scenario draw_scenario(std::uint64_t seed) {
  Random random(seed, 1);
  Scenario s;
  s.seed = seed;
  s.ranks = static_cast<Rank>(random.below(5) == 0 ? 2 + random.below(11) : 2 + random.below(4));
  s.is_adding = random.below(2) == 0;
  s.items = static_cast<std::uint32_t>(1 + random.below(2 * s.ranks + 4));
  s.users = static_cast<std::uint32_t>(1 + random.below(2 * s.ranks + 4));
  s.epochs = static_cast<SweepClock>(2 + random.below(6));
  s.blocks_per_step = static_cast<std::uint32_t>(1 + random.below(3));
  s.window_blocks = static_cast<std::uint32_t>(1 + random.below(4));
  s.levels = {draw_level(random, s.is_adding), draw_level(random, s.is_adding)};
  s.delay_least = 1 + random.below(5);
  s.delay_most = s.delay_least + random.below(random.below(3) == 0 ? 200 : 20);
  s.pace = random.below(2) == 0 ? 1 : 100;
  s.step = s.pace * (10 + random.below(100));
  s.trains = seed % 50 == 0;
  const std::uint64_t steps = std::uint64_t{s.epochs} * (s.items + s.users) / s.blocks_per_step / s.ranks + 4;
  const Ticks horizon = steps * s.step;
  const std::uint64_t faults = random.below(4) == 0 ? 0 : random.below(9);
  for (std::uint64_t i = 0; i < faults; ++i) s.faults.push_back(draw_fault(random, s, horizon));
  // Damage is found by comparing with the owner; who takes over from damaged bytes before that has nothing to compare.
  const bool has_damage = std::ranges::any_of(s.faults, [](const Fault& f) { return f.kind == FaultKind::kDamage; });
  if (has_damage) std::erase_if(s.faults, [](const Fault& f) { return kills(f.kind); });
  std::ranges::stable_sort(s.faults, {}, &Fault::at);
  if (random.below(5) == 0) {
    s.change = {random.below(horizon), static_cast<Side>(random.below(2)), draw_level(random, s.is_adding)};
  }
  return s;
}

std::string to_text(const Scenario& s) {
  std::string text = fmt::format(
      "seed {}\nranks {}\nsolver {}\nitems {}\nusers {}\nepochs {}\nblocks_per_step {}\nwindow_blocks {}\n", s.seed,
      s.ranks, s.is_adding ? "sgd" : "als", s.items, s.users, s.epochs, s.blocks_per_step, s.window_blocks);
  text += fmt::format("delay {} {}\nstep {}\npace {}\ntrains {}\n", s.delay_least, s.delay_most, s.step, s.pace,
                      s.trains ? 1 : 0);
  constexpr std::array<const char*, 2> kTables{"users", "items"};
  for (std::size_t t = 0; t < 2; ++t) {
    text += fmt::format("level {} {} {}\n", kTables[t], kLevelNames[static_cast<std::size_t>(s.levels[t].level)],
                        s.levels[t].max_lag);
  }
  if (s.change) {
    text += fmt::format("change {} {} {} {}\n", s.change->at, kTables[static_cast<std::size_t>(s.change->table)],
                        kLevelNames[static_cast<std::size_t>(s.change->level.level)], s.change->level.max_lag);
  }
  for (const Fault& f : s.faults) {
    text += fmt::format("fault {} {} {} {} {} {}\n", name_of(f.kind), f.at, f.lasts, f.a, f.b, f.amount);
  }
  return text;
}

Scenario parse_scenario(const std::string& text, const std::string& name) {
  Scenario s;
  std::istringstream lines(text);
  std::string line;
  for (int number = 1; std::getline(lines, line); ++number) {
    if (line.empty() || line.starts_with('#')) continue;
    std::istringstream words(line);
    std::string key;
    words >> key;
    const auto fail = [&](const std::string& what) {
      throw Error(ErrorCode::kBadInput, what, fmt::format("{}:{}", name, number));
    };
    const auto level = [&]() -> TableLevel {
      std::string word;
      TableLevel result;
      words >> word >> result.max_lag;
      const auto found = std::ranges::find(kLevelNames, word);
      if (found == kLevelNames.end()) fail(fmt::format("there is no level '{}'", word));
      result.level = static_cast<Level>(found - kLevelNames.begin());
      return result;
    };
    const auto table = [&]() -> Side {
      std::string word;
      words >> word;
      if (word != "users" && word != "items") fail(fmt::format("there is no table '{}'", word));
      return word == "users" ? Side::kUsers : Side::kItems;
    };
    if (key == "seed") {
      words >> s.seed;
    } else if (key == "ranks") {
      words >> s.ranks;
    } else if (key == "solver") {
      std::string word;
      words >> word;
      if (word != "sgd" && word != "als") fail("solver is als or sgd");
      s.is_adding = word == "sgd";
    } else if (key == "items") {
      words >> s.items;
    } else if (key == "users") {
      words >> s.users;
    } else if (key == "epochs") {
      words >> s.epochs;
    } else if (key == "blocks_per_step") {
      words >> s.blocks_per_step;
    } else if (key == "window_blocks") {
      words >> s.window_blocks;
    } else if (key == "delay") {
      words >> s.delay_least >> s.delay_most;
    } else if (key == "step") {
      words >> s.step;
    } else if (key == "pace") {
      words >> s.pace;
    } else if (key == "trains") {
      words >> s.trains;
    } else if (key == "level") {
      const Side side = table();
      s.levels[static_cast<std::size_t>(side)] = level();
    } else if (key == "change") {
      LevelChangeAt change;
      words >> change.at;
      change.table = table();
      change.level = level();
      s.change = change;
    } else if (key == "fault") {
      Fault f;
      std::string word;
      words >> word >> f.at >> f.lasts >> f.a >> f.b >> f.amount;
      const auto found = std::ranges::find(kFaultNames, word);
      if (found == kFaultNames.end()) fail(fmt::format("there is no fault '{}'", word));
      f.kind = static_cast<FaultKind>(found - kFaultNames.begin());
      s.faults.push_back(f);
    } else {
      fail(fmt::format("there is no key '{}'", key));
    }
    if (words.fail()) fail("a value is missing or no number");
  }
  const bool is_sound = s.ranks >= 2 && s.ranks <= 64 && s.items > 0 && s.users > 0 && s.epochs > 0 &&
                        s.blocks_per_step > 0 && s.step > 0 && s.pace > 0 && s.delay_least > 0 &&
                        s.delay_most >= s.delay_least;
  const bool has_ranks =
      std::ranges::all_of(s.faults, [&](const Fault& f) { return f.a < s.ranks && f.b < s.ranks && f.a != f.b; });
  if (!is_sound || !has_ranks) throw Error(ErrorCode::kBadInput, "values out of range", name);
  return s;
}

}  // namespace concerto::sim
