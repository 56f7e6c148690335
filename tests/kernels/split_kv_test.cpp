#include "split_kv.hpp"

#include <catch2/catch.hpp>

using namespace orrery::kernels;

TEST_CASE("do the splits of a context cover the keys a query sees, each once and in order?", "[kernels]") {
  for (const int context : {0, 1, 127, 128, 129, 1000, 4096, 100001}) {
    for (const int window : {0, 1, 128, 1000}) {
      for (const int splits : {1, 2, 7, kMaxSplits}) {
        int next = window > 0 && context > window ? context - window : 0;
        for (int split = 0; split < splits; ++split) {
          const KeyRange range = split_range(context, window, splits, split, 128);
          CHECK(range.begin <= range.end);
          if (range.begin < range.end) CHECK(range.begin == next);
          next = range.begin < range.end ? range.end : next;
        }
        CHECK(next == context);
      }
    }
  }
}

TEST_CASE("does a batch that fills the device stay whole, and a single sequence split?", "[kernels]") {
  CHECK(choose_splits(264, 264, 100000, 128) == 1);
  CHECK(choose_splits(2640, 264, 100000, 128) == 1);
  // One block on 264 slots, contexts of 64 parts: 64 blocks are the best use, 55 within 85% of it.
  CHECK(choose_splits(1, 264, 64 * 128, 128) == 55);
  // 8 blocks: 33 splits fill the slots, 29 come within 85%.
  CHECK(choose_splits(8, 264, 100000, 128) == 29);
  // Nothing to split.
  CHECK(choose_splits(1, 264, 100, 128) == 1);
  CHECK(choose_splits(1, 264, 1 << 30, 128) <= kMaxSplits);
}
