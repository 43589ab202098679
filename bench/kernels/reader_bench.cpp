// Reading of text ratings: lines to columns of ids and values, nothing else. The file is the one that the environment
// variable CONCERTO_BENCH_TEXT names, else 2 million generated lines. The argument is the number of threads.
#include <cstdlib>
#include <filesystem>
#include <string>

#include <benchmark/benchmark.h>
#include <fmt/format.h>
#include <unistd.h>

#include "concerto/base/file.hpp"
#include "concerto/base/rng.hpp"
#include "concerto/data/reader.hpp"

namespace concerto::bench {
namespace {

/// A text file that is removed when the program ends.
class GeneratedText {
 public:
  GeneratedText() : path_(std::filesystem::temp_directory_path() / fmt::format("concerto-bench-{}.txt", getpid())) {
    constexpr int kLines = 2'000'000;
    Random random(1, 0);
    fmt::memory_buffer text;
    for (int line = 0; line < kLines; ++line) {
      fmt::format_to(fmt::appender(text), "{} {} {:.2f}\n", random.below(100'000), random.below(10'000),
                     1.0 + 4.0 * random.uniform());
    }
    write_file(path_, {text.data(), text.size()});
  }
  ~GeneratedText() {
    std::error_code ignored;
    std::filesystem::remove(path_, ignored);
  }
  GeneratedText(const GeneratedText&) = delete;
  GeneratedText& operator=(const GeneratedText&) = delete;
  [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }

 private:
  std::filesystem::path path_;
};

std::filesystem::path text_file() {
  const char* const named = std::getenv("CONCERTO_BENCH_TEXT");
  if (named != nullptr) return named;
  static const GeneratedText generated;
  return generated.path();
}

void read_text(benchmark::State& state) {
  const std::filesystem::path file = text_file();
  ThreadPool pool(static_cast<unsigned>(state.range(0)));
  std::uint64_t bytes = 0;
  for (auto _ : state) {
    const RawRatings ratings = read_ratings(file, {}, pool);
    benchmark::DoNotOptimize(ratings.values.data());
    bytes += ratings.bytes;
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(bytes));
}
BENCHMARK(read_text)->ArgName("threads")->Arg(1)->Arg(2)->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace concerto::bench
