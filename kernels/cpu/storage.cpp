// Tables and ratings of the cpu backend, and the choice of an instruction set. Host memory is the backend's memory, so
// ratings are kept as views and tables are FactorTables.
#include <algorithm>

#include <fmt/format.h>
#include <hwy/highway.h>

#include "concerto/base/error.hpp"
#include "concerto/compute/backends.hpp"

#include "cpu_backend.hpp"

namespace concerto {
namespace {

/// Highway's names are short codes; people know these sets by others.
std::string_view readable_name(std::string_view code) {
  if (code == "AVX3") return "AVX-512";
  if (code == "EMU128") return "portable";
  return code;
}

/// The instruction sets compiled here that this processor offers, best first.
std::vector<std::int64_t> usable_targets() {
  const std::int64_t usable = (hwy::SupportedTargets() & HWY_TARGETS) | HWY_STATIC_TARGET;
  std::vector<std::int64_t> targets;
  for (int bit = 0; bit < 63; ++bit) {
    const std::int64_t target = std::int64_t{1} << bit;
    if ((usable & target) != 0) targets.push_back(target);
  }
  return targets;
}

}  // namespace

std::unique_ptr<Backend> make_cpu_backend(ThreadPool& pool) {
  return std::make_unique<cpu::CpuBackend>(pool);
}

std::vector<std::string> cpu_instruction_sets() {
  std::vector<std::string> names;
  for (const std::int64_t target : usable_targets()) names.emplace_back(hwy::TargetName(target));
  return names;
}

void select_cpu_instruction_set(const std::string& name) {
  hwy::SetSupportedTargetsForTest(0);
  std::int64_t chosen = 0;
  if (!name.empty()) {
    for (const std::int64_t target : usable_targets()) {
      if (name == hwy::TargetName(target)) chosen = target;
    }
    if (chosen == 0) {
      throw Error(ErrorCode::kUnsupported,
                  fmt::format("this processor or build has no instruction set named '{}'; it has {}", name,
                              fmt::join(cpu_instruction_sets(), ", ")));
    }
  }
  hwy::SetSupportedTargetsForTest(chosen);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
}

namespace cpu {

std::string CpuBackend::description() const {
  return fmt::format("cpu: {} thread{}, {}", pool_.size(), pool_.size() == 1 ? "" : "s",
                     readable_name(hwy::TargetName(usable_targets().front())));
}

std::unique_ptr<Buffer> CpuBackend::create_table(const TableShape& shape) {
  return std::make_unique<TableBuffer>(shape);
}

void CpuBackend::write_rows(Buffer& table, RowRange rows, const FactorTable& host) {
  auto& target = buffer_as<TableBuffer>(&table);
  CONCERTO_CHECK(host.shape() == target.factors.shape(), "write_rows: host table and buffer differ in shape");
  CONCERTO_CHECK(rows.begin <= rows.end && rows.end <= host.rows(), "write_rows: rows out of range");
  const std::size_t stride = host.stride();
  std::copy(host.data() + rows.begin * stride, host.data() + rows.end * stride,
            target.factors.data() + rows.begin * stride);
  if (host.shape().biases) {
    std::copy(host.biases().begin() + rows.begin, host.biases().begin() + rows.end,
              target.factors.biases().begin() + rows.begin);
  }
  std::fill(target.accumulators.begin() + rows.begin, target.accumulators.begin() + rows.end, 1.0F);
}

void CpuBackend::read_rows(const Buffer& table, RowRange rows, FactorTable& host) const {
  const auto& source = buffer_as<TableBuffer>(&table);
  CONCERTO_CHECK(host.shape() == source.factors.shape(), "read_rows: host table and buffer differ in shape");
  CONCERTO_CHECK(rows.begin <= rows.end && rows.end <= host.rows(), "read_rows: rows out of range");
  const std::size_t stride = host.stride();
  std::copy(source.factors.data() + rows.begin * stride, source.factors.data() + rows.end * stride,
            host.data() + rows.begin * stride);
  if (host.shape().biases) {
    std::copy(source.factors.biases().begin() + rows.begin, source.factors.biases().begin() + rows.end,
              host.biases().begin() + rows.begin);
  }
}

void CpuBackend::write_state(Buffer& table, RowRange rows, std::span<const float> state) {
  auto& target = buffer_as<TableBuffer>(&table);
  CONCERTO_CHECK(rows.begin <= rows.end && rows.end <= target.factors.rows(), "write_state: rows out of range");
  CONCERTO_CHECK(state.size() == rows.size(), "write_state: one value a row");
  std::ranges::copy(state, target.accumulators.begin() + rows.begin);
}

void CpuBackend::read_state(const Buffer& table, RowRange rows, std::span<float> state) const {
  const auto& source = buffer_as<TableBuffer>(&table);
  CONCERTO_CHECK(rows.begin <= rows.end && rows.end <= source.factors.rows(), "read_state: rows out of range");
  CONCERTO_CHECK(state.size() == rows.size(), "read_state: one value a row");
  std::copy(source.accumulators.begin() + rows.begin, source.accumulators.begin() + rows.end, state.begin());
}

std::unique_ptr<Buffer> CpuBackend::load_ratings(const CompressedRows& ratings) {
  return std::make_unique<RatingsBuffer>(ratings);
}

}  // namespace cpu
}  // namespace concerto
