#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "runtime/runtime.hpp"

namespace orrery::kernels {

// Splitting the sum over k among blocks, so that small outputs fill the device: each block leaves its part of
// a tile in memory, and the last one to arrive adds the parts in the order of k, so that results do not
// depend on which it is (device/split_k.cuh).

struct SplitK {
  float* partials = nullptr;
  int* counters = nullptr;  ///< one per tile; zero between launches
  std::size_t partial_count = 0, counter_count = 0;
};

/// How many blocks share a tile, and how many steps of k each takes (the last perhaps fewer).
struct SplitPlan {
  int splits = 1;
  int steps = 0;
};

/// Splits `steps` steps of k so that about `blocks` blocks run where there are `tiles` tiles of the output,
/// each block keeping `least` steps or more, the parts of `outputs` sums fitting in `memory`.
inline SplitPlan split_plan(std::int64_t tiles, std::int64_t steps, std::int64_t blocks, std::int64_t least,
                            std::int64_t outputs, const SplitK& memory) {
  std::int64_t splits = std::min(blocks / std::max<std::int64_t>(tiles, 1), steps / least);
  splits =
      std::min(splits, static_cast<std::int64_t>(memory.partial_count) / std::max<std::int64_t>(outputs, 1));
  if (tiles > static_cast<std::int64_t>(memory.counter_count)) splits = 1;
  splits = std::clamp<std::int64_t>(splits, 1, std::max<std::int64_t>(steps, 1));
  const std::int64_t each = std::max<std::int64_t>((steps + splits - 1) / splits, 1);
  splits = std::max<std::int64_t>((steps + each - 1) / each, 1);  // none is left without a step
  return {static_cast<int>(splits), static_cast<int>(each)};
}

/// Memory for launches that follow each other on one stream.
class SplitKWorkspace {
 public:
  explicit SplitKWorkspace(std::size_t partials = std::size_t{2} << 20, std::size_t counters = 16384)
      : partials_(partials), counters_(counters) {
    fill_async(counters_.data(), 0, counters_.bytes(), nullptr);
    synchronize(nullptr);
    ref_ = {partials_.data(), counters_.data(), partials, counters};
  }
  const SplitK& ref() const { return ref_; }

 private:
  DeviceArray<float> partials_;
  DeviceArray<int> counters_;
  SplitK ref_;
};

}  // namespace orrery::kernels
