// The program `concerto`. Everything it does is in cli.cpp and the commands.
#include <iostream>
#include <string>
#include <vector>

#include "cli.hpp"

int main(int count, char** words) {
  return concerto::run_program(std::vector<std::string>(words + 1, words + count), std::cout, std::cerr);
}
