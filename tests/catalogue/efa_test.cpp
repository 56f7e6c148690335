#include <map>

#include "catalogue/attention_support.hpp"
#include "cost/fitted.hpp"
#include "cost/roofline.hpp"
#include "cost/step_pricer.hpp"
#include "model/blocks.hpp"
#include "ops/attention_mla.hpp"

using namespace attn;

// Full attention: what keys and values take, and what kernels do with them.

namespace {

double seconds(const KernelCalls& calls, const KernelCostModel& cost) {
  double sum = 0;
  for (const KernelCall& call : calls) sum += call.repeat * cost.price(call).time.value;
  return sum;
}

/// FLOPs per byte of KV cache of a decode, the queries' own bytes apart.
double kv_intensity(const AttentionSizes& sizes, Tokens context, const LoweringContext& ctx = {}) {
  const Work w = total(decode_calls(sizes, context, ctx));
  return w.tensor_flops / (w.hbm_read_bytes - w.hbm_write_bytes);
}

LoweringContext ranks(int tp) {
  LoweringContext ctx;
  ctx.shard.tp = tp;
  return ctx;
}

}  // namespace

TEST_CASE("EFA-01 is unfused attention slower than fused from 512 tokens on?") {
  SKIP_UNTIL_MEASURED("attention with its scores in memory, launch by launch");
}

TEST_CASE("EFA-02 does fusing save at least 5 times the bytes at 4,096 tokens of width 64?") {
  const AttentionSizes sizes = attention_of("EFA-02");
  LoweringContext unfused;
  unfused.fusion.attention.fused = false;
  const auto ratio = [&](Tokens n) {
    return total(prompt_calls(sizes, n, unfused)).hbm_bytes() / total(prompt_calls(sizes, n)).hbm_bytes();
  };
  // Four squares of scores against Q, K, V, O once: n / d and the operands, 65 when re-reads of K and V hit
  // the L2. Read from memory again for each 128 queries they would leave 3.9. Baseline: PyTorch's attention,
  // whose paper reports 40.3 GB against 4.4, backward pass included.
  CHECK(ratio(4096) == Approx(65).margin(1));
  CHECK(ratio(4096) >= 5);
  CHECK(ratio(8192) == Approx(2 * ratio(4096)).epsilon(0.02));
  CHECK(prompt_calls(sizes, 4096, unfused).size() >= 4);
  CHECK(prompt_calls(sizes, 4096).size() == 1);
}

TEST_CASE("EFA-03 does FlashAttention-2 reach its measured TFLOP/s?") {
  SKIP_UNTIL_MEASURED("FlashAttention-2 on an A100 by head size and length");
}

TEST_CASE("EFA-04 is FlashAttention-3 1.5 to 2 times as fast as its predecessor, fp8 less than twice that?") {
  const AttentionSizes sizes = attention_of("EFA-04");
  const DeviceProfile device = load_device("h100-sxm");
  const Topology node = topology_for(device);
  // Causal, 16 heads of 128, 16 k tokens, as the paper's figure. Baseline: FlashAttention-2 at 35 % of the
  // H100's 989 TFLOP/s (the paper's abstract); the H100's fitted kernels are FlashAttention-3.
  const KernelCalls calls = prompt_calls(sizes, 16384);
  const double rate = total(calls).tensor_flops / seconds(calls, *make_fitted(device, node, ""));
  CHECK(rate / (0.35 * 989e12) > 1.5);
  CHECK(rate / (0.35 * 989e12) < 2 * 1.1);
  LoweringContext narrow;
  narrow.fusion.attention.scores = narrow.fusion.attention.values = DType::fp8;
  const auto light = make_speed_of_light(device, node);
  const double gain = seconds(calls, *light) / seconds(prompt_calls(sizes, 16384, narrow), *light);
  CHECK(gain > 1.2e15 / 740e12);  // reported
  CHECK(gain <= 2);
}

TEST_CASE("EFA-05 does one sequence's decode take the same time until its keys fill the device?") {
  const AttentionSizes sizes = attention_of("EFA-05");
  const DeviceProfile device = load_device("h100-sxm");
  const auto cost = make_fitted(device, topology_for(device), "");
  const auto time = [&](Tokens n) { return seconds(decode_calls(sizes, n), *cost); };
  // Blocks of 128 keys times 8 KV heads meet the 132 SMs at n = 2,112.
  const double knee = 128.0 * device.sm_count / 8;
  CHECK(time(static_cast<Tokens>(knee / 2)) / time(512) < 1.3);
  CHECK(time(65536) / time(static_cast<Tokens>(2 * knee)) > 4);
  // Unsplit, a block of threads per KV head walks all keys on one of 132 SMs, as fast as each does in a full
  // device. Reported: up to 50 times faster.
  const double full = seconds(decode_calls(sizes, 65536, {}, 128), *cost) / 128;
  const double unsplit = full * device.sm_count / 8;
  CHECK(unsplit / time(65536) > 2);
  CHECK(unsplit / time(65536) < 50);
}

TEST_CASE("EFA-06 does a softmax without synchronisation shorten steps by a fifth of attention's share?") {
  const DeviceProfile device = load_device("a100-sxm-80g");
  const Topology node = topology_for(device);
  const auto cost = make_speed_of_light(device, node);
  KernelPlan plain, async;
  async.class_factor = {{"attention_decode", 0.8}, {"attention_prefill", 0.8}};
  const ModelSpec model = load_model("llama-2-7b");
  StepPricer before(model, {}, device, node, plain, cost), after(model, {}, device, node, async, cost);
  struct Step {
    double share, gain;
  };
  const auto measured = [&](const BatchShape& batch) {
    double all = 0, attention = 0;
    for (const PricedCall& c : before.explain(batch).calls) {
      all += c.total.value;
      const bool part = c.call.role == "attention";
      if (part) attention += c.total.value;
    }
    return Step{attention / all, before.explain(batch).device.value / after.explain(batch).device.value};
  };
  // The share at which the paper measured each: 0.238 of prompts, 0.614 of decode.
  std::map<double, double> prompts, decodes;
  for (Tokens n = 128; n <= 65536; n += 128) {
    BatchShape prompt, decode;
    prompt.chunks = {{n, 0}};
    decode.decode_seqs = 16, decode.decode_context = 16 * n;
    const Step p = measured(prompt), s = measured(decode);
    CHECK(p.gain == Approx(1 / (1 - 0.2 * p.share)).epsilon(1e-6));
    CHECK(s.gain == Approx(1 / (1 - 0.2 * s.share)).epsilon(1e-6));
    prompts[p.share] = p.gain, decodes[s.share] = s.gain;
  }
  REQUIRE(prompts.rbegin()->first > 0.238);
  REQUIRE(decodes.rbegin()->first > 0.614);
  CHECK(prompts.lower_bound(0.238)->second == Approx(1.05).epsilon(0.01));
  CHECK(decodes.lower_bound(0.614)->second == Approx(1.14).epsilon(0.01));
}

TEST_CASE("EFA-07 does multi-head decode do one FLOP per byte of cache?") {
  const AttentionSizes sizes = attention_of("EFA-07");
  CHECK(kv_intensity(sizes, 4096) == 1);
  LoweringContext eight;
  eight.precision.kv_cache = DType::fp8;
  CHECK(kv_intensity(sizes, 4096, eight) == 2);
}

TEST_CASE("EFA-08 does one KV head take 1/h of the cache, on every rank alike?") {
  const AttentionSizes sizes = attention_of("EFA-08"), mha = attention_of("EFA-07");
  CHECK(mha.kv_bytes_per_token({}) == 32 * sizes.kv_bytes_per_token({}));
  for (const int tp : {1, 2, 4, 8}) CHECK(sizes.kv_bytes_per_token(ranks(tp)) == 2 * 128 * 2);
  // Eight ranks hold eight copies, where multi-head attention divides one.
  CHECK(8 * sizes.kv_bytes_per_token(ranks(8)) == 8 * sizes.kv_bytes_per_token({}));
  CHECK(8 * mha.kv_bytes_per_token(ranks(8)) == mha.kv_bytes_per_token({}));
}

TEST_CASE("EFA-09 does Llama-3.1-8B keep 131,072 bytes a token, at four FLOPs per byte read?") {
  const AttentionSizes sizes = attention_of("EFA-09");
  CHECK(32 * sizes.kv_bytes_per_token({}) == 131072);
  CHECK(kv_intensity(sizes, 4096) == 4);
  CHECK(load_model("llama-3.1-8b").kv_bytes_per_token({}) == 131072);
}

TEST_CASE("EFA-10 does a latent take the place of 56.9 times as much, at 241.8 FLOPs per byte?") {
  const auto sizes = block_of<LatentSizes>("EFA-10", "latent");
  const double elements = sizes.kv_bytes_per_token({}) / 2;
  CHECK(elements == 576);
  CHECK(2.0 * 128 * 128 / elements == Approx(56.9).margin(0.05));
  CHECK(elements / (2 * 128) == 2.25);  // as many groups of a GQA of width 128
  BatchShape batch;
  batch.decode_seqs = 1, batch.decode_context = 1 << 20;
  KernelCalls calls;
  MlaDecode(sizes).lower(batch, {}, calls);
  // 2 h (2 r + d_r) FLOPs for 2 (r + d_r) bytes: 1.889 h.
  CHECK(total(calls).tensor_flops / total(calls).hbm_read_bytes == Approx(241.8).epsilon(1e-3));
  // DeepSeek-V2's 60 layers with 6 bits per element against the 67 B model's 95 with 8 KV heads of 128.
  AttentionSizes gqa{64, 8, 128};
  const double v2 = 60 * sizes.kv_bytes_per_token({}) * 6 / 16, v1 = 95 * gqa.kv_bytes_per_token({});
  CHECK(1 - v2 / v1 == Approx(0.9334).margin(5e-5));
}

TEST_CASE("EFA-11 do grouped latents shard, and tied keys and values take half?") {
  LatentSizes grouped = block_of<LatentSizes>("EFA-11", "latent"), one = grouped;
  one.groups = 1;
  const auto share = [&] { return grouped.kv_bytes_per_token(ranks(2)) / one.kv_bytes_per_token(ranks(2)); };
  CHECK(share() == Approx(320.0 / 576));
  grouped.rope = one.rope = 32;
  CHECK(share() == Approx(0.529).margin(5e-4));
  CHECK(grouped.kv_bytes_per_token({}) == one.kv_bytes_per_token({}));
  AttentionSizes tied{32, 8, 128}, gqa{32, 8, 128};
  tied.tied = true;
  CHECK(tied.kv_bytes_per_token({}) == gqa.kv_bytes_per_token({}) / 2);
  tied.tied_rope = 64;  // half a head, rotated, for all
  CHECK(tied.kv_bytes_per_token({}) == gqa.kv_bytes_per_token({}) / 2 + 128);
  CHECK(kv_intensity(tied, 1 << 16) > 1.8 * kv_intensity(gqa, 1 << 16));
}

TEST_CASE("EFA-12 do k of h heads cost k/h of attention, over a cache of all of them?") {
  AttentionSizes sizes = attention_of("EFA-12");
  const AttentionSizes full = dense(sizes);
  CHECK(sizes.kv_bytes_per_token({}) == full.kv_bytes_per_token({}));
  for (const std::int64_t heads : {16, 24, 29}) {  // MoH: 50 to 90 %
    sizes.active_heads = heads;
    const double share = d(heads) / 32;
    CHECK(total(prompt_calls(sizes, 4096)).tensor_flops ==
          share * total(prompt_calls(full, 4096)).tensor_flops);
    CHECK(total(decode_calls(sizes, 4096)).tensor_flops ==
          share * total(decode_calls(full, 4096)).tensor_flops);
  }
  sizes.active_heads = 32;
  CHECK(prompt_calls(sizes, 4096)[0].dims == prompt_calls(full, 4096)[0].dims);
  CHECK(decode_calls(sizes, 4096)[0].dims == decode_calls(full, 4096)[0].dims);
}

TEST_CASE("EFA-13 does 8-bit Q K^T gain a third at most, and both products in 8 bits twice?") {
  const AttentionSizes sizes = attention_of("EFA-13");
  const DeviceProfile device = load_device("a100-sxm-80g");
  const auto light = make_speed_of_light(device, topology_for(device));
  const auto gain = [&](std::optional<DType> scores, std::optional<DType> values) {
    LoweringContext ctx;
    ctx.fusion.attention.scores = scores, ctx.fusion.attention.values = values;
    return seconds(prompt_calls(sizes, 32768), *light) / seconds(prompt_calls(sizes, 32768, ctx), *light);
  };
  // Half of the time at twice the rate: 1 / (1/4 + 1/2). The kernel that quantises takes the rest.
  CHECK(gain(DType::int8, {}) <= 4.0 / 3);
  CHECK(gain(DType::int8, {}) > 1.25);
  CHECK(gain(DType::int8, DType::int8) <= 2);
  CHECK(gain(DType::int8, DType::int8) > 1.8);
  // Reported: 2.1 over FlashAttention-2 on an RTX 4090, where fp16 accumulation doubles P V as well.
  CHECK(gain(DType::int8, DType::int8) < 2.1 * 1.25);
}

TEST_CASE("EFA-14 do quantised encoders store the bits they say, and their scales?") {
  const auto precision = block_of<Precision>("EFA-14", "precision");
  const auto dense = block_of<DenseParams>("EFA-14", "dense");
  const double width = 768, inner = static_cast<double>(dense.width);  // BERT-base
  const auto bytes = [&](DType weight) {
    LinearFormat format = precision.linear(Module::ffn);
    format.weight = weight;
    return stored_matrix_bytes(format, width, inner);
  };
  CHECK(precision.linear(Module::mixer).weight == DType::int8);
  CHECK(bytes(DType::bf16) == 2 * width * inner);
  CHECK(bytes(DType::int8) == width * inner + 4 * inner);  // one fp32 scale per output channel
  CHECK(bytes(DType::int4) == width * inner / 2 + 2 * inner * (width / 128));  // one of 16 bits per 128
  LinearFormat q_bert = precision.linear(Module::ffn);                         // 3 bits in 128 groups of rows
  q_bert.bits = 3;
  CHECK(stored_matrix_bytes(q_bert, width, inner) == width * inner * 3 / 8 + 4 * inner);
}
