#include <catch2/catch.hpp>

#include "base/error.hpp"
#include "model/lowering.hpp"
#include "model/model_spec.hpp"

using namespace orrery;

namespace {

LoweringContext split(int tp, int cp, int dcp = 1) {
  LoweringContext ctx;
  ctx.shard.tp = tp, ctx.shard.cp = cp, ctx.shard.dcp = dcp;
  return ctx;
}

double flops(const KernelCalls& calls) {
  double sum = 0;
  for (const auto& call : calls) sum += call.repeat * call.work.tensor_flops;
  return sum;
}

KernelCalls lowered(const ModelSpec& model, const BatchShape& batch, const LoweringContext& ctx) {
  KernelCalls calls;
  model.lower(batch, ctx, calls);
  return calls;
}

std::string refusal(const char* model, const LoweringContext& ctx) {
  try {
    check_split(load_model(model), ctx.shard);
  } catch (const ConfigError& e) {
    return std::string(e.what()) + " | " + e.hint();
  }
  return "";
}

}  // namespace

TEST_CASE("do decode-context ranks keep one copy of the cache together?", "[context]") {
  // 61 layers of 576 latents in 16 bits: every tensor-parallel rank keeps them all, or an eighth.
  const auto deepseek = load_model("deepseek-v3");
  CHECK(deepseek.kv_bytes_per_token(split(8, 1)) == 70272);
  CHECK(deepseek.kv_bytes_per_token(split(8, 1, 8)) == 70272.0 / 8);
  CHECK(8 * deepseek.sequence_bytes(131072, split(8, 1, 8)) == deepseek.sequence_bytes(131072, split(8, 1)));
  // Four KV heads at TP8 are kept twice (94 layers, K and V of 128 in 16 bits).
  const auto qwen = load_model("qwen3-235b-a22b");
  CHECK(8 * qwen.kv_bytes_per_token(split(8, 1)) == 2 * 94 * 2 * 4 * 128 * 2);
  CHECK(8 * qwen.kv_bytes_per_token(split(8, 1, 2)) == 94 * 2 * 4 * 128 * 2);
  // Prompts divided over ranks leave the cache whole on each.
  CHECK(qwen.kv_bytes_per_token(split(8, 4)) == qwen.kv_bytes_per_token(split(8, 1)));
}

TEST_CASE("which context-parallel splits does a model allow?", "[context]") {
  // vLLM's guide: up to TP / KV heads; DeepSeek-R1 at TP8 8, Kimi-K2 at TP16 16, Qwen3-235B at TP8 2.
  CHECK(refusal("deepseek-v3", split(8, 1, 8)).empty());
  CHECK(refusal("kimi-k2", split(16, 1, 16)).empty());
  CHECK(refusal("qwen3-235b-a22b", split(8, 1, 2)).empty());
  CHECK_THAT(refusal("qwen3-235b-a22b", split(8, 1, 4)),
             Catch::Contains("decode_context_parallel_size 4") && Catch::Contains("valid sizes: 1, 2"));
  CHECK_THAT(refusal("llama-3.1-70b", split(8, 1, 2)), Catch::Contains("valid sizes: 1"));
  CHECK_THAT(refusal("deepseek-v3.2", split(8, 1, 8)), Catch::Contains("chosen by content"));
  CHECK(refusal("llama-3.1-70b", split(8, 16)).empty());
  CHECK(refusal("deepseek-v3.2", split(8, 2)).empty());
  CHECK_THAT(refusal("jamba-1.5-large", split(8, 2)),
             Catch::Contains("prefill_context_parallel_size 2") && Catch::Contains("state"));
}

TEST_CASE("does a rank of a divided prompt compute its share, and of decodes everything?", "[context]") {
  BatchShape prompt, decode;
  prompt.chunks = {{16384, 0}};
  decode.decode_seqs = 8, decode.decode_context = 8 * 2000;
  for (const char* name : {"llama-3.1-70b", "gemma-3-27b", "qwen3-235b-a22b"}) {
    const auto model = load_model(name);
    decode.windowed_context.clear();
    for (const KeyCap& cap : model.caps()) decode.windowed_context.push_back(8 * cap.of(2000));
    const double whole = flops(lowered(model, prompt, split(4, 1)));
    for (const int cp : {2, 4, 8}) {
      INFO(name << " over " << cp);
      // Logits are on every rank, and windows begin anew for no one: all else divides.
      CHECK(cp * flops(lowered(model, prompt, split(4, cp))) == Approx(whole).epsilon(0.005));
      CHECK(flops(lowered(model, decode, split(4, cp))) == flops(lowered(model, decode, split(4, 1))));
      CHECK(model.weight_bytes(split(4, cp)) == model.weight_bytes(split(4, 1)));
    }
  }
}
