// One user's entries: distinct items drawn one after another with probability proportional to popularity (times
// exp(taste) if implicit), either by rejection or, for users with many items, by exponential keys.
#include "synth_entries.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstring>

#include "concerto/base/rng.hpp"

namespace concerto {
namespace {

// What a block of random words is for.
constexpr std::uint32_t kDrawTag = 0x64726177U;
constexpr std::uint32_t kKeyTag = 0x6b657973U;
constexpr std::uint32_t kEntryTag = 0x656e7472U;

// Taste beyond this many standard deviations adds nothing more to the odds of a click, so that rejection stays cheap.
constexpr double kTasteLimit = 2.5;

// Noise and acceptance are drawn from tables of this many levels: finer than half stars and odds can show.
constexpr unsigned kLevelBits = 12;
constexpr std::size_t kLevels = std::size_t{1} << kLevelBits;

[[nodiscard]] float level(const std::vector<float>& table, std::uint32_t word) noexcept {
  return table[word >> (32 - kLevelBits)];
}

[[nodiscard]] float uniform(std::uint32_t word) noexcept {
  return (static_cast<float>(word >> 8) + 0.5F) * 0x1p-24F;
}

/// Appends "user item" and, if given, " value" with one decimal, and a line end.
void append_line(std::string& text, RowIndex user, RowIndex item, const int* half_stars) {
  std::array<char, 32> line;
  char* end = std::to_chars(line.data(), line.data() + 10, user).ptr;
  *end++ = ' ';
  end = std::to_chars(end, end + 10, item).ptr;
  if (half_stars != nullptr) {
    *end++ = ' ';
    *end++ = static_cast<char>('0' + *half_stars / 2);
    *end++ = '.';
    *end++ = *half_stars % 2 != 0 ? '5' : '0';
  }
  *end++ = '\n';
  text.append(line.data(), static_cast<std::size_t>(end - line.data()));
}

}  // namespace

EntryGenerator::EntryGenerator(const SynthOptions& options, const SynthModel& model, const AliasTable& items)
    : options_(options),
      model_(model),
      items_(items),
      noise_(normal_quantiles(kLevels, options.noise_stddev)),
      most_taste_(static_cast<float>(kTasteLimit * options.signal_stddev)),
      test_limit_(static_cast<std::uint64_t>(options.test_share * 0x1p32)),
      seen_by_(options.items) {
  for (std::size_t k = 0; k < kLevels; ++k) {
    log_uniform_.push_back(static_cast<float>(std::log((static_cast<double>(k) + 0.5) / kLevels)));
  }
}

float EntryGenerator::log_odds(RowIndex user, RowIndex item) const noexcept {
  return options_.is_implicit ? std::min(model_.taste(user, item), most_taste_) - most_taste_ : 0.0F;
}

void EntryGenerator::generate(RowIndex user, SynthBlock& block) {
  const std::uint32_t wanted = model_.entries_of_user[user];
  chosen_.clear();
  const std::uint64_t sparse_limit = options_.items / (options_.is_implicit ? 16 : 8);
  if (wanted <= sparse_limit) draw_sparse(user);
  if (chosen_.size() < wanted) draw_dense(user);
  for (std::size_t place = 0; place < chosen_.size(); ++place) append(user, chosen_[place], place, block);
}

/// Draws by popularity and rejects what the user has or does not like. Gives up (leaving too few) where the popular
/// items are used up and the rest is hardly ever drawn.
void EntryGenerator::draw_sparse(RowIndex user) {
  const std::uint32_t wanted = model_.entries_of_user[user];
  const std::uint64_t patience = std::uint64_t{wanted} * 64 + 1000;
  for (std::uint64_t attempt = 0; attempt < patience && chosen_.size() < wanted; ++attempt) {
    const auto words =
        philox({static_cast<std::uint32_t>(attempt), static_cast<std::uint32_t>(attempt >> 32), user, kDrawTag},
               options_.seed);
    const RowIndex item = items_.draw(words[0], words[1]);
    if (seen_by_[item] == user + 1) continue;
    if (options_.is_implicit && level(log_uniform_, words[2]) >= log_odds(user, item)) continue;
    seen_by_[item] = user + 1;
    chosen_.push_back(item);
    __builtin_prefetch(model_.item_factors.data() + std::size_t{item} * model_.rank);  // for append
  }
}

/// The same distribution by keys: the items with the smallest exponential variates of rate w_i (Efraimidis and Spirakis
/// 2006), compared by their logarithms. O(items).
void EntryGenerator::draw_dense(RowIndex user) {
  const auto items = static_cast<RowIndex>(options_.items);
  const std::uint32_t wanted = model_.entries_of_user[user];
  keys_.resize(items);
  std::array<std::uint32_t, 4> words{};
  for (RowIndex item = 0; item < items; ++item) {
    if (item % 4 == 0) words = philox({item / 4, 0, user, kKeyTag}, options_.seed);
    const float log_weight = model_.log_popularity[item] + log_odds(user, item);
    keys_[item] = {std::log(-std::log(uniform(words[item % 4]))) - log_weight, item};
  }
  const auto end = keys_.begin() + wanted;
  std::nth_element(keys_.begin(), end - 1, keys_.end());
  std::sort(keys_.begin(), end);
  chosen_.clear();
  for (auto key = keys_.begin(); key != end; ++key) chosen_.push_back(key->second);
}

void EntryGenerator::append(RowIndex user, RowIndex item, std::size_t place, SynthBlock& block) const {
  const auto words = philox({item, 0, user, kEntryTag}, options_.seed);
  // A user's first entry stays in training, so that training knows every user that has entries.
  const bool is_test = place > 0 && words[0] < test_limit_;
  std::string& text = is_test ? block.test : block.train;
  ++(is_test ? block.test_entries : block.train_entries);
  if (options_.is_implicit) {
    append_line(text, user, item, nullptr);
    return;
  }
  const float truth = static_cast<float>(options_.mean) + model_.user_biases[user] + model_.item_biases[item] +
                      model_.taste(user, item);
  const float rating = truth + level(noise_, words[1]);
  const int half_stars = static_cast<int>(std::clamp(rating * 2.0F, 1.0F, 10.0F) + 0.5F);
  append_line(text, user, item, &half_stars);
  if (is_test) {
    const double error = half_stars * 0.5 - static_cast<double>(truth);
    block.squared_error += error * error;
  }
}

}  // namespace concerto
