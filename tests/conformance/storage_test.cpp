// Tables keep what is written to them, row ranges touch nothing else, and buffers say their size.
#include "backends_under_test.hpp"
#include "problems.hpp"

namespace concerto::test {
namespace {

class Storage : public ::testing::TestWithParam<BackendCase> {};

TEST_P(Storage, NewTablesAreZero) {
  run_on(GetParam(), [](Backend& backend) {
    const TableShape shape{67, 19, true};
    const FactorTable table = download(backend, *backend.create_table(shape), shape);
    EXPECT_TRUE(same_bytes(table, FactorTable(shape)));
    return Outcome{};
  });
}

TEST_P(Storage, RowsComeBackAsWritten) {
  for (const std::uint32_t rank : {1U, 7U, 64U, 67U, 257U, 2048U}) {
    for (const bool biases : {false, true}) {
      run_on(GetParam(), [&](Backend& backend) {
        const FactorTable host = random_table({131, rank, biases}, rank);
        const auto buffer = upload(backend, host);
        EXPECT_TRUE(same_bytes(download(backend, *buffer, host.shape()), host));
        EXPECT_GE(buffer->bytes(), std::uint64_t{131} * rank * sizeof(float));
        return Outcome{};
      });
    }
  }
}

TEST_P(Storage, RangesTouchNothingElse) {
  run_on(GetParam(), [](Backend& backend) {
    const TableShape shape{131, 67, true};
    const FactorTable first = random_table(shape, 1);
    const FactorTable second = random_table(shape, 2);
    const auto buffer = upload(backend, first);
    backend.write_rows(*buffer, {64, 71}, second);
    backend.write_rows(*buffer, {5, 5}, second);
    const FactorTable all = download(backend, *buffer, shape);
    FactorTable part(shape);
    backend.read_rows(*buffer, {70, 72}, part);
    for (RowIndex r = 0; r < shape.rows; ++r) {
      const FactorTable& expected = r >= 64 && r < 71 ? second : first;
      EXPECT_TRUE(std::ranges::equal(all.row(r), expected.row(r))) << "row " << r;
      EXPECT_EQ(all.bias(r), expected.bias(r)) << "row " << r;
      const bool is_read = r == 70 || r == 71;
      EXPECT_EQ(norm(part.row(r)), is_read ? norm(expected.row(r)) : 0.0) << "row " << r;
    }
    return Outcome{};
  });
}

TEST_P(Storage, InitialValuesDependOnNothingElse) {
  FactorTable small({10, 7, true});
  FactorTable large({131, 7, false});
  initialize(small, Side::kItems, 42, 0.1);
  initialize(large, Side::kItems, 42, 0.1);
  for (RowIndex r = 0; r < small.rows(); ++r) {
    EXPECT_TRUE(std::ranges::equal(small.row(r), large.row(r))) << "row " << r;
    EXPECT_EQ(small.bias(r), 0.0F);
  }
  run_on(GetParam(), [&](Backend& backend) {
    EXPECT_TRUE(same_bytes(download(backend, *upload(backend, large), large.shape()), large));
    return Outcome{};
  });
}

TEST_P(Storage, SaysWhatItIs) {
  run_on(GetParam(), [&](Backend& backend) {
    EXPECT_EQ(backend.name(), GetParam().backend);
    EXPECT_TRUE(backend.description().starts_with(backend.name())) << backend.description();
    return Outcome{};
  });
}

INSTANTIATE_TEST_SUITE_P(Backends, Storage, ::testing::ValuesIn(all_backends()), case_name);

}  // namespace
}  // namespace concerto::test
