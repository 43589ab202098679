// The contract between training and the machine that does the arithmetic: about ten coarse operations.
//
// Three backends implement it with the same file names: kernels/reference (serial, double accumulation: the
// specification), kernels/cpu (threads and SIMD), kernels/cuda (one GPU). They pass one conformance suite. A backend
// owns no model: callers hold opaque Buffers and pass them in. A Buffer belongs to the backend that made it. Operations
// return when their result is visible to later calls on the same backend. Matrices and vectors named here are:
//   U: users x rank, V: items x rank, Y: the fixed side's table, x: one row of the table being solved.
// Rows without entries, or without one that counts (Objective::counts), become zero, never NaN (ALS, subspace; momentum
// does not apply to them). An exact system that is not positive definite in the backend's precision gives a finite row,
// or ends the step with an Error that names the regularization; never NaN. Results of deterministic backends do not
// depend on the number of threads.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "concerto/base/ids.hpp"
#include "concerto/data/ratings.hpp"
#include "concerto/model/factors.hpp"
#include "concerto/model/objective.hpp"

namespace concerto {

/// Something a backend keeps: a factor table, an orientation of the ratings, a Gram matrix, an SGD grid.
class Buffer {
 public:
  virtual ~Buffer() = default;
  /// Bytes held in the backend's memory (views of caller memory not counted).
  [[nodiscard]] virtual std::uint64_t bytes() const noexcept = 0;
};

enum class InnerSolver : std::uint8_t { kCholesky, kCg };

/// Exact row systems are limited to this rank; above, `cg` or `subspace`.
inline constexpr std::uint32_t kMaxCholeskyRank = 1024;

/// Conjugate gradient stops when |residual|^2 <= kCgNegligible * |right side|^2, or when a direction's curvature is not
/// positive; otherwise after `cg_steps` steps. It is not preconditioned.
inline constexpr double kCgNegligible = 1e-14;

/// One ALS step: solve rows [rows.begin, rows.end) of `target` against `fixed`.
struct SolveStep {
  const Buffer* ratings = nullptr;  ///< orientation whose rows are the rows of `target`
  const Buffer* fixed = nullptr;    ///< Y
  const Buffer* gram = nullptr;     ///< Y^T Y (see gram()); required for implicit objectives, ignored for explicit
  Buffer* target = nullptr;
  RowRange rows;
  Objective objective;
  InnerSolver inner = InnerSolver::kCg;
  std::uint32_t cg_steps = 3;  ///< CG starts from the row's present value
  double momentum = 0.0;       ///< beta: x <- x* + beta (x* - x_previous); biases alike
};

/// What entries add to a row's system, packed: the upper triangle of sum_k g_k y_k y_k^T row by row, the right side
/// sum_k h_k y_k and, with biases, sum_k y_k and sum_k h_k (g and h: Objective::entry_weights). Sums over parts of a
/// row's entries add up to those of the row.
struct SystemLayout {
  std::uint32_t rank = 0;
  bool biases = false;

  [[nodiscard]] constexpr std::size_t gram_floats() const noexcept { return std::size_t{rank} * (rank + 1) / 2; }
  [[nodiscard]] constexpr std::size_t right() const noexcept { return gram_floats(); }
  [[nodiscard]] constexpr std::size_t bias_sum() const noexcept { return right() + rank; }
  [[nodiscard]] constexpr std::size_t residual() const noexcept { return bias_sum() + rank; }
  [[nodiscard]] constexpr std::size_t floats() const noexcept { return biases ? residual() + 1 : bias_sum(); }
};

/// Sums over the entries that `ratings` has of its rows [rows.begin, rows.end).
struct SumStep {
  const Buffer* ratings = nullptr;
  const Buffer* fixed = nullptr;  ///< Y
  RowRange rows;
  Objective objective;
};

/// Rows of `target` from what all their entries add up to; else as SolveStep.
struct SystemsStep {
  Buffer* target = nullptr;
  RowRange rows;
  std::span<const float> systems;      ///< rows.size() of them
  std::span<const EntryIndex> counts;  ///< n of each of the rows (Objective::counts)
  std::span<const float> gram;         ///< Y^T Y, upper triangle row by row; required for implicit objectives
  RowIndex fixed_rows = 0;             ///< of Y
  Objective objective;
  InnerSolver inner = InnerSolver::kCg;
  std::uint32_t cg_steps = 3;
  double momentum = 0.0;
};

/// One subspace step (iALS++, Rendle et al. 2021): for each row, block coordinate descent over slices of `slice`
/// columns [0, slice), [slice, 2 slice), ... in order, each slice's system solved exactly given the others. With
/// biases, the bias is eliminated jointly with each slice.
struct SubspaceStep {
  const Buffer* ratings = nullptr;
  const Buffer* fixed = nullptr;
  const Buffer* gram = nullptr;  ///< as in SolveStep
  Buffer* target = nullptr;
  RowRange rows;
  Objective objective;
  std::uint32_t slice = 128;
};

/// One SGD pass over all blocks of a grid, in an order that is a pure function of (seed, epoch). An entry's update,
/// with e = r - mean - b_u - b_i - x.y and both old vectors: g_x = -e y + lambda n_u^(nu-1) x, g_y = -e x + lambda
/// n_i^(nu-1) y; x -= rate a_u g_x, and alike for y and the biases (penalty lambda_b). The adaptive factor of a row is
/// a_u = 1 / sqrt(A_u), where A_u starts at 1 and after each update grows by the mean square of g_x over the rank. Rows
/// without entries in the grid are neither read nor changed.
struct SgdStep {
  const Buffer* grid = nullptr;
  Buffer* users = nullptr;
  Buffer* items = nullptr;
  Objective objective;       ///< explicit only
  double rate = 0.05;        ///< learning_rate / (1 + decay * epoch), computed by the caller
  bool nonnegative = false;  ///< project both vectors on >= 0 after each update
  std::uint64_t seed = 1;
  std::uint32_t epoch = 0;
};

/// n of each row of either side, where a grid holds a part of the matrix and a row's penalty is that of the whole row;
/// both empty: the grid's own. At least what the grid has of the row. Caller's memory, that outlives the grid.
struct RowCounts {
  std::span<const EntryIndex> users;
  std::span<const EntryIndex> items;
};

/// Which candidates to rank for which queries.
struct TopKQuery {
  const Buffer* queries = nullptr;          ///< a factor table
  std::span<const RowIndex> rows;           ///< rows of `queries` to answer for
  const Buffer* candidates = nullptr;       ///< a factor table
  const CompressedRows* exclude = nullptr;  ///< optional; row r of it (r from `rows`) lists candidates to leave out
  std::uint32_t k = 10;
  bool cosine = false;  ///< x.y / (|x| |y|) instead of x.y + bias of the candidate; zero rows score 0
  /// Each candidate's place among equal scores, the lower first, such as the order of its id (rows are stored in a
  /// permuted order); empty: its row.
  std::span<const RowIndex> tie_order = {};
};

/// rows.size() lists of k, best first, ties by tie_order; missing places hold kNoRow and -infinity.
struct TopKResult {
  std::vector<RowIndex> candidates;
  std::vector<float> scores;
};

struct ErrorSums {
  double squared = 0.0;
  double absolute = 0.0;
};

class Backend {
 public:
  virtual ~Backend() = default;
  [[nodiscard]] virtual std::string_view name() const noexcept = 0;
  /// One line on what it runs on: "cpu: 2 threads, AVX-512".
  [[nodiscard]] virtual std::string description() const = 0;

  /// The most device memory that was in use at a time, in bytes; 0 for backends that compute in host memory.
  [[nodiscard]] virtual std::uint64_t peak_device_bytes() const noexcept { return 0; }

  /// Into how many calls the rows of a half-sweep are best cut: enough that a stop request is met soon, few enough that
  /// a call keeps the backend busy.
  [[nodiscard]] virtual std::uint32_t steps_per_half_sweep() const noexcept { return 16; }

  /// How many multiply-adds of solving it does in about a second, guarded. Where somebody watches whether a rank makes
  /// progress, its calls have no more to do, so that each is over in a second or so and slow is not taken for stalled.
  [[nodiscard]] virtual double work_per_second() const noexcept { return 1e9; }

  // -- storage --
  /// A table of zeros. Optimizer state for SGD is part of it and starts at 1.
  [[nodiscard]] virtual std::unique_ptr<Buffer> create_table(const TableShape& shape) = 0;
  /// Copies rows between a host table of the same shape and a buffer (biases too; writing resets optimizer state).
  virtual void write_rows(Buffer& table, RowRange rows, const FactorTable& host) = 0;
  virtual void read_rows(const Buffer& table, RowRange rows, FactorTable& host) const = 0;
  /// Copies the optimizer state of rows, one float a row (A of SgdStep): with write_rows and read_rows, all that a row
  /// is. `state` has rows.size() values.
  virtual void write_state(Buffer& table, RowRange rows, std::span<const float> state) = 0;
  virtual void read_state(const Buffer& table, RowRange rows, std::span<float> state) const = 0;
  /// Makes one orientation usable. A backend may keep the view: the caller's memory must
  /// outlive the buffer.
  [[nodiscard]] virtual std::unique_ptr<Buffer> load_ratings(const CompressedRows& ratings) = 0;
  /// Makes the 2-D blocks of SGD from the user orientation, cut at equal numbers of entries. Copies: 8 bytes an entry;
  /// a backend may keep the views as well. Training by SGD needs nothing else of the ratings. A grid may hold a part of
  /// the matrix, in the rows and columns of the whole: then `counts` are those of the whole rows.
  [[nodiscard]] virtual std::unique_ptr<Buffer> load_grid(const CompressedRows& by_user, const CompressedRows& by_item,
                                                          const RowCounts& counts) = 0;
  [[nodiscard]] std::unique_ptr<Buffer> load_grid(const CompressedRows& by_user, const CompressedRows& by_item) {
    return load_grid(by_user, by_item, {});
  }

  // -- solving --
  /// Y^T Y of a whole table (rank x rank, symmetric): per chunk of rows (partition.hpp), then along the tree of
  /// tree_sum.hpp. rows * rank^2 flops.
  [[nodiscard]] virtual std::unique_ptr<Buffer> gram(const Buffer& table) = 0;
  virtual void solve_rows(const SolveStep& step) = 0;
  virtual void solve_slices(const SubspaceStep& step) = 0;
  /// Whether the backend has the next two, which throw Error{kUnsupported} where it has not.
  [[nodiscard]] virtual bool sums_systems() const noexcept = 0;
  /// Sums of rows, one SystemLayout after another in the order of `rows`, in host memory. rank^2 flops an entry.
  virtual void sum_systems(const SumStep& step, std::span<float> systems) = 0;
  /// What solve_rows does, from the sums of whole rows: rank^3 / 3 flops a row with cholesky, 2 rank^2 a step with cg.
  virtual void solve_systems(const SystemsStep& step) = 0;
  virtual void sgd_epoch(const SgdStep& step) = 0;

  // -- measuring --
  /// Sum of entry_loss over the entries of `rows` of the user orientation; per chunk in double, then along the tree.
  [[nodiscard]] virtual double entry_loss(const Buffer& by_user, RowRange rows, const Buffer& users,
                                          const Buffer& items, const Objective& objective) = 0;
  /// Sum over `rows` of penalty * |x|^2 (+ bias penalty * b^2); `ratings` is the orientation of `table`'s rows.
  [[nodiscard]] virtual double penalty(const Buffer& ratings, RowRange rows, const Buffer& table,
                                       const Objective& objective) = 0;
  /// The loss under an explicit objective of all that is in a grid: entry_loss of every entry and the penalty of either
  /// side's rows, as both orientations would give them but for the order of the sums, which is fixed. A row's penalty
  /// is by the count that the grid has of it.
  [[nodiscard]] virtual double grid_loss(const Buffer& grid, const Buffer& users, const Buffer& items,
                                         const Objective& objective) = 0;
  /// Frobenius inner product of two Gram buffers: sum over all (user, item) of (x.y)^2.
  [[nodiscard]] virtual double inner_product(const Buffer& gram_a, const Buffer& gram_b) = 0;
  /// Sums of squared and absolute errors of x.y + mean + biases, clamped to [low, high], over held-out entries in the
  /// user orientation.
  [[nodiscard]] virtual ErrorSums prediction_errors(const CompressedRows& held_out, const Buffer& users,
                                                    const Buffer& items, double mean, float low, float high) = 0;
  [[nodiscard]] virtual TopKResult top_k(const TopKQuery& query) = 0;
};

/// What a backend will hold and need at most, for the prediction of memory before work starts.
struct MemoryShape {
  RowIndex users = 0;
  RowIndex items = 0;
  EntryIndex entries = 0;
  std::uint32_t rank = 0;
  bool values = true;
  bool biases = false;
  bool is_implicit = false;
  enum class Solver : std::uint8_t { kCholesky, kCg, kSubspace, kSgd } solver = Solver::kCg;
  std::uint32_t slice = 128;
  unsigned threads = 1;
};

}  // namespace concerto
