#include "gemm.hpp"

#include <algorithm>

#include <catch2/catch.hpp>

#include "gemm_shapes.hpp"
#include "typed_array.hpp"

using namespace orrery;
using namespace orrery::kernels;

namespace {

std::vector<double> product(const TypedArray& x, const TypedArray& w, const GemmShape& s) {
  const auto a = x.doubles(), b = w.doubles();
  std::vector<double> y;
  for (std::int64_t i = 0; i < s.m; ++i) {
    for (std::int64_t j = 0; j < s.n; ++j) {
      double sum = 0;
      for (std::int64_t k = 0; k < s.k; ++k) {
        sum += a[static_cast<std::size_t>(i * s.k + k)] * b[static_cast<std::size_t>(j * s.k + k)];
      }
      y.push_back(sum);
    }
  }
  return y;
}

}  // namespace

TEST_CASE("does one context compute products of any shape, one after another and again?") {
  GemmContext context;
  for (int round = 0; round < 2; ++round) {
    for (const std::int64_t m : {1, 3, 16, 17}) {
      // k of 1024: the flat kernel splits it among blocks here, and must leave its counters as it found them.
      for (const std::int64_t k : {24, 1024, 7}) {
        const GemmShape shape{m, 70, k, DType::bf16, GemmScaling::none};
        const auto x = TypedArray::random(Element::bf16, m * k, 1),
                   w = TypedArray::random(Element::bf16, 70 * k, 2);
        const auto y = TypedArray::poisoned(Element::bf16, m * 70);
        gemm(context, shape, {x.data(), w.data(), y.data(), nullptr, nullptr}, nullptr);
        INFO("m " << m << " k " << k << " round " << round);
        CHECK(compare(y.doubles(), product(x, w, shape), 8e-3).passed());
      }
    }
  }
}

TEST_CASE("is a GEMM given to the kernels for few rows only where they can compute it?") {
  const auto of = [](std::int64_t m, std::int64_t k, DType format) {
    return gemm_variant({m, 64, k, format, GemmScaling::none});
  };
  CHECK(of(1, 64, DType::bf16) == GemmVariant::gemv);
  CHECK(of(3, 64, DType::fp16) == GemmVariant::flat);
  CHECK(of(16, 64, DType::bf16) == GemmVariant::flat);
  CHECK(of(17, 64, DType::bf16) == GemmVariant::cublaslt);
  CHECK(of(1, 60, DType::bf16) == GemmVariant::cublaslt);  // rows of W would not start on 16 bytes
  CHECK(gemm_variant({1, 64, 64, DType::fp8, GemmScaling::tensor}) == GemmVariant::cublaslt);
}

TEST_CASE("do the splits of k cover it exactly once and fit the memory for them?") {
  const SplitK memory{nullptr, nullptr, 100000, 64};
  for (const std::int64_t steps : {0, 1, 3, 4, 7, 32, 100}) {
    for (const std::int64_t tiles : {1, 5, 64, 65, 1000}) {
      const auto plan = split_plan(tiles, steps, 264, 4, 2000, memory);
      INFO(steps << " steps, " << tiles << " tiles: " << plan.splits << " x " << plan.steps);
      const std::int64_t covered = std::int64_t{plan.splits} * plan.steps;
      CHECK(plan.splits >= 1);
      CHECK(covered >= steps);
      CHECK((steps == 0 || covered - plan.steps < steps));  // none is empty
      CHECK((plan.splits == 1 || plan.steps >= 4));
      CHECK((plan.splits == 1 || plan.splits * 2000 <= 100000));
      CHECK((plan.splits == 1 || tiles <= 64));
    }
  }
}

TEST_CASE("are a model's linear layers among the shapes measured, at every tensor parallelism?") {
  const auto shapes = model_weights(true);
  const auto has = [&](std::int64_t n, std::int64_t k) {
    return std::find(shapes.begin(), shapes.end(), WeightShape{n, k}) != shapes.end();
  };
  for (const std::int64_t ranks : {1, 2, 4, 8}) {  // Llama-3.1-70B
    CHECK(has(10240 / ranks, 8192));
    CHECK(has(8192, 8192 / ranks));
    CHECK(has(57344 / ranks, 8192));
    CHECK(has(8192, 28672 / ranks));
    CHECK(has(128256 / ranks, 8192));
  }
}
