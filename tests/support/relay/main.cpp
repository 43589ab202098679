// The relay as a program.
//
//   relay [--seed N] [--schedule FILE] FROM=TO ...          FROM and TO are HOST:PORT; port 0 of FROM: any
//
// Prints "listening ADDRESS" for each pair, in their order. Then lines on standard input are commands (relay.hpp), each
// answered by one line; the end of the input ends the relay. A schedule is a file of lines "MILLISECONDS COMMAND",
// counted from the start; a relay whose input is a terminal or a file that has ended lives on until its schedule is
// over, if it has one.
#include <charconv>
#include <fstream>
#include <iostream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/streambuf.hpp>
#include <unistd.h>

#include "relay.hpp"

namespace concerto::test {
namespace {

using bench::Relay;

namespace asio = boost::asio;
using Code = boost::system::error_code;

struct Scheduled {
  std::int64_t at_ms = 0;
  std::string command;
};

std::vector<Scheduled> read_schedule(const std::string& file) {
  std::ifstream stream(file);
  if (!stream) throw std::runtime_error(file + " cannot be read");
  std::vector<Scheduled> all;
  for (std::string line; std::getline(stream, line);) {
    if (line.empty() || line.front() == '#') continue;
    std::istringstream words(line);
    Scheduled one;
    if (!(words >> one.at_ms) || !std::getline(words >> std::ws, one.command)) {
      throw std::runtime_error(file + ": no MILLISECONDS COMMAND: " + line);
    }
    all.push_back(one);
  }
  return all;
}

class Program {
 public:
  explicit Program(std::uint64_t seed) : relay_(io_, seed), input_(io_, ::dup(STDIN_FILENO)) {}

  void forward(const std::string& pair) {
    const std::size_t equals = pair.find('=');
    if (equals == std::string::npos) throw std::runtime_error("no FROM=TO: " + pair);
    std::cout << "listening " << relay_.forward(pair.substr(0, equals), pair.substr(equals + 1)) << std::endl;
  }
  void schedule(const std::vector<Scheduled>& all) {
    for (const Scheduled& one : all) {
      auto timer = std::make_shared<asio::steady_timer>(io_, std::chrono::milliseconds(one.at_ms));
      ++scheduled_;
      timer->async_wait([this, timer, command = one.command](const Code& error) {
        if (error) return;
        const std::string answer = relay_.command(command);
        if (answer != "ok") std::cout << answer << std::endl;
        --scheduled_;
        end_if_over();
      });
    }
  }
  void run() {
    read_command();
    io_.run();
  }

 private:
  void read_command() {
    asio::async_read_until(input_, buffer_, '\n', [this](const Code& error, std::size_t) {
      if (error) {
        is_input_over_ = true;
        return end_if_over();
      }
      std::istream stream(&buffer_);
      std::string line;
      std::getline(stream, line);
      std::cout << relay_.command(line) << std::endl;
      read_command();
    });
  }
  void end_if_over() {
    if (!is_input_over_ || scheduled_ > 0) return;
    relay_.stop();
    io_.stop();
  }

  asio::io_context io_{1};
  Relay relay_;
  asio::posix::stream_descriptor input_;
  asio::streambuf buffer_;
  int scheduled_ = 0;
  bool is_input_over_ = false;
};

int run(const std::vector<std::string>& words) {
  std::uint64_t seed = 0;
  std::vector<Scheduled> schedule;
  std::vector<std::string> pairs;
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (words[i] == "--seed" && i + 1 < words.size()) {
      seed = std::stoull(words[++i]);
    } else if (words[i] == "--schedule" && i + 1 < words.size()) {
      schedule = read_schedule(words[++i]);
    } else {
      pairs.push_back(words[i]);
    }
  }
  if (pairs.empty()) throw std::runtime_error("relay [--seed N] [--schedule FILE] FROM=TO ...");
  Program program(seed);
  for (const std::string& pair : pairs) program.forward(pair);
  program.schedule(schedule);
  program.run();
  return 0;
}

}  // namespace
}  // namespace concerto::test

int main(int count, char** arguments) {
  try {
    return concerto::test::run({arguments + 1, arguments + count});
  } catch (const std::exception& error) {
    std::cerr << "relay: " << error.what() << std::endl;
    return 2;
  }
}
