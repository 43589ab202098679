// The program `concerto-launch`. Everything it does is in launch.cpp and what that composes.
#include <string>
#include <vector>

#include "launch.hpp"

int main(int count, char** words) {
  return concerto::run_launcher(std::vector<std::string>(words + 1, words + count));
}
