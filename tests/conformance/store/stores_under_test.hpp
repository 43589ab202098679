// The stores that the conformance suite runs on, and what it can do to each: cut it off, stop it, forget its history.
#pragma once

#include <chrono>
#include <memory>
#include <ostream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "concerto/comm/stores.hpp"

namespace concerto::test {

/// The value, or an exception with the failure's words, which ends the test and no other.
template <class T>
T must(Result<T> result) {
  if (!result) throw std::runtime_error(result.failure().message);
  return std::move(result).value();
}

/// A running store with a job of its own. Everything is done from the test's thread.
class StoreSite {
 public:
  virtual ~StoreSite() = default;
  /// A client with all rights, as another process of the job would have it.
  [[nodiscard]] virtual std::unique_ptr<Store> client(const StoreLimits& limits) = 0;
  [[nodiscard]] std::unique_ptr<Store> client() { return client({.call = std::chrono::milliseconds{20'000}}); }
  /// A client of another job, where jobs share a store; null where each has its own.
  [[nodiscard]] virtual std::unique_ptr<Store> client_of_another_job() = 0;
  /// Ends all connections; nobody can connect until restore(). What the store holds stays. (etcd is killed and
  /// started.)
  virtual void interrupt() = 0;
  virtual void restore() = 0;
  /// Connections stay, but nobody answers until thaw().
  virtual void freeze() = 0;
  virtual void thaw() = 0;
  /// Changes up to now are no longer in the history.
  virtual void compact() = 0;
};

struct StoreCase {
  std::string name;
  /// Why it cannot be run here ("SKIPPED: ..."), or empty.
  std::string (*why_not)();
  std::unique_ptr<StoreSite> (*make)();
};
/// For messages of tests.
inline void PrintTo(const StoreCase& store, std::ostream* out) {
  *out << store.name;
}
[[nodiscard]] std::vector<StoreCase> store_cases();

}  // namespace concerto::test
