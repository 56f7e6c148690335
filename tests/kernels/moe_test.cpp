#include <catch2/catch.hpp>

#include "gemm_grouped.hpp"
#include "moe_routing.hpp"
#include "random.hpp"

using namespace orrery::kernels;

namespace {

constexpr int kTokens = 11, kExperts = 6, kTopK = 2, kHidden = 64, kWidth = 24;

/// A layer's routing, as an engine calls it.
struct Routed {
  explicit Routed(int alignment)
      : rows(max_moe_rows(kTokens, kExperts, kTopK, alignment)),
        logits(random_array<bf16>(kTokens * kExperts, 3, 4.0F)),
        expert(poisoned_array<std::int32_t>(kTokens * kTopK)),
        row(poisoned_array<std::int32_t>(kTokens * kTopK)),
        token(poisoned_array<std::int32_t>(static_cast<std::size_t>(rows))),
        start(poisoned_array<std::int32_t>(kExperts)),
        count(poisoned_array<std::int32_t>(kExperts)),
        weight(poisoned_array<float>(kTokens * kTopK)) {
    ChooseExpertsArgs choose;
    choose.logits = logits.data(), choose.expert = expert.data(), choose.weight = weight.data();
    choose.tokens = kTokens, choose.experts = kExperts, choose.top_k = kTopK;
    choose_experts(choose, nullptr);
    SortByExpertArgs sort;
    sort.expert = expert.data(), sort.row = row.data(), sort.token = token.data();
    sort.start = start.data(), sort.count = count.data();
    sort.tokens = kTokens, sort.experts = kExperts, sort.top_k = kTopK, sort.alignment = alignment;
    sort_by_expert(sort, nullptr);
  }
  std::int64_t rows;
  DeviceArray<bf16> logits;
  DeviceArray<std::int32_t> expert, row, token, start, count;
  DeviceArray<float> weight;
};

/// A layer's output: rows permuted before the product, or gathered by it.
std::vector<double> layer(int alignment, bool permuted) {
  const Routed routed(alignment);
  const auto x = random_array<bf16>(kTokens * kHidden, 5),
             w = random_array<bf16>(kExperts * kWidth * kHidden, 6);
  const auto rows = static_cast<std::size_t>(routed.rows);
  const auto copied = poisoned_array<bf16>(rows * kHidden), made = poisoned_array<bf16>(rows * kWidth);
  const auto y = poisoned_array<bf16>(kTokens * kWidth);
  PermuteArgs permute;
  permute.x = x.data(), permute.row = routed.row.data(), permute.out = copied.data();
  permute.tokens = kTokens, permute.top_k = kTopK, permute.hidden = kHidden;
  permute_rows(permute, nullptr);
  const GroupedGemmWorkspace workspace(2);
  GroupedGemmArgs gemm;
  gemm.x = permuted ? copied.data() : x.data(), gemm.token = permuted ? nullptr : routed.token.data();
  gemm.w = w.data(), gemm.start = routed.start.data(), gemm.count = routed.count.data(), gemm.y = made.data();
  gemm.rows = kTokens * kTopK, gemm.n = kWidth, gemm.k = kHidden, gemm.experts = kExperts;
  gemm_grouped(gemm, workspace, nullptr);
  CombineArgs combine;
  combine.x = made.data(), combine.row = routed.row.data(), combine.weight = routed.weight.data();
  combine.y = y.data(), combine.tokens = kTokens, combine.choices = kTopK, combine.hidden = kWidth;
  combine_rows(combine, nullptr);
  return to_doubles(y);
}

}  // namespace

TEST_CASE("is a mixture of experts the same whether rows are permuted, padded or gathered?") {
  const auto expected = layer(1, true);
  for (const double y : expected) CHECK(y == y);
  CHECK(layer(1, false) == expected);
  CHECK(layer(16, true) == expected);
  CHECK(layer(16, false) == expected);
}

TEST_CASE("does a batch without tokens leave every expert without rows?") {
  const auto start = poisoned_array<std::int32_t>(kExperts), count = poisoned_array<std::int32_t>(kExperts);
  SortByExpertArgs sort;
  sort.start = start.data(), sort.count = count.data(), sort.experts = kExperts, sort.top_k = kTopK;
  sort_by_expert(sort, nullptr);
  CHECK(count.download() == std::vector<std::int32_t>(kExperts, 0));
  CHECK(start.download() == std::vector<std::int32_t>(kExperts, 0));
}

TEST_CASE("how many rows must be reserved when the rows of experts begin at multiples of a tile?") {
  CHECK(max_moe_rows(4, 128, 8, 1) == 32);
  CHECK(max_moe_rows(4, 128, 8, 16) == 32 * 16);  // every choice alone with its expert
  CHECK(max_moe_rows(1000, 8, 2, 64) == 2000 + 8 * 63);
}
