// Ratings in the shape of a real data set, made on the device: users and items drawn independently with power-law
// popularity, values a function of the pair. For measuring speed: there is nothing to learn in them.
#pragma once

#include <cstdint>
#include <memory>

#include "cuda_backend.hpp"

namespace concerto::bench {

struct RatingsShape {
  RowIndex users = 480189;
  RowIndex items = 17770;
  EntryIndex entries = 99072112;
  double user_exponent = 0.6;  ///< popularity ~ (place + 50)^-exponent
  double item_exponent = 0.8;
  std::uint64_t seed = 1;
};

/// Both orientations as the backend keeps them. A pair that was drawn twice stays twice.
struct DeviceRatings {
  std::unique_ptr<cuda::RatingsBuffer> by_user;
  std::unique_ptr<cuda::RatingsBuffer> by_item;
};
[[nodiscard]] DeviceRatings make_ratings(const cuda::Stream& stream, cuda::MemoryPool& pool, const RatingsShape& shape);

/// The entries in the order in which they were drawn, which is random: 12 bytes each.
struct Rating {
  RowIndex user;
  RowIndex item;
  float value;
};
[[nodiscard]] cuda::DeviceArray<Rating> make_shuffled(const cuda::Stream& stream, cuda::MemoryPool& pool,
                                                      const RatingsShape& shape);

/// A copy of one orientation on the host.
[[nodiscard]] CompressedMatrix copy_to_host(const cuda::Stream& stream, const cuda::RatingsBuffer& ratings);

}  // namespace concerto::bench
