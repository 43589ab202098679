// Log lines by spdlog; the only file that sees it.
#include "log.hpp"

#include <spdlog/logger.h>
#include <spdlog/sinks/ostream_sink.h>

namespace concerto {

struct Log::State {
  spdlog::logger logger;
};

Log::Log(std::ostream& stream)
    : state_(std::make_unique<State>(
          State{spdlog::logger("concerto", std::make_shared<spdlog::sinks::ostream_sink_st>(stream, true))})) {
  state_->logger.set_pattern("%H:%M:%S %v");
}

Log::~Log() = default;
Log::Log(Log&&) noexcept = default;

void Log::info(const std::string& line) {
  state_->logger.info("{}", line);
}
void Log::warn(const std::string& line) {
  state_->logger.warn("warning: {}", line);
}

}  // namespace concerto
