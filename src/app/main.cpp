// The program `concerto`: hands the command line to the commands and turns errors into one line and an exit status.
#include "concerto/base/error.hpp"

int main() { return concerto::exit_status(concerto::ErrorCode::kBadInput); }
