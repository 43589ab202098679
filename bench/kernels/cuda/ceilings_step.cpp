// The device's ceilings: copies, gathers of rows from L2 and from memory, products in bf16 and fp32. Other steps
// measure them again, each for itself, so that a share of a roofline is of the same run.
#include <algorithm>

#include "bench.hpp"
#include "probes.hpp"

namespace concerto::bench {
namespace {

constexpr unsigned kBlocksPerMultiprocessor = 8;
constexpr std::uint32_t kResidentRows = 17770;

class Measured {
 public:
  explicit Measured(Bench& bench) : bench_(bench), blocks_(kBlocksPerMultiprocessor * bench.facts.multiprocessors) {}

  /// The largest of what the runtime's copy and our kernel reach.
  void copy() {
    const std::uint64_t bytes = scaled(std::uint64_t{1} << 31, std::uint64_t{1} << 12);
    Bytes from = allocate(bytes);
    const Bytes to = allocate(bytes);
    fill_random(stream(), reinterpret_cast<float*>(from.data()), bytes / sizeof(float), 1, 1.0F);
    const Timing by_runtime = time([&] { cuda::copy_on_device(stream(), to_of(to), from.data(), bytes); });
    const Timing by_kernel = time([&] { copy_by_kernel(stream(), to_of(to), from.data(), bytes, blocks_); });
    add("copy by the runtime", by_runtime, 2.0 * static_cast<double>(bytes));
    add("copy by a kernel", by_kernel, 2.0 * static_cast<double>(bytes));
    ceilings.copy = 2.0 * static_cast<double>(bytes) / seconds(std::min(by_runtime.median_ms, by_kernel.median_ms));
  }

  [[nodiscard]] double gather(const char* name, std::uint32_t table_rows, unsigned row_bytes) {
    const std::uint64_t gathers = scaled(std::uint64_t{1} << 26, 1024);
    Bytes table = allocate(std::uint64_t{table_rows} * row_bytes);
    fill_random(stream(), reinterpret_cast<float*>(table.data()), table.size() / sizeof(float), 2, 1.0F);
    cuda::DeviceArray<std::uint32_t> sink(bench_.backend.pool(), std::size_t{256} * blocks_, "sums");
    const Timing timing =
        time([&] { gather_rows(stream(), table.data(), table_rows, row_bytes, gathers, 3, sink.data(), blocks_); });
    return add(name, timing, static_cast<double>(gathers) * row_bytes);
  }

  void products() {
    const auto n = static_cast<std::size_t>(scaled(8192, 64));
    auto& pool = bench_.backend.pool();
    cuda::DeviceArray<float> a(pool, n * n, "a factor");
    cuda::DeviceArray<float> b(pool, n * n, "a factor");
    cuda::DeviceArray<float> c(pool, n * n, "a product");
    const cuda::DeviceArray<std::uint16_t> half_a(pool, n * n, "a factor in bf16");
    const cuda::DeviceArray<std::uint16_t> half_b(pool, n * n, "a factor in bf16");
    fill_random(stream(), a.data(), n * n, 4, 1.0F);
    fill_random(stream(), b.data(), n * n, 5, 1.0F);
    fill_random_bf16(stream(), const_cast<std::uint16_t*>(half_a.data()), n * n, 6);
    fill_random_bf16(stream(), const_cast<std::uint16_t*>(half_b.data()), n * n, 7);
    cuda::Dense dense(stream());
    const double flops = 2.0 * static_cast<double>(n) * static_cast<double>(n) * static_cast<double>(n);
    const auto product = [&](const void* left, const void* right, cuda::Element element) {
      return time([&] { dense.product_transposed(n, n, n, {left, element, n}, {right, element, n}, c.data(), n); });
    };
    ceilings.bf16_flops = add("bf16 product", product(half_a.data(), half_b.data(), cuda::Element::kBf16), flops);
    ceilings.fp32_flops = add("fp32 product", product(a.data(), b.data(), cuda::Element::kFp32), flops);
  }

  void all() {
    copy();
    ceilings.gather_l2_128 = gather("rows of 128 bytes from L2", kResidentRows, 128);
    ceilings.gather_l2_256 = gather("rows of 256 bytes from L2", kResidentRows, 256);
    const auto many = static_cast<std::uint32_t>(scaled(std::uint64_t{1} << 23, 64));
    ceilings.gather_memory_128 = gather("rows of 128 bytes from memory", many, 128);
    ceilings.gather_memory_256 = gather("rows of 256 bytes from memory", many, 256);
    products();
    ceilings.l2_bytes = bench_.facts.l2_bytes;
  }

  Ceilings ceilings;
  json rows = json::array();

 private:
  using Bytes = cuda::DeviceArray<unsigned char>;
  [[nodiscard]] const cuda::Stream& stream() const { return bench_.stream(); }
  [[nodiscard]] Bytes allocate(std::uint64_t bytes) { return Bytes(bench_.backend.pool(), bytes, "a ceiling"); }
  [[nodiscard]] static void* to_of(const Bytes& bytes) { return const_cast<unsigned char*>(bytes.data()); }
  template <class Body>
  [[nodiscard]] Timing time(const Body& body) {
    return time_on(stream(), bench_.repeat, body);
  }
  [[nodiscard]] static double seconds(double milliseconds) { return std::max(1e-9, 1e-3 * milliseconds); }
  /// The whole size at scale 1; never less than `least`, and a multiple of it.
  [[nodiscard]] std::uint64_t scaled(std::uint64_t size, std::uint64_t least) const {
    const auto wanted = static_cast<std::uint64_t>(static_cast<double>(size) * std::min(1.0, bench_.scale));
    return std::max<std::uint64_t>(1, wanted / least) * least;
  }
  double add(const char* name, const Timing& timing, double amount) {
    json result = to_json(timing);
    result["name"] = name;
    result["per_s"] = amount / seconds(timing.median_ms);
    rows.push_back(std::move(result));
    return amount / seconds(timing.median_ms);
  }

  Bench& bench_;
  unsigned blocks_;
};

}  // namespace

const Ceilings& Bench::ceilings() {
  if (!known_ceilings) {
    Measured measured(*this);
    measured.all();
    known_ceilings = measured.ceilings;
  }
  return *known_ceilings;
}

json run_ceilings(Bench& bench) {
  Measured measured(bench);
  measured.all();
  bench.known_ceilings = measured.ceilings;
  return {{"ceilings", to_json(measured.ceilings)}, {"rows", measured.rows}};
}

}  // namespace concerto::bench
