#include <catch2/catch.hpp>

#include "base/error.hpp"
#include "base/registry.hpp"
#include "ops/collective.hpp"
#include "ops/elementwise.hpp"
#include "ops/kernel_classes.hpp"
#include "ops/linear.hpp"
#include "ops/vocabulary.hpp"

using namespace orrery;

namespace {
BatchShape decodes(std::int64_t n) {
  BatchShape batch;
  batch.decode_seqs = n;
  batch.decode_context = 100 * n;
  return batch;
}
KernelCalls lowered(const Operator& op, const BatchShape& batch, const LoweringContext& ctx = {}) {
  KernelCalls calls;
  op.lower(batch, ctx, calls);
  return calls;
}
Linear llama_qkv() {
  return {"qkv_proj", {{4096}}, {{32, 128}, {8, 128}, {8, 128}}, TensorSplit::columns, false};
}
}  // namespace

TEST_CASE("are the kernel classes that shipped fits are named after still there?") {
  for (const char* name : {"all_gather", "all_reduce_custom", "all_reduce_nccl", "attention_decode",
                           "attention_prefill", "elementwise", "gemm", "lm_head", "sampling", "send_recv"}) {
    CHECK_NOTHROW(Registry<KernelClasses>::find(name));
  }
  for (const auto& entry : Registry<KernelClasses>::entries()) CHECK(entry.make->name == entry.name);
}

TEST_CASE("does a GEMM multiply 2mnk and move each operand once?") {
  const auto calls = lowered(llama_qkv(), decodes(16));
  REQUIRE(calls.size() == 1);
  const auto& c = calls.front();
  CHECK(c.cls == &kGemm);
  CHECK(c.dims[0] == 16);
  CHECK(c.dims[1] == 6144);  // (32 + 2 * 8) * 128
  CHECK(c.dims[2] == 4096);
  CHECK(c.work.tensor_flops == 2.0 * 16 * 6144 * 4096);
  CHECK(c.work.weight_bytes == 6144.0 * 4096 * 2);
  CHECK(c.work.hbm_read_bytes == c.work.weight_bytes + 16.0 * 4096 * 2);
  CHECK(c.work.hbm_write_bytes == 16.0 * 6144 * 2);
}

TEST_CASE("do dense kernels run on the padded tokens of a CUDA graph?") {
  auto batch = decodes(13);
  batch.padded_tokens = 16;
  CHECK(lowered(llama_qkv(), batch).at(0).dims[0] == 16);
  CHECK(lowered(LmHead(32000, 4096, false), batch).at(0).dims[0] == 13);
}

TEST_CASE("do quantised weights shrink the bytes, scales included, and leave the FLOPs?") {
  LoweringContext ctx;
  const auto bf16 = lowered(llama_qkv(), decodes(1), ctx).at(0).work;
  ctx.precision.weight = DType::int4;
  const auto w4a16 = lowered(llama_qkv(), decodes(1), ctx).at(0).work;
  CHECK(w4a16.tensor_flops == bf16.tensor_flops);
  CHECK(w4a16.tensor_dtype == DType::bf16);
  // 4 bits a weight and 16 for every 128 of them.
  CHECK(w4a16.weight_bytes == 6144.0 * 4096 * (4 + 16.0 / 128) / 8);
  ctx.precision.weight = ctx.precision.compute = DType::fp8;
  const auto fp8 = lowered(llama_qkv(), decodes(1), ctx).at(0).work;
  CHECK(fp8.tensor_dtype == DType::fp8);
  CHECK(fp8.weight_bytes == 6144.0 * 4096 + 6144 * 4);
  CHECK(fp8.hbm_read_bytes - fp8.weight_bytes == 4096.0);
}

TEST_CASE("do the ranks of a split hold each weight once, except replicated KV heads?") {
  const auto whole = llama_qkv().weight_bytes({});
  LoweringContext ctx;
  for (const int tp : {2, 4, 8}) {
    ctx.shard.tp = tp;
    CHECK(tp * llama_qkv().weight_bytes(ctx) == whole);
  }
  ctx.shard.tp = 16;  // 8 KV heads on 16 ranks: k and v twice
  CHECK(16 * llama_qkv().weight_bytes(ctx) == whole + 2.0 * 8 * 128 * 4096 * 2);
  const Linear down("down_proj", {{14336}}, {{4096}}, TensorSplit::rows, false);
  CHECK(16 * down.weight_bytes(ctx) == down.weight_bytes({}));
}

TEST_CASE("does RMSNorm with residual read and write two rows, in one kernel or two?") {
  const RmsNorm norm("post_norm", 4096, true, true);
  LoweringContext ctx;
  const auto fused = lowered(norm, decodes(1), ctx);
  REQUIRE(fused.size() == 1);
  CHECK(fused[0].dims[1] == 4.0 * 4096 * 2);
  ctx.fusion.norm_residual = false;
  const auto unfused = lowered(norm, decodes(1), ctx);
  REQUIRE(unfused.size() == 2);
  CHECK(unfused[0].role == "residual_add");
  CHECK(unfused[0].dims[1] + unfused[1].dims[1] == 5.0 * 4096 * 2);
}

TEST_CASE("is one kernel saved by fusing rope with the KV write, and its re-read of k?") {
  const RopeKvWrite rope({32, 8, 128, 0});
  LoweringContext ctx;
  const auto apart = lowered(rope, decodes(1), ctx);
  REQUIRE(apart.size() == 2);
  CHECK(apart[1].role == "kv_write");
  ctx.fusion.rope_kv_write = true;
  const auto fused = lowered(rope, decodes(1), ctx);
  REQUIRE(fused.size() == 1);
  // k is neither written back nor read again: 2 * 8 * 128 elements of bf16.
  CHECK(apart[0].dims[1] + apart[1].dims[1] - fused[0].dims[1] == 2.0 * 8 * 128 * 2);
}

TEST_CASE("does the activation read gate and up and write their product?") {
  LoweringContext ctx;
  CHECK(lowered(Activation(14336, true), decodes(1), ctx).at(0).dims[1] == 3.0 * 14336 * 2);
  CHECK(lowered(Activation(14336, false), decodes(1), ctx).at(0).dims[1] == 2.0 * 14336 * 2);
  ctx.shard.tp = 2;
  CHECK(lowered(Activation(14336, true), decodes(1), ctx).at(0).dims[1] == 3.0 * 7168 * 2);
  ctx.fusion.activation_mul = false;
  CHECK(lowered(Activation(14336, true), decodes(1), ctx).size() == 2);
}

TEST_CASE(
    "is the input of a linear layer quantised by a kernel of its own only where nothing else does it?") {
  LoweringContext ctx;
  CHECK_FALSE(quantise_needed(ctx, Producer::norm));
  ctx.precision.weight = DType::int4;
  CHECK_FALSE(quantise_needed(ctx, Producer::norm));  // W4A16 computes in bf16
  ctx.precision.weight = ctx.precision.compute = DType::fp8;
  CHECK_FALSE(quantise_needed(ctx, Producer::norm));  // inside the fp8 GEMM
  ctx.fusion.quant_in_fp8_gemm = false;
  CHECK(quantise_needed(ctx, Producer::norm));
  ctx.fusion.quant_into_norm = true;
  CHECK_FALSE(quantise_needed(ctx, Producer::norm));
  CHECK(quantise_needed(ctx, Producer::attention));
  ctx.precision.compute = DType::int8;
  ctx.fusion = {};
  CHECK(lowered(Quantise({4096}, false, Producer::norm), decodes(2), ctx).at(0).dims[1] == 4096.0 * (2 + 1));
}

TEST_CASE("does an all-reduce cost nothing on one rank and a ring's traffic on more?") {
  const AllReduce reduce("attn_all_reduce", 4096);
  LoweringContext ctx;
  CHECK(lowered(reduce, decodes(8), ctx).empty());
  ctx.shard.tp = 4;
  const auto c = lowered(reduce, decodes(8), ctx).at(0);
  CHECK(c.cls == &kAllReduceNccl);
  CHECK(c.dims[0] == 4);
  CHECK(c.dims[1] == 8.0 * 4096 * 2);
  CHECK(c.work.link_bytes == 2.0 * 3 / 4 * c.dims[1]);
}

TEST_CASE("are logits computed for one row per request and gathered from all ranks?") {
  auto batch = decodes(5);
  batch.chunks = {{512, 0}, {100, 100}};
  LoweringContext ctx;
  ctx.shard.tp = 8;
  CHECK(local_vocab(128256, 8) == 16032);
  CHECK(local_vocab(32001, 1) == 32064);  // padded to a multiple of 64
  const auto head = lowered(LmHead(128256, 4096, false), batch, ctx).at(0);
  CHECK(head.dims[0] == 7);
  CHECK(head.dims[1] == 16032);
  const auto gather = lowered(LogitsGather(128256), batch, ctx).at(0);
  CHECK(gather.dims[1] == 7.0 * 16032 * 2);
  CHECK(gather.work.link_bytes == 7 * gather.dims[1]);
  CHECK(lowered(Sampling(128256), batch, ctx).at(0).dims[1] == 128256);
}

TEST_CASE("are number formats read by all the names checkpoints use?") {
  CHECK(parse_dtype("bfloat16") == DType::bf16);
  CHECK(parse_dtype("torch.float16") == DType::fp16);
  CHECK(parse_dtype("FP8_E4M3") == DType::fp8);
  CHECK_THROWS_AS(parse_dtype("int3"), ConfigError);
}
