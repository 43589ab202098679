// `concerto similar MODEL --items A,B`: the items whose factors point in the most similar direction.
#include <algorithm>

#include "concerto/base/error.hpp"
#include "concerto/model/model.hpp"

#include "commands.hpp"
#include "engine.hpp"
#include "inputs.hpp"
#include "lists.hpp"

namespace concerto {

void run_similar(const SimilarArguments& arguments, Console& console) {
  const ListFormat format = parse_list_format(arguments.format);
  const Model model = open_model(arguments.model, "MODEL", 2);
  const std::vector<RowIndex> rows = rows_of(arguments.items, model.item_ids, "--items");
  Engine engine(arguments.compute, console.log);
  Backend& backend = engine.backend();
  const auto items = backend.create_table(model.items.shape());
  backend.write_rows(*items, {0, model.items.rows()}, model.items);

  TopKQuery query;
  query.queries = items.get();
  query.rows = rows;
  query.candidates = items.get();
  query.k = std::min(arguments.top, model.items.rows()) + 1;  // one more, for the item itself
  query.cosine = true;
  query.tie_order = model.item_ids.rank_order();
  const TopKResult lists = backend.top_k(query);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    std::vector<RowIndex> others;
    std::vector<float> scores;
    for (std::size_t place = i * query.k; place < (i + 1) * query.k && others.size() < arguments.top; ++place) {
      if (lists.candidates[place] == rows[i]) continue;
      others.push_back(lists.candidates[place]);
      scores.push_back(lists.scores[place]);
    }
    write_list(console.out, format, model.item_ids.text(rows[i]), others, scores, 0.0, model.item_ids);
  }
  console.out << std::flush;
}

}  // namespace concerto
