// The text of an Error and the exit statuses of processes.
#include "concerto/base/error.hpp"

#include <cerrno>
#include <cstring>
#include <utility>

namespace concerto {
namespace {

std::string compose(const std::string& message, const std::string& where, const std::string& cause) {
  std::string text = where.empty() ? message : where + ": " + message;
  if (!cause.empty()) text += " (" + cause + ")";
  return text;
}

}  // namespace

Error::Error(ErrorCode code, std::string message, std::string where, std::string cause)
    : std::runtime_error(compose(message, where, cause)),
      code_(code),
      message_(std::move(message)),
      where_(std::move(where)),
      cause_(std::move(cause)) {}

int exit_status(ErrorCode code) noexcept {
  switch (code) {
    case ErrorCode::kBadInput:
    case ErrorCode::kUnsupported:
    case ErrorCode::kOutOfMemory:
    case ErrorCode::kCorrupt:
      return 2;
    case ErrorCode::kIo:
      return 1;
    case ErrorCode::kCancelled:
      return 130;
  }
  return 1;
}

Error io_error(std::string_view action, std::string_view path) {
  const std::string reason = std::strerror(errno);
  return {ErrorCode::kIo, "cannot " + std::string(action) + ": " + reason, std::string(path)};
}

}  // namespace concerto
