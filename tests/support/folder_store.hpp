// A store in a folder of the machine, for tests whose ranks are threads or processes of it: each key is a file. It has
// what a rendezvous needs; leases and locks it refuses.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "concerto/base/check.hpp"
#include "concerto/comm/store.hpp"

namespace concerto {

/// A new folder, removed with all in it by the process that made it.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "concerto_XXXXXX").string();
    CONCERTO_CHECK(mkdtemp(pattern.data()) != nullptr, "no temporary folder can be made");
    path_ = pattern;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    if (getpid() == maker_) std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }

 private:
  std::filesystem::path path_;
  pid_t maker_ = getpid();
};

class FolderStore final : public Store {
 public:
  explicit FolderStore(std::filesystem::path folder) : folder_(std::move(folder)) {}

  [[nodiscard]] std::string description() const override { return "a folder at " + folder_.string(); }

  [[nodiscard]] Result<Revision> put(std::string_view key, std::string_view value, LeaseId) override {
    std::filesystem::rename(written(value), file_of(key));
    return Revision{1};
  }
  [[nodiscard]] Result<std::optional<StoreEntry>> get(std::string_view key) override { return entry_of(file_of(key)); }
  [[nodiscard]] Result<Listing> list(std::string_view prefix) override {
    Listing listing{1, {}};
    for (const auto& file : std::filesystem::directory_iterator(folder_)) {
      if (file.path().filename().string().starts_with('.')) continue;
      const auto entry = entry_of(file.path());
      if (entry && entry->key.starts_with(prefix)) listing.entries.push_back(*entry);
    }
    return listing;
  }
  /// Only of keys that are not there yet.
  [[nodiscard]] Result<SwapOutcome> compare_and_swap(std::string_view key, Revision expected, std::string_view value,
                                                     LeaseId) override {
    CONCERTO_CHECK(expected == 0, "this store swaps only keys that are not there");
    const std::filesystem::path made = written(value);
    const bool swapped = link(made.c_str(), file_of(key).c_str()) == 0;  // fails if the name is taken
    std::filesystem::remove(made);
    return SwapOutcome{swapped, Revision{swapped}, swapped ? std::nullopt : entry_of(file_of(key))};
  }
  [[nodiscard]] Result<bool> erase(std::string_view key) override { return std::filesystem::remove(file_of(key)); }

  [[nodiscard]] Result<LeaseId> grant_lease(std::chrono::milliseconds) override { return refusal(); }
  [[nodiscard]] Result<std::chrono::milliseconds> keep_alive(LeaseId) override { return refusal(); }
  [[nodiscard]] Result<void> revoke(LeaseId) override { return refusal(); }
  [[nodiscard]] Result<std::unique_ptr<StoreWatch>> watch(std::string_view prefix, Revision) override {
    return std::unique_ptr<StoreWatch>(std::make_unique<Watch>(*this, std::string(prefix)));
  }
  [[nodiscard]] Result<std::unique_ptr<StoreLock>> lock(std::string_view, LeaseId, std::chrono::milliseconds) override {
    return refusal();
  }

 private:
  /// Every batch is the whole contents of the prefix.
  class Watch final : public StoreWatch {
   public:
    Watch(FolderStore& store, std::string prefix) : store_(store), prefix_(std::move(prefix)) {
      notices_ = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
      woken_ = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
      CONCERTO_CHECK(inotify_add_watch(notices_, store.folder_.c_str(), IN_CREATE | IN_MOVED_TO | IN_DELETE) >= 0,
                     "the folder cannot be watched");
    }
    ~Watch() override {
      close(notices_);
      close(woken_);
    }
    [[nodiscard]] Result<Batch> next(std::chrono::milliseconds limit) override {
      if (is_begun_) {
        std::array<pollfd, 2> waited{pollfd{notices_, POLLIN, 0}, pollfd{woken_, POLLIN, 0}};
        (void)poll(waited.data(), waited.size(), static_cast<int>(limit.count()));
        eventfd_t ignored = 0;
        (void)eventfd_read(woken_, &ignored);
        char notices[4096];
        while (read(notices_, notices, sizeof(notices)) > 0) {
        }
      }
      is_begun_ = true;
      Batch batch{true, {}};
      Listing listing = store_.list(prefix_).value();
      for (StoreEntry& entry : listing.entries) batch.events.push_back({false, std::move(entry)});
      return batch;
    }
    void interrupt() noexcept override { (void)eventfd_write(woken_, 1); }

   private:
    FolderStore& store_;
    std::string prefix_;
    int notices_ = -1;
    int woken_ = -1;
    bool is_begun_ = false;
  };

  static Failure refusal() { return {FailureKind::kRefused, "a folder has no leases and locks"}; }

  /// Keys have slashes, files must not.
  [[nodiscard]] std::filesystem::path file_of(std::string_view key) const {
    std::string name(key);
    for (char& letter : name) letter = letter == '/' ? '!' : letter;
    return folder_ / name;
  }
  [[nodiscard]] static std::optional<StoreEntry> entry_of(const std::filesystem::path& file) {
    std::ifstream stream(file, std::ios::binary);
    if (!stream) return std::nullopt;
    StoreEntry entry;
    entry.key = file.filename().string();
    for (char& letter : entry.key) letter = letter == '!' ? '/' : letter;
    entry.value.assign(std::istreambuf_iterator<char>(stream), {});
    entry.created = entry.modified = 1;
    return entry;
  }
  [[nodiscard]] std::filesystem::path written(std::string_view value) {
    const std::filesystem::path file =
        folder_ / ("." + std::to_string(getpid()) + "." + std::to_string(next_.fetch_add(1)));
    std::ofstream(file, std::ios::binary) << value;
    return file;
  }

  std::filesystem::path folder_;
  static inline std::atomic<int> next_{0};  ///< of all stores of this process
};

}  // namespace concerto
