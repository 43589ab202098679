// How the ranks of a run write one model: rank 0 makes the directory, every rank that sees it writes the rows it owns
// in place, rank 0 writes the rest and puts the directory in its place.
//
// The protocol, each step a collective that all ranks take part in:
//   1. Rank 0 makes a temporary directory beside the target, with files of full length and a token drawn at random, and
//      tells all of its path and token.
//   2. Each rank says whether it sees that directory: the token is there and the files open for writing. Host names say
//      nothing of it: machines may share a file system, and processes of one may not.
//   3. Each rank that does writes its blocks, fsyncs them and tells the checksums of its pieces; rank 0, which has a
//      copy of everything, writes the blocks of those that do not.
//   4. Rank 0 writes the id maps and the manifest, fsyncs and renames.
// While a rank works, the others exchange with it once a second or so that it is not done: a rank that dies is noticed
// and named at once, and a slow disk meets no time limit.
//
// Killed at any moment, the old model or the new one is there. Where a rank fails or dies, all of them throw an Error
// that names it, rank 0 removes the temporary directory, and the target is untouched; if rank 0 itself is killed, the
// next run that writes there removes it. The bytes do not depend on who wrote them, nor on the number of ranks.
#pragma once

#include <cstdint>
#include <filesystem>

#include "concerto/comm/communicator.hpp"
#include "concerto/model/model.hpp"
#include "concerto/train/shards.hpp"

namespace concerto {

/// How a model was written.
struct WritingFacts {
  Rank writers = 1;  ///< ranks that wrote rows
};

/// Called by every rank, which all have the same tables; objective, id maps and the rest of `model` are rank 0's. Waits
/// on this thread, works on another. Error{kIo} naming the rank that failed or was lost; on that rank its own error.
WritingFacts write_model_together(const Model& model, const std::filesystem::path& target, const ShardPlan& plan,
                                  Communicator& communicator, std::uint32_t membership_epoch);

}  // namespace concerto
