// The command line: what the user typed becomes one of the argument structs of commands.hpp.
#pragma once

#include <ostream>
#include <string>
#include <vector>

namespace concerto {

/// Runs the program with the arguments behind its name and returns its exit status. Results go to `out`; log lines,
/// progress and the one line of an error (`concerto: error: WHERE: MESSAGE (CAUSE)`) to `err`.
[[nodiscard]] int run_program(const std::vector<std::string>& arguments, std::ostream& out, std::ostream& err);

}  // namespace concerto
