#pragma once

#include <algorithm>

#include "device/platform.cuh"

namespace orrery::kernels {

// Split over the keys (Flash-Decoding; Dao, Haziza, Massa and Sizov, 2023): the grid is set on the host by a
// bound, so that a captured graph serves growing contexts; each split finds its keys from the context's
// length on the device, and may find none.

inline constexpr int kMaxSplits = 128;

/// Keys [begin, end) of a sequence.
struct KeyRange {
  int begin, end;
};

/// The keys of one of `splits` equal parts of those a query sees: the last `window` of `context` (0 = all).
/// Parts are whole multiples of `least` keys, so that short contexts use fewer parts.
ORRERY_HOST_DEVICE KeyRange split_range(int context, int window, int splits, int split, int least) {
  const int start = window > 0 && context > window ? context - window : 0;
  const int each = ceil_div(ceil_div(context - start, splits), least) * least;
  const int begin = start + split * each;
  return {begin < context ? begin : context, begin + each < context ? begin + each : context};
}

/// How many splits fill the device: the fewest that come within 85% of the best use of its last wave (as
/// FlashAttention-2's num_splits_heuristic, flash_api.cpp). `blocks`: thread blocks of one split; `slots`:
/// blocks the device runs at once; `max_keys`: longest context expected (longer ones still work); `least`: as
/// in split_range.
inline int choose_splits(std::int64_t blocks, int slots, int max_keys, int least) {
  const int most = std::clamp(max_keys / least, 1, kMaxSplits);
  const auto use = [&](int splits) {
    const double waves = static_cast<double>(blocks) * splits / slots;
    return waves / static_cast<double>(ceil_div<std::int64_t>(blocks * splits, slots));
  };
  double best = 0;
  for (int n = 1; n <= most; ++n) best = std::max(best, use(n));
  int n = 1;
  while (use(n) < 0.85 * best) ++n;
  return n;
}

}  // namespace orrery::kernels
