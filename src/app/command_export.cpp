// `concerto export MODEL --format F --out PATH`: the factors for other programs.
#include "concerto/base/error.hpp"
#include "concerto/model/model.hpp"

#include "commands.hpp"
#include "inputs.hpp"

namespace concerto {
namespace {

ExportFormat export_format(const std::string& name) {
  if (name == "npy") return ExportFormat::kNpy;
  if (name == "safetensors") return ExportFormat::kSafetensors;
  if (name == "text") return ExportFormat::kText;
  throw Error(ErrorCode::kBadInput, "is npy, safetensors or text", "--format " + name);
}

}  // namespace

void run_export(const ExportArguments& arguments, Console& console) {
  const ExportFormat format = export_format(arguments.format);
  require_model(arguments.model, "MODEL");
  require_output_parent(arguments.out, "--out");
  require_apart({"--out", arguments.out}, {{"MODEL", arguments.model}});
  export_model(open_model(arguments.model, "MODEL", 1), format, arguments.out);
  console.out << "exported to " << arguments.out << std::endl;
}

}  // namespace concerto
