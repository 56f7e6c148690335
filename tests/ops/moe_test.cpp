#include "ops/moe.hpp"

#include <catch2/catch.hpp>

#include "ops/block_select.hpp"
#include "ops/cluster_sort.hpp"
#include "ops/kernel_classes.hpp"

using namespace orrery;

namespace {
Work work(const KernelClass& cls, const KernelClass::Dims& dims, DType weights = DType::bf16) {
  return make_call(cls, dims, DType::bf16, weights).work;
}
}  // namespace

TEST_CASE("how many experts does a batch hit when tokens choose uniformly?", "[ops]") {
  // Mixtral: 8 (1 - (3/4)^4); DeepSeek-V3: 256 (1 - (31/32)^32).
  CHECK(expected_active_experts(4, 8, 2) == Approx(8 * (1 - 81.0 / 256)));
  CHECK(expected_active_experts(32, 256, 8) == Approx(163.3).epsilon(1e-3));
  CHECK(expected_active_experts(1, 128, 8) == Approx(8));
  CHECK(expected_active_experts(3, 4, 4) == 4);
  CHECK(expected_active_experts(0, 8, 2) == 0);
}

TEST_CASE("does a grouped GEMM with one expert do what a GEMM does?", "[ops]") {
  for (const DType weights : {DType::bf16, DType::int4, DType::fp8}) {
    const Work grouped = work(kGroupedGemm, {48, 1024, 512, 1, 1}, weights);
    const Work dense = work(kGemm, {48, 1024, 512}, weights);
    CHECK(grouped.tensor_flops == dense.tensor_flops);
    CHECK(grouped.weight_bytes == dense.weight_bytes);
    CHECK(grouped.hbm_read_bytes == dense.hbm_read_bytes);
    CHECK(grouped.hbm_write_bytes == dense.hbm_write_bytes);
  }
}

TEST_CASE("are the weights of those experts alone read that get rows?", "[ops]") {
  const Work few = work(kGroupedGemm, {16, 1536, 2048, 128, 8}),
             more = work(kGroupedGemm, {16, 1536, 2048, 128, 16});
  CHECK(few.weight_bytes == 8.0 * 1536 * 2048 * 2);
  CHECK(more.weight_bytes == 2 * few.weight_bytes);
  CHECK(more.tensor_flops == few.tensor_flops);
  CHECK(more.hbm_read_bytes - few.hbm_read_bytes == few.weight_bytes);
}

TEST_CASE("does routing move a token's row once in, top_k times out and back, and once out again?", "[ops]") {
  const double tokens = 100, experts = 64, top_k = 6, hidden = 2048;
  const Work w = work(kMoeRouting, {tokens, experts, top_k, hidden});
  const double tables = tokens * top_k * 12, row = hidden * 2;
  CHECK(w.hbm_read_bytes == tokens * experts * 2 + tokens * (1 + top_k) * row + tables);
  CHECK(w.hbm_write_bytes == tokens * (top_k + 1) * row + tables);
  // Where experts choose, all scores are compared by each expert, and kept for it.
  CHECK(work(kMoeExpertChoice, {tokens, experts, top_k, hidden}).hbm_bytes() > w.hbm_bytes());
}

TEST_CASE("does attention over selected blocks that are all blocks cost what dense attention costs?",
          "[ops]") {
  const KernelClass::Dims dims{4, 4096, 32, 8, 128};
  const Work selected = work(kAttentionSelected, dims), dense = work(kAttentionDecode, dims);
  CHECK(selected.tensor_flops == dense.tensor_flops);
  // Four bytes say where a token's row is, for each KV head.
  CHECK(selected.hbm_read_bytes == dense.hbm_read_bytes + 4096.0 * 8 * 4);
  CHECK(kAttentionSelected.like == &kAttentionDecode);
}

TEST_CASE("does a score by bounds read two vectors per block and KV head, one by a mean half as much?",
          "[ops]") {
  const KernelClass::Dims one{1, 2048, 32, 8, 128, 64, 1}, two{1, 2048, 32, 8, 128, 64, 2};
  const Work mean = work(kBlockSelect, one), bounds = work(kBlockSelect, two);
  CHECK(bounds.hbm_read_bytes - mean.hbm_read_bytes == 2048.0 * 8 * 128 * 2);
  // Quest's index: 2 n / p vectors of d beside the n keys of d that dense attention reads.
  CHECK(bounds.hbm_read_bytes < work(kAttentionDecode, {1, 2048 * 16, 32, 8, 128}).hbm_read_bytes / 8);
}

TEST_CASE("does hashing cost half of what assigning to as many centroids does?", "[ops]") {
  const Work lsh = work(kClusterSort, {8192, 128, 64, 128, 8}),
             kmeans = work(kClusterSort, {8192, 128, 128, 128, 8});
  CHECK(kmeans.tensor_flops == 2 * lsh.tensor_flops);
  CHECK(kmeans.tensor_flops == 2.0 * 8192 * 8 * 128 * 128);
}
