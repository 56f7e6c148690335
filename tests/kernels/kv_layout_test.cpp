#include "kv_layout.hpp"

#include <cmath>
#include <cstring>
#include <vector>

#include <catch2/catch.hpp>

#include "paged_cache.hpp"

using namespace orrery;
using namespace orrery::kernels;

namespace {
template <class T>
double element(const T* row, int i) {
  if constexpr (std::is_same_v<T, int4x2>) {
    return static_cast<double>(to_float(row[i / 2], i % 2));
  } else {
    return static_cast<double>(to_float(row[i]));
  }
}

/// Half the largest distance between numbers of the format, where its largest stands for 1 (bf16: below 1).
template <class T>
double half_step() {
  if (std::is_same_v<T, bf16>) return 0x1p-9;
  if (std::is_same_v<T, fp8>) return 16.0 / 448;
  return 0.5 / static_cast<double>(kKvLargest<T>);
}
}  // namespace

TEMPLATE_TEST_CASE("does a row come back from the cache within half a step of its format?", "[kernels]", bf16,
                   fp8, std::int8_t, int4x2) {
  constexpr int n = kKvPerLoad<TestType>;
  alignas(16) TestType row[16 / sizeof(TestType)];
  const float scale = std::is_same_v<TestType, bf16> ? 1.0F : 1.0F / kKvLargest<TestType>;
  float x[n], back[n];
  for (int i = 0; i < n; ++i) x[i] = static_cast<float>(std::cos(i * 1.7));
  x[0] = 1, x[1] = -1;
  store_kv_pack<TestType>(row, x, 1 / scale);
  load_kv_pack<TestType>(row, back);
  for (int i = 0; i < n; ++i) {
    INFO("element " << i << " = " << x[i]);
    CHECK(static_cast<double>(std::abs(back[i] * scale - x[i])) <= 1.001 * half_step<TestType>());
    CHECK(element(row, i) == Approx(back[i]));
  }
}

TEMPLATE_TEST_CASE("does widening to bf16 give every number of a narrow format exactly?", "[kernels]", fp8,
                   std::int8_t, int4x2) {
  constexpr int n = kPerUnit<TestType>;
  int wrong = 0;
  for (std::uint32_t low = 0; low < 65536; ++low) {
    const std::uint32_t word = low | (low * 40503U & 0xffffU) << 16;
    TestType elements[4 / sizeof(TestType)];
    std::memcpy(elements, &word, sizeof word);
    std::uint32_t pairs[n];
    widen<TestType>(word, pairs);
    for (int i = 0; i < 2 * n; ++i) {
      const double expected = element(elements, i);
      const bf16 got{static_cast<std::uint16_t>(pairs[i % n] >> 16 * (i / n))};
      if (!std::isnan(expected) && static_cast<double>(to_float(got)) != expected) ++wrong;
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("does a position lead to its row through the block table?", "[kernels]") {
  const std::vector<std::int32_t> table{7, 2, 5, 9};  // two sequences of two blocks
  PagedKv kv;
  kv.block_table = table.data(), kv.table_stride = 2, kv.block_size = 16, kv.kv_heads = 4, kv.head_dim = 64;
  CHECK(kv_token(kv, 0, 0) == 7 * 16);
  CHECK(kv_token(kv, 0, 17) == 2 * 16 + 1);
  CHECK(kv_token(kv, 1, 15) == 5 * 16 + 15);
  CHECK(kv_row(kv, 33, 3) == 33 * 4 + 3);
  std::vector<int4x2> rows(3 * 32);
  CHECK(kv_address<int4x2>(kv, rows.data(), 2) == rows.data() + 64);
}

TEST_CASE("do the contexts of a batch have the sum asked for, ragged or not?", "[kernels]") {
  for (const bool ragged : {false, true}) {
    for (const int seqs : {1, 2, 7, 50, 64}) {
      for (const std::int64_t total : {64, 65, 1000, 65536}) {
        const auto lengths = context_lengths(seqs, total, ragged, 3);
        std::int64_t sum = 0;
        for (const int length : lengths) {
          CHECK(length >= 1);
          sum += length;
        }
        CHECK(sum == total);
      }
    }
  }
}
