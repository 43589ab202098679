// A program run as a child process, its output in a file. What it was asked to be, not what it did: that is in the
// file.
#pragma once

#include <filesystem>
#include <stop_token>
#include <string>
#include <vector>

namespace concerto::bench {

/// Runs `command` (its first word is the program's path) with nothing to read and its output appended to `log`, and
/// waits for its end: its exit status, or 128 + the signal that ended it. Variables that would make it a part of some
/// other job are not passed on. A stop request is passed on as SIGTERM, once, and then waited for; where this process
/// dies, the child gets SIGTERM too. Error{kIo} naming the program or the file where the system refuses.
[[nodiscard]] int run_child(const std::vector<std::string>& command, const std::filesystem::path& log,
                            const std::stop_token& stop);

/// This program's own file.
[[nodiscard]] std::filesystem::path own_program();

/// concerto-launch beside this program, or on PATH. Error{kBadInput} where it is at neither.
[[nodiscard]] std::filesystem::path find_launcher();

/// The last lines of a text that say something, on one line of at most `most` bytes.
[[nodiscard]] std::string last_words(const std::string& text, std::size_t most);

}  // namespace concerto::bench
