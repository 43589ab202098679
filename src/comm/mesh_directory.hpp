// Where the ranks of a mesh are reached, as the store says.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "concerto/base/ids.hpp"
#include "concerto/comm/store.hpp"

namespace concerto {

/// What a rank says of itself: "INCARNATION HOST:PORT".
struct MeshPlace {
  Incarnation incarnation = 0;
  std::string address;
  friend bool operator==(const MeshPlace&, const MeshPlace&) = default;
};
[[nodiscard]] std::string to_text(const MeshPlace& place);
/// Nothing for anything that to_text does not write.
[[nodiscard]] std::optional<MeshPlace> parse_mesh_place(std::string_view text);

/// Writes where `rank` is. Error{kIo} where the store does not take it; Error{kBadInput} where a later incarnation of
/// the rank has been there.
void publish_place(Store& store, Rank rank, std::string_view prefix, const MeshPlace& place);

/// Follows what ranks publish, over failures of the store. For one thread, but for wake().
class MeshDirectory {
 public:
  MeshDirectory(Store& store, std::string prefix) : store_(store), prefix_(std::move(prefix)) {}
  /// Waits at most for `limit`, or until wake(), and tells of places that were published; possibly of one again.
  void follow(std::chrono::milliseconds limit, const std::function<void(Rank, MeshPlace)>& on_place);
  /// The follow() that waits, or else the one to come, returns soon.
  void wake();

 private:
  [[nodiscard]] bool open(const std::function<void(Rank, MeshPlace)>& on_place);
  void tell(const StoreEntry& entry, const std::function<void(Rank, MeshPlace)>& on_place) const;
  void pause(std::chrono::milliseconds limit);

  Store& store_;
  const std::string prefix_;
  std::mutex mutex_;  // of what follows
  std::condition_variable woken_;
  bool is_woken_ = false;
  std::shared_ptr<StoreWatch> watch_;
};

}  // namespace concerto
