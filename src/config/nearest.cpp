// Edit distance by dynamic programming over three rows, and the searches that use it.
#include "nearest.hpp"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

namespace concerto::config {
namespace {

constexpr std::size_t kMostCompared = 64;

std::pair<std::string_view, std::string_view> table_and_leaf(std::string_view name) {
  const std::size_t dot = name.rfind('.');
  if (dot == std::string_view::npos) return {{}, name};
  return {name.substr(0, dot), name.substr(dot + 1)};
}

template <class Cost>
std::string_view cheapest(std::span<const std::string_view> known, const Cost& cost) {
  return *std::min_element(known.begin(), known.end(),
                           [&](std::string_view a, std::string_view b) { return cost(a) < cost(b); });
}

}  // namespace

std::size_t edit_distance(std::string_view a, std::string_view b) {
  a = a.substr(0, kMostCompared);
  b = b.substr(0, kMostCompared);
  std::array<std::vector<std::size_t>, 3> rows;  // of prefix lengths i - 2, i - 1, i of a
  for (auto& row : rows) row.resize(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) rows[2][j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::rotate(rows.begin(), rows.begin() + 1, rows.end());
    rows[2][0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replaced = rows[1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      rows[2][j] = std::min({rows[1][j] + 1, rows[2][j - 1] + 1, replaced});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        rows[2][j] = std::min(rows[2][j], rows[0][j - 2] + 1);
      }
    }
  }
  return rows[2][b.size()];
}

std::string_view nearest_word(std::string_view word, std::span<const std::string_view> known) {
  return cheapest(known, [&](std::string_view candidate) { return edit_distance(word, candidate); });
}

std::string_view nearest_key(std::string_view name, std::span<const std::string_view> known) {
  const auto [table, leaf] = table_and_leaf(name);
  return cheapest(known, [&, table = table, leaf = leaf](std::string_view candidate) {
    const auto [known_table, known_leaf] = table_and_leaf(candidate);
    const std::size_t tables = std::min<std::size_t>(edit_distance(table, known_table), 3);
    return 4 * edit_distance(leaf, known_leaf) + tables;
  });
}

}  // namespace concerto::config
