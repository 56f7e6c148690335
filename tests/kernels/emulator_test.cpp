#include "emulator/emulator.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <random>
#include <stdexcept>
#include <vector>

#include <catch2/catch.hpp>

#include "device/async_copy.cuh"
#include "device/mma.cuh"

using namespace orrery::kernels;

namespace {

constexpr emulator::Order kOrders[] = {emulator::Order::forward, emulator::Order::reverse,
                                       emulator::Order::shuffled};

/// The kernel's result under each order of threads.
template <class Kernel>
std::vector<std::vector<int>> under_each_order(unsigned threads, const Kernel& kernel) {
  std::vector<std::vector<int>> results;
  for (const auto order : kOrders) {
    emulator::set_order(order);
    std::vector<int> out(threads, -1);
    const auto body = [&] { kernel(out); };
    emulator::run({1, 1, 1}, {threads, 1, 1}, threads * sizeof(int), body);
    results.push_back(out);
  }
  emulator::set_order(emulator::Order::forward);
  return results;
}

/// Each thread reads what its neighbour wrote, with or without the barrier between.
void shift_by_one(std::vector<int>& out, bool barrier) {
  ORRERY_DYNAMIC_SHARED(int, shared);
  const unsigned thread = threadIdx.x, threads = blockDim.x;
  shared[thread] = static_cast<int>(thread);
  if (barrier) __syncthreads();
  out[thread] = shared[(thread + 1) % threads];
}

template <class T>
struct Product {
  alignas(16) T a[16 * 16], b[16 * 16];  // row-major: A [m][k], B as [n][k] or [k][n]
  float c[16 * 16];
};

/// One warp multiplies 16x16 by 16x16. b_by_rows: B lies as [k][n], and is transposed on loading.
template <class T, bool b_by_rows>
void multiply(Product<T>& p) {
  const int lane = lane_id();
  const int low = lane % 8, i = lane / 8;
  std::uint32_t a[4], b[4];
  load_matrices(a, p.a + (i % 2 * 8 + low) * 16 + i / 2 * 8);
  if constexpr (b_by_rows) {
    load_matrices<true>(b, p.b + (i % 2 * 8 + low) * 16 + i / 2 * 8);
  } else {
    load_matrices(b, p.b + (i / 2 * 8 + low) * 16 + i % 2 * 8);
  }
  for (int n = 0; n < 2; ++n) {
    float c[4] = {};
    const std::uint32_t half[2] = {b[2 * n], b[2 * n + 1]};
    mma_m16n8k16<T>(c, a, half);
    for (int j = 0; j < 4; ++j) p.c[(lane / 4 + j / 2 * 8) * 16 + n * 8 + lane % 4 * 2 + j % 2] = c[j];
  }
}

/// Largest difference from the product in double precision.
template <class T, bool b_by_rows>
double worst_of_product(unsigned seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> values(-1, 1);
  Product<T> p{};
  for (T& x : p.a) x = from_float<T>(values(random));
  for (T& x : p.b) x = from_float<T>(values(random));
  emulator::run({1, 1, 1}, {32, 1, 1}, 0, [&] { multiply<T, b_by_rows>(p); });
  double worst = 0;
  for (int m = 0; m < 16; ++m) {
    for (int n = 0; n < 16; ++n) {
      double sum = 0;
      for (int k = 0; k < 16; ++k) {
        const T b = b_by_rows ? p.b[k * 16 + n] : p.b[n * 16 + k];
        sum += static_cast<double>(to_float(p.a[m * 16 + k])) * static_cast<double>(to_float(b));
      }
      worst = std::max(worst, std::abs(sum - static_cast<double>(p.c[m * 16 + n])));
    }
  }
  return worst;
}

}  // namespace

TEST_CASE("does the emulated tensor core multiply matrices loaded plainly and transposed?", "[emulator]") {
  for (const unsigned seed : {1U, 2U, 3U}) {
    CHECK(worst_of_product<bf16, false>(seed) < 1e-5);
    CHECK(worst_of_product<bf16, true>(seed) < 1e-5);
    CHECK(worst_of_product<fp16, false>(seed) < 1e-5);
    CHECK(worst_of_product<fp16, true>(seed) < 1e-5);
  }
}

TEST_CASE("does the emulated int8 tensor core multiply exactly?", "[emulator]") {
  std::mt19937 random(1);
  std::int8_t a[16][32], b[8][32];  // B by columns
  for (auto& row : a)
    for (auto& x : row) x = static_cast<std::int8_t>(random());
  for (auto& row : b)
    for (auto& x : row) x = static_cast<std::int8_t>(random());
  int out[16][8];
  emulator::run({1, 1, 1}, {32, 1, 1}, 0, [&] {
    const int g = lane_id() / 4, t = lane_id() % 4;
    const auto four = [](const std::int8_t* p) {
      std::uint32_t r;
      std::memcpy(&r, p, sizeof r);
      return r;
    };
    const std::uint32_t ra[4] = {four(&a[g][4 * t]), four(&a[g + 8][4 * t]), four(&a[g][4 * t + 16]),
                                 four(&a[g + 8][4 * t + 16])};
    const std::uint32_t rb[2] = {four(&b[g][4 * t]), four(&b[g][4 * t + 16])};
    int c[4] = {};
    mma_m16n8k32_s8(c, ra, rb);
    for (int i = 0; i < 4; ++i) out[g + i / 2 * 8][2 * t + i % 2] = c[i];
  });
  for (int m = 0; m < 16; ++m) {
    for (int n = 0; n < 8; ++n) {
      int sum = 0;
      for (int k = 0; k < 32; ++k) sum += a[m][k] * b[n][k];
      CHECK(out[m][n] == sum);
    }
  }
}

TEST_CASE("does a missing barrier change the result under another order of threads?", "[emulator]") {
  const auto with = under_each_order(64, [](auto& out) { shift_by_one(out, true); });
  CHECK(with[0] == with[1]);
  CHECK(with[0] == with[2]);
  CHECK(with[0][63] == 0);
  const auto without = under_each_order(64, [](auto& out) { shift_by_one(out, false); });
  CHECK(without[0] != without[1]);
  CHECK(without[0] != without[2]);
}

TEST_CASE("is an asynchronous copy that nobody waited for not there?", "[emulator]") {
  alignas(16) const int source[4] = {1, 2, 3, 4};
  const auto copied = [&](bool wait) {
    return under_each_order(32, [&](auto& out) {
      ORRERY_DYNAMIC_SHARED(int, shared);
      if (threadIdx.x == 0) {
        async_copy16(shared, source);
        async_commit();
        if (wait) async_wait<0>();
      }
      __syncthreads();
      out[threadIdx.x] = shared[threadIdx.x % 4];
    });
  };
  CHECK(copied(true)[0][2] == 3);
  CHECK(copied(false)[0][2] == static_cast<int>(0xCDCDCDCD));
}

TEST_CASE("does waiting for all but the latest copies complete only the older ones?", "[emulator]") {
  alignas(16) const int source[8] = {1, 2, 3, 4, 5, 6, 7, 8};
  const auto out = under_each_order(32, [&](auto& values) {
    ORRERY_DYNAMIC_SHARED(int, shared);
    if (threadIdx.x == 0) {
      async_copy16(shared, source);
      async_commit();
      async_copy16(shared + 4, source + 4);
      async_commit();
      async_wait<1>();
    }
    __syncthreads();
    values[threadIdx.x] = shared[threadIdx.x % 8];
  });
  CHECK(out[0][3] == 4);
  CHECK(out[0][4] == static_cast<int>(0xCDCDCDCD));
}

TEST_CASE("is a copy of nothing a copy of zeros?", "[emulator]") {
  alignas(16) const int source[4] = {1, 2, 3, 4};
  const auto out = under_each_order(32, [&](auto& values) {
    ORRERY_DYNAMIC_SHARED(int, shared);
    if (threadIdx.x == 0) {
      async_copy16(shared, source, false);
      async_commit();
      async_wait<0>();
    }
    __syncthreads();
    values[threadIdx.x] = shared[threadIdx.x % 4];
  });
  CHECK(out[0][0] == 0);
  CHECK(out[0][3] == 0);
}

TEST_CASE("is a barrier that some threads never reach reported?", "[emulator]") {
  // Half of a warp waits for its warp, the other half for the block: neither can go on.
  const auto split = [] {
    if (lane_id() < 16) {
      __syncthreads();
    } else {
      warp_sync();
    }
  };
  for (const auto order : kOrders) {
    emulator::set_order(order);
    CHECK_THROWS_AS(emulator::run({1, 1, 1}, {64, 1, 1}, 0, split), std::logic_error);
  }
  emulator::set_order(emulator::Order::forward);
}

TEST_CASE("is what a GPU refuses refused?", "[emulator]") {
  const auto refused = [](unsigned threads, std::size_t shared_bytes, const std::function<void()>& body) {
    CHECK_THROWS_AS(emulator::run({1, 1, 1}, {threads, 1, 1}, shared_bytes, body), std::logic_error);
  };
  alignas(16) const int source[8] = {};
  refused(32, 32, [&] {
    ORRERY_DYNAMIC_SHARED(int, shared);
    async_copy16(shared, source + 1);
  });
  refused(32, 32, [&] {
    ORRERY_DYNAMIC_SHARED(bf16, shared);
    std::uint32_t r[4];
    load_matrices(r, shared + 4);
  });
  refused(32, 0, [] {
    if (lane_id() < 16) return;
    warp_sum(1);
  });
  refused(48, 0, [] {});
  refused(32, 228 * 1024, [] {});
}
