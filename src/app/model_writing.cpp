// The writing of a model by the ranks of a run (see model_writing.hpp).
#include "model_writing.hpp"

#include <algorithm>
#include <array>
#include <filesystem>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <system_error>
#include <vector>

#include <fmt/format.h>

#include "concerto/base/error.hpp"
#include "concerto/base/file.hpp"
#include "concerto/model/model_writer.hpp"

#include "rank_steps.hpp"

namespace concerto {
namespace {

namespace fs = std::filesystem;

constexpr std::uint32_t kWritingTable = 5;  // of operation tags; 0 to 4 are the driver's
constexpr const char* kTokenName = "token";

/// Where the directory is, and what proves that it is the same one. Zero-terminated texts.
struct Announcement {
  std::array<char, 4096> folder{};
  std::array<char, 64> token{};
};
static_assert(std::is_trivially_copyable_v<Announcement>);

std::string random_token() {
  std::random_device device;
  std::string token;
  for (int word = 0; word < 4; ++word) token += fmt::format("{:08x}", device());
  return token;
}

/// One rank's part.
class Writing {
 public:
  Writing(const Model& model, const ShardPlan& plan, RankSteps& steps)
      : model_(model),
        plan_(plan),
        steps_(steps),
        shape_{model.users.shape(), model.items.shape()},
        checksums_(shape_) {}

  void make(const fs::path& target);
  void find();
  void write_rows();
  void exchange_checksums();
  void commit();
  [[nodiscard]] Rank writers() const {
    return 1 + static_cast<Rank>(std::count(sees_.begin() + 1, sees_.end(), std::uint8_t{1}));
  }

 private:
  /// Who writes the blocks of a rank.
  [[nodiscard]] Rank writer_of(Rank owner) const { return sees_[owner] != 0 ? owner : 0; }
  void look();

  const Model& model_;
  const ShardPlan& plan_;
  RankSteps& steps_;
  ModelShape shape_;
  PieceChecksums checksums_;
  Announcement announcement_;
  std::vector<std::uint8_t> sees_;  ///< by rank
  std::optional<StagedModel> staged_;
  std::optional<ModelRowFiles> files_;
};

/// Rank 0's. The path is absolute: others may work elsewhere.
void Writing::make(const fs::path& target) {
  staged_.emplace(target);
  const std::string folder = fs::absolute(staged_->folder()).string();
  if (folder.size() >= announcement_.folder.size()) throw Error(ErrorCode::kBadInput, "is too long a path", folder);
  const std::string token = random_token();
  write_file(staged_->folder() / kTokenName, token);
  files_.emplace(staged_->folder(), shape_, ModelRowFiles::Open::kMake);
  folder.copy(announcement_.folder.data(), folder.size());
  token.copy(announcement_.token.data(), token.size());
}

/// Opens the files, where this rank sees the directory and may write there.
void Writing::look() {
  announcement_.folder.back() = announcement_.token.back() = '\0';
  const fs::path folder = announcement_.folder.data();
  try {
    if (read_file(folder / kTokenName) != announcement_.token.data()) return;
    files_.emplace(folder, shape_, ModelRowFiles::Open::kExisting);
  } catch (const Error&) {
    files_.reset();  // rank 0 writes what this rank cannot
  }
}

void Writing::find() {
  steps_.broadcast(0, std::as_writable_bytes(std::span(&announcement_, 1)));
  if (steps_.rank() != 0) look();
  sees_.assign(steps_.ranks(), 0);
  sees_[steps_.rank()] = files_ ? 1 : 0;
  std::vector<GatherBlock> blocks;
  for (Rank r = 0; r < steps_.ranks(); ++r) blocks.push_back({r, r, 1});
  steps_.all_gather(std::as_writable_bytes(std::span(sees_)), blocks);
}

void Writing::write_rows() {
  if (!files_) return;
  for (const Side side : {Side::kUsers, Side::kItems}) {
    const TableShards& shards = plan_.of(side);
    for (std::size_t b = 0; b < shards.blocks.size(); ++b) {
      if (writer_of(shards.owners[b]) != steps_.rank()) continue;
      files_->write(side, shards.blocks[b], side == Side::kUsers ? model_.users : model_.items, checksums_);
    }
  }
  files_->finish();
}

void Writing::exchange_checksums() {
  constexpr std::size_t kBytes = sizeof(std::uint64_t);
  std::vector<GatherBlock> blocks;
  for (const Side side : {Side::kUsers, Side::kItems}) {
    const TableShards& shards = plan_.of(side);
    for (std::size_t b = 0; b < shards.blocks.size(); ++b) {
      const auto add = [&](PieceChecksums::Run run) {
        blocks.push_back({writer_of(shards.owners[b]), run.begin * kBytes, run.count * kBytes});
      };
      add(checksums_.factors(side, shards.blocks[b]));
      if (shape_.of(side).biases) add(checksums_.biases(side, shards.blocks[b]));
    }
  }
  steps_.all_gather(std::as_writable_bytes(checksums_.all()), blocks);
}

void Writing::commit() {
  std::error_code error;
  if (!fs::remove(staged_->folder() / kTokenName, error)) {
    throw Error(ErrorCode::kIo, "cannot remove: " + error.message(), (staged_->folder() / kTokenName).string());
  }
  staged_->commit(model_, checksums_);
}

}  // namespace

WritingFacts write_model_together(const Model& model, const fs::path& target, const ShardPlan& plan,
                                  Communicator& communicator, std::uint32_t membership_epoch) {
  RankSteps steps(communicator, membership_epoch, kWritingTable, "writing the model");
  const bool is_first = communicator.rank() == 0;
  Writing writing(model, plan, steps);
  steps.work_together([&] {
    if (is_first) writing.make(target);
  });
  writing.find();
  steps.work_together([&] { writing.write_rows(); });
  writing.exchange_checksums();
  steps.work_together([&] {
    if (is_first) writing.commit();
  });
  return {writing.writers()};
}

}  // namespace concerto
