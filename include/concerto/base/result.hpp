// What a run must be able to survive, as a value: a peer lost, a time limit passed, a key that has changed.
//
// An Error (error.hpp) ends the run; a Failure is an answer that the caller has to look at. Functions that talk to
// other processes return Result.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <variant>

#include "concerto/base/check.hpp"

namespace concerto {

/// What kind of thing went wrong with another process.
enum class FailureKind : std::uint8_t {
  kTimeout,      ///< no answer within the limit
  kUnreachable,  ///< no connection could be made
  kLost,         ///< a connection ended, or a lease did
  kRefused,      ///< the other side does not allow it: a certificate, a role, a version
  kConflict,     ///< the state is not what the caller expected: a key has changed, a name is taken
  kMismatch,     ///< two processes do not do the same thing
  kCorrupt,      ///< bytes that cannot be what was sent
  kAborted,      ///< given up by this process
};

/// `message` is one line for a person: what failed, with whom, at what.
struct Failure {
  FailureKind kind = FailureKind::kLost;
  std::string message;
};

/// A value or a Failure. Like std::expected, which g++ 12 does not have.
template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : content_(std::in_place_index<0>, std::move(value)) {}            // NOLINT: implicit by design
  Result(Failure failure) : content_(std::in_place_index<1>, std::move(failure)) {}  // NOLINT: implicit by design

  [[nodiscard]] bool ok() const noexcept { return content_.index() == 0; }
  explicit operator bool() const noexcept { return ok(); }
  /// Only where ok().
  [[nodiscard]] T& value() & {
    CONCERTO_CHECK(ok(), "the value of a failed result");
    return std::get<0>(content_);
  }
  [[nodiscard]] const T& value() const& {
    CONCERTO_CHECK(ok(), "the value of a failed result");
    return std::get<0>(content_);
  }
  /// By value: what is taken from a temporary result outlives it, also in a range-for.
  [[nodiscard]] T value() && {
    CONCERTO_CHECK(ok(), "the value of a failed result");
    return std::get<0>(std::move(content_));
  }
  /// Only where not ok().
  [[nodiscard]] const Failure& failure() const& {
    CONCERTO_CHECK(!ok(), "the failure of a result that has a value");
    return std::get<1>(content_);
  }

 private:
  std::variant<T, Failure> content_;
};

/// Done, or a Failure.
template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Failure failure) : failure_(std::move(failure)), ok_(false) {}  // NOLINT: implicit by design

  [[nodiscard]] bool ok() const noexcept { return ok_; }
  explicit operator bool() const noexcept { return ok_; }
  [[nodiscard]] const Failure& failure() const& {
    CONCERTO_CHECK(!ok_, "the failure of a result that has none");
    return failure_;
  }

 private:
  Failure failure_;
  bool ok_ = true;
};

}  // namespace concerto
