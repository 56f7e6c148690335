#include "ops/linear_format.hpp"

#include <catch2/catch.hpp>

#include "base/error.hpp"
#include "ops/kernel_classes.hpp"
#include "ops/linear.hpp"
#include "ops/linear_compressed.hpp"

using namespace orrery;

namespace {
LinearFormat in(DType weight, DType compute = DType::bf16) {
  LinearFormat f;
  f.weight = weight, f.compute = compute;
  return f;
}
double bits_per_weight(const LinearFormat& f, double k = 4096, double n = 11008) {
  return 8 * stored_matrix_bytes(f, k, n) / (k * n);
}
KernelCalls product(const LinearFormat& f, double m = 16, double n = 6144, double k = 4096) {
  KernelCalls calls;
  push_product("proj", {m, n, k}, f, DType::bf16, calls);
  return calls;
}
}  // namespace

TEST_CASE("does every identity value of a format leave the call bit-equal to the dense one?") {
  const auto dense = product({});
  REQUIRE(dense.size() == 1);
  std::vector<LinearFormat> identities(6);
  identities[0].bits = 16;
  identities[1].rank = 4096;  // full
  identities[2].sparsity.keep = identities[2].sparsity.of = 4;
  identities[3].sparsity.zeros = 0.5;  // zeros that are stored
  identities[4].outliers = 1e-9;       // less than one row
  identities[5].adapter_rank = 0;
  for (const auto& f : identities) {
    f.check();
    const auto calls = product(f);
    REQUIRE(calls.size() == 1);
    const auto &a = calls[0], &b = dense[0];
    CHECK(a.cls == b.cls);
    CHECK(a.dims == b.dims);
    CHECK(a.work.tensor_flops == b.work.tensor_flops);
    CHECK(a.work.hbm_read_bytes == b.work.hbm_read_bytes);
    CHECK(a.work.hbm_write_bytes == b.work.hbm_write_bytes);
    CHECK(a.work.weight_bytes == b.work.weight_bytes);
    CHECK(stored_matrix_bytes(f, 4096, 6144) == 2.0 * 4096 * 6144);
  }
}

TEST_CASE("are the scales of grouped formats counted as their papers store them?") {
  CHECK(bits_per_weight(in(DType::fp4)) == 4.5);  // NVFP4: an FP8 scale per 16
  auto mx = in(DType::fp4);
  mx.scales = mx_scales();
  CHECK(bits_per_weight(mx) == 4.25);  // MXFP4: an E8M0 exponent per 32
  auto block = in(DType::fp8);
  block.scales = block128_scales();
  CHECK(stored_matrix_bytes(block, 7168, 1536) == 7168.0 * 1536 + 56 * 12 * 4);
  CHECK(stored_matrix_bytes(block, 7168, 576) == 7168.0 * 576 + 56 * 5 * 4);  // 4.5 blocks of columns are 5
  auto nf4 = in(DType::int4);
  nf4.scales = double_quantised_scales();
  CHECK(bits_per_weight(nf4) == Approx(4.127).margin(0.0005));  // QLoRA, section 3: 0.127 bits of constants
}

TEST_CASE("do outliers run as a second product in 16 bits, over rows the first leaves out?") {
  auto f = in(DType::int8, DType::int8);
  f.outliers = 1.0 / 64;
  const auto calls = product(f);
  REQUIRE(calls.size() == 2);
  CHECK(calls[0].dims[2] + calls[1].dims[2] == 4096);
  CHECK(calls[1].dims[2] == 64);
  CHECK(calls[1].dtype == DType::bf16);
  CHECK(calls[0].work.tensor_flops + calls[1].work.tensor_flops == product({})[0].work.tensor_flops);
  CHECK(calls[0].work.weight_bytes + calls[1].work.weight_bytes == stored_matrix_bytes(f, 4096, 6144));
  // y is written twice and read once for the sum.
  CHECK(calls[1].work.hbm_bytes() - calls[1].work.weight_bytes == 16.0 * 64 * 2 + 2 * 16.0 * 6144 * 2);
}

TEST_CASE("is an adapter a pair of thin products beside the base matrix, whatever the base is stored in?") {
  auto f = in(DType::int4);
  f.adapter_rank = 64;
  const auto calls = product(f);
  REQUIRE(calls.size() == 2);
  CHECK(calls[1].cls == &kGemmLowRank);
  CHECK(calls[1].work.tensor_flops == 2.0 * 16 * 64 * (4096 + 6144));
  CHECK(calls[1].work.weight_bytes == 64.0 * (4096 + 6144) * 2);
  CHECK(calls[1].cls->launches == 2);
  CHECK(stored_matrix_bytes(f, 4096, 6144) - stored_matrix_bytes(in(DType::int4), 4096, 6144) ==
        calls[1].work.weight_bytes);
}

TEST_CASE("does only 2:4 sparsity save arithmetic, and does every kind of storage save bytes as it should?") {
  LinearFormat sparse;
  sparse.sparsity = {0, false, 2, 4};
  const double dense = product({})[0].work.tensor_flops;
  CHECK(product(sparse)[0].work.tensor_flops == dense / 2);
  sparse.sparsity = {0, false, 4, 8};
  CHECK(product(sparse)[0].work.tensor_flops == dense);
  CHECK(bits_per_weight(sparse) == 0.5 * (16 + 3));  // an index among 8 has 3 bits
  sparse.sparsity = {0.75, true, 0, 0};
  CHECK(product(sparse)[0].work.tensor_flops == dense);
  CHECK(bits_per_weight(sparse) == 0.25 * 16 + 1);
  // 4-bit weights, 2:4 sparse (gptq_marlin_24): 2 of 4 neighbours in 4 bits, 2 bits of index, scales of 128
  // kept ones.
  auto marlin24 = in(DType::int4);
  marlin24.sparsity = {0, false, 2, 4};
  CHECK(bits_per_weight(marlin24) == 0.5 * (4 + 2 + 0.125));
  CHECK(product(marlin24)[0].cls == &kGemmSparse24);
  CHECK(product(marlin24)[0].work.weight_bytes == stored_matrix_bytes(marlin24, 4096, 6144));
}

TEST_CASE("do the modules of a model each run in their own format, output projections with their mixer's?") {
  LoweringContext ctx;
  auto mx = in(DType::fp4);
  mx.scales = mx_scales();
  ctx.precision.of(Module::experts) = mx;
  CHECK(ctx.precision.linear(Module::mixer) == LinearFormat{});
  CHECK(ctx.precision.linear(Module::experts) == mx);
  ctx.precision.of(Module::mixer) = in(DType::fp8, DType::fp8);
  CHECK(ctx.precision.linear(Module::mixer_output) == in(DType::fp8, DType::fp8));
  ctx.precision.of(Module::mixer_output) = in(DType::fp4, DType::fp4);
  CHECK(ctx.precision.linear(Module::mixer).weight == DType::fp8);

  const auto bytes = [&](Module module) {
    return Linear("p", {{4096}}, {{4096}}, TensorSplit::rows, false, module).weight_bytes(ctx);
  };
  CHECK(bytes(Module::ffn) == 4096.0 * 4096 * 2);
  CHECK(bytes(Module::mixer) == 4096.0 * 4096 + 4096 * 4);
  CHECK(bytes(Module::mixer_output) == 4096.0 * 4096 * 4.5 / 8);
  CHECK(bytes(Module::experts) == 4096.0 * 4096 * 4.25 / 8);
  ctx.precision.set_linear(in(DType::fp8, DType::fp8));
  for (const Module m : {Module::mixer, Module::ffn, Module::experts, Module::mixer_output})
    CHECK(bytes(m) == 4096.0 * 4096 + 4096 * 4);
  ctx.precision.set_linear(mx);
  for (const Module m : {Module::mixer, Module::ffn, Module::experts, Module::mixer_output})
    CHECK(bytes(m) == 4096.0 * 4096 * 4.25 / 8);
}

TEST_CASE("are formats that contradict themselves refused by the name of the field?") {
  const auto refusal = [](const LinearFormat& f) -> std::string {
    try {
      f.check();
    } catch (const ConfigError& e) {
      return e.what();
    }
    return "";
  };
  LinearFormat f = in(DType::int4);
  f.bits = 5;
  CHECK_THAT(refusal(f), Catch::Contains("bits 5 of int4"));
  f = {};
  f.outliers = 1;
  CHECK_THAT(refusal(f), Catch::Contains("outliers"));
  f = {};
  f.sparsity = {0, false, 5, 4};
  CHECK_THAT(refusal(f), Catch::Contains("5 of 4"));
  f = {};
  f.rank = 8, f.outliers = 0.1;
  CHECK_THAT(refusal(f), Catch::Contains("rank"));
  f = {};
  f.rank = -1;
  CHECK_THAT(refusal(f), Catch::Contains("rank"));
}
