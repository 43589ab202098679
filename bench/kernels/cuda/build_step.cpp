// Triples in host memory to both orientations on the device, from pinned and from pageable memory, beside the time that
// copying the triples alone takes. The result is compared with the orientations that were made on the device.
#include <cstring>

#include <fmt/format.h>

#include "bench.hpp"
#include "orientations.hpp"
#include "pinned.hpp"

namespace concerto::bench {
namespace {

/// Users, items and values as arrays, in host memory that `Bytes` owns.
template <class Bytes>
struct HostTriples {
  explicit HostTriples(std::size_t size)
      : users(size * sizeof(RowIndex)), items(size * sizeof(RowIndex)), values(size * sizeof(float)) {}
  Bytes users;
  Bytes items;
  Bytes values;

  [[nodiscard]] cuda::TripleArrays view(const RatingsShape& shape) {
    const std::size_t n = shape.entries;
    return {shape.users,
            shape.items,
            {reinterpret_cast<const RowIndex*>(users.data()), n},
            {reinterpret_cast<const RowIndex*>(items.data()), n},
            {reinterpret_cast<const float*>(values.data()), n}};
  }
};
using PageableBytes = std::vector<unsigned char>;

void fill(const std::vector<Rating>& ratings, HostTriples<PinnedBytes>& triples) {
  auto* users = static_cast<RowIndex*>(triples.users.data());
  auto* items = static_cast<RowIndex*>(triples.items.data());
  auto* values = static_cast<float*>(triples.values.data());
  for (std::size_t k = 0; k < ratings.size(); ++k) {
    users[k] = ratings[k].user;
    items[k] = ratings[k].item;
    values[k] = ratings[k].value;
  }
}

bool equal(const cuda::Stream& stream, const cuda::RatingsBuffer& a, const cuda::RatingsBuffer& b) {
  const CompressedMatrix left = copy_to_host(stream, a);
  const CompressedMatrix right = copy_to_host(stream, b);
  return left.offsets == right.offsets && left.columns == right.columns && left.values == right.values;
}

double copy_ms(Bench& bench, const cuda::TripleArrays& triples) {
  cuda::DeviceArray<unsigned char> place(bench.backend.pool(), triples.users.size_bytes(), "a copy");
  return time_on(bench.stream(), bench.repeat,
                 [&] {
                   for (const void* from :
                        {static_cast<const void*>(triples.users.data()), static_cast<const void*>(triples.items.data()),
                         static_cast<const void*>(triples.values.data())}) {
                     cuda::copy_to_device(bench.stream(), place.data(), from, place.bytes());
                   }
                 })
      .median_ms;
}

json measure(Bench& bench, const std::string& name, const cuda::TripleArrays& triples, bool check) {
  cuda::MemoryPool& pool = bench.backend.pool();
  const double copying = copy_ms(bench, triples);
  cuda::Orientations built;
  // The orientations of the run before are freed within the timed part: what is measured is one build after another.
  const auto build = [&] {
    built = {};
    built = cuda::build_orientations(pool, bench.stream(), triples);
  };
  const std::uint64_t before = pool.used_bytes();
  pool.reset_peak();
  build();
  bench.stream().wait();
  const std::uint64_t peak = pool.peak_bytes() - before;
  const Timing timing = time_on(bench.stream(), bench.repeat, build);
  const double result_bytes = orientations_bytes(bench.shape.users, bench.shape.items, bench.shape.entries);
  json result = row(bench, name, timing, build_work(bench.shape.users, bench.shape.items, bench.shape.entries));
  result["copy_ms"] = copying;
  result["copy_bytes_per_s"] = triple_bytes(bench.shape.entries) / (1e-3 * std::max(1e-6, copying));
  result["share_of_copy"] = timing.median_ms > 0.0 ? copying / timing.median_ms : 0.0;
  result["peak_bytes"] = peak;
  result["peak_over_orientations"] = static_cast<double>(peak) / result_bytes;
  if (check) {
    bench.require(equal(bench.stream(), *built.by_user, *bench.ratings().by_user), name + ": by user is wrong");
    bench.require(equal(bench.stream(), *built.by_item, *bench.ratings().by_item), name + ": by item is wrong");
  }
  return result;
}

}  // namespace

json run_build(Bench& bench) {
  (void)bench.ceilings();
  HostTriples<PinnedBytes> pinned(bench.shape.entries);
  {
    const auto drawn = make_shuffled(bench.stream(), bench.backend.pool(), bench.shape);
    std::vector<Rating> ratings(drawn.size());
    cuda::copy_to_host(bench.stream(), ratings.data(), drawn.data(), drawn.bytes());
    bench.stream().wait();
    fill(ratings, pinned);
  }
  HostTriples<PageableBytes> pageable(bench.shape.entries);
  std::memcpy(pageable.users.data(), pinned.users.data(), pageable.users.size());
  std::memcpy(pageable.items.data(), pinned.items.data(), pageable.items.size());
  std::memcpy(pageable.values.data(), pinned.values.data(), pageable.values.size());
  json rows = json::array();
  rows.push_back(measure(bench, "both orientations from pinned memory", pinned.view(bench.shape), true));
  rows.push_back(measure(bench, "both orientations from pageable memory", pageable.view(bench.shape), false));
  return {{"rows", rows}};
}

}  // namespace concerto::bench
