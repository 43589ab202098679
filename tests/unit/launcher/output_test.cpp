// Lines out of bytes, and lines into descriptors that are slow, shared or gone.
#include <array>
#include <climits>
#include <csignal>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <unistd.h>

#include "descriptor.hpp"
#include "line_buffer.hpp"
#include "output_sink.hpp"

namespace concerto {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

struct Lines {
  std::vector<std::string> got;
  LineBuffer buffer;
  void append(std::string_view bytes) {
    buffer.append(bytes, [this](std::string line) { got.push_back(std::move(line)); });
  }
  void flush() {
    buffer.flush([this](std::string line) { got.push_back(std::move(line)); });
  }
};

TEST(LineBuffer, CutsAtNewlinesWhereverTheBytesAreCut) {
  const std::string text = "first\n\nthird line\nlast without an end";
  for (std::size_t size = 1; size <= text.size(); ++size) {
    Lines lines;
    for (std::size_t at = 0; at < text.size(); at += size) lines.append(std::string_view(text).substr(at, size));
    EXPECT_THAT(lines.got, ElementsAre("first", "", "third line"));
    lines.flush();
    EXPECT_THAT(lines.got, ElementsAre("first", "", "third line", "last without an end"));
    lines.flush();
    EXPECT_EQ(lines.got.size(), 4U);
  }
}

TEST(LineBuffer, ALongLineComesInPiecesAndNothingIsLost) {
  constexpr std::size_t kLongest = LineBuffer::kLongestLine;
  Lines lines;
  lines.append(std::string(kLongest, 'a') + "\n");  // just fits
  EXPECT_THAT(lines.got, ElementsAre(std::string(kLongest, 'a')));
  lines.got.clear();
  lines.append(std::string(kLongest + 1, 'b'));
  EXPECT_THAT(lines.got, ElementsAre(std::string(kLongest, 'b')));
  lines.append("\n");
  EXPECT_EQ(lines.got.back(), "b");
  lines.got.clear();
  lines.append(std::string(kLongest, 'c'));
  lines.append("\n");
  EXPECT_THAT(lines.got, ElementsAre(std::string(kLongest, 'c')));
  lines.append(std::string_view("\0x\n", 3));
  EXPECT_EQ(lines.got.back(), std::string("\0x", 2));
}

struct TestPipe {
  Descriptor reading;
  Descriptor writing;
  TestPipe() {
    std::array<int, 2> ends{};
    EXPECT_EQ(pipe2(ends.data(), O_CLOEXEC), 0);
    reading = Descriptor(ends[0]);
    writing = Descriptor(ends[1]);
    fcntl(reading.get(), F_SETFL, O_NONBLOCK);  // the reader's side; the writer's stays as it was given
  }
  std::string read_some() const {
    std::string text(std::size_t{1} << 20, '\0');
    const ssize_t count = read(reading.get(), text.data(), text.size());
    text.resize(count > 0 ? static_cast<std::size_t>(count) : 0);
    return text;
  }
};

TEST(OutputSink, NeverWaitsAndLosesNothing) {
  const TestPipe pipe;
  OutputSink sink(pipe.writing.get());
  std::string expected;
  for (int i = 0; i < 20'000; ++i) {
    const std::string line = std::to_string(i) + std::string(static_cast<std::size_t>(i % 100), 'x');
    sink.write_line("[rank 0] ", line);
    expected += "[rank 0] " + line + "\n";
  }
  const std::string huge(std::size_t{300} << 10, 'y');
  sink.write_line("", huge);
  expected += huge + "\n";
  EXPECT_TRUE(sink.is_full());
  std::string got;
  while (sink.has_pending()) {
    sink.pump();  // returns although the pipe is full
    got += pipe.read_some();
  }
  got += pipe.read_some();
  EXPECT_TRUE(got == expected);
  EXPECT_FALSE(sink.is_full());
}

TEST(OutputSink, WritesOfAFullPipeEndAtLines) {
  const TestPipe pipe;
  OutputSink sink(pipe.writing.get());
  for (int i = 0; i < 3'000; ++i) sink.write_line("", std::string(99, 'z'));
  sink.pump();
  const std::string got = pipe.read_some();
  EXPECT_TRUE(sink.has_pending());
  EXPECT_EQ(got.size() % 100, 0U);  // another writer of the pipe would not have torn a line
}

TEST(OutputSink, ALostReaderIsNoticedNotDiedOf) {
  signal(SIGPIPE, SIG_IGN);
  TestPipe pipe;
  OutputSink sink(pipe.writing.get());
  pipe.reading.reset();
  sink.write_line("", "x");
  sink.pump();
  EXPECT_TRUE(sink.is_broken());
  EXPECT_EQ(sink.error(), EPIPE);
  EXPECT_FALSE(sink.has_pending());
  sink.write_line("", "y");
  EXPECT_FALSE(sink.has_pending());
}

TEST(OutputSink, KnowsWhetherTwoDescriptorsAreOneFile) {
  const TestPipe one;
  const TestPipe other;
  const Descriptor copy(dup(one.writing.get()));
  EXPECT_TRUE(is_same_file(one.writing.get(), copy.get()));
  EXPECT_FALSE(is_same_file(one.writing.get(), other.writing.get()));
}

}  // namespace
}  // namespace concerto
