#include "ops/attention_mla.hpp"

#include <catch2/catch.hpp>

#include "ops/attention_merge.hpp"

using namespace orrery;

TEST_CASE("does absorbed MLA decode count what a loop over heads, keys and elements does?", "[ops]") {
  const int contexts[] = {3, 8}, heads = 4, latent = 16, rope = 4;
  double flops = 0, keys = 0;
  for (const int context : contexts) {
    keys += context;
    for (int head = 0; head < heads; ++head) {
      for (int key = 0; key < context; ++key) {
        for (int i = 0; i < latent + rope; ++i) flops += 2;  // q' c
        for (int i = 0; i < latent; ++i) flops += 2;         // p c
      }
    }
  }
  const Work w =
      make_call(kAttentionMlaDecode, {2, keys, heads, latent, rope}, DType::bf16, DType::bf16).work;
  CHECK(w.tensor_flops == Approx(flops));
  CHECK(w.hbm_read_bytes == Approx(2 * (keys * (latent + rope) + 2 * heads * (latent + rope))));
  CHECK(w.hbm_write_bytes == Approx(2.0 * 2 * heads * latent));
}

TEST_CASE("is MLA decode of DeepSeek-V3 at long contexts as intense as published?", "[ops]") {
  // 128 heads: 2 x 128 x (2 x 512 + 64) FLOP per 576 x 2 bytes = 241.8 FLOP/B, near H100's ridge
  // (DeepSeek-V2, 2024, section 2.1).
  const Work w = make_call(kAttentionMlaDecode, {1, 1e6, 128, 512, 64}, DType::bf16, DType::bf16).work;
  CHECK(w.tensor_flops / w.hbm_bytes() == Approx(241.8).epsilon(0.001));
}

TEST_CASE("does a merge read each partial and its log-sum-exp once, in fp32?", "[ops]") {
  const Work w = make_call(kAttentionMerge, {32, 8, 128}, DType::bf16, DType::bf16).work;
  CHECK(w.hbm_read_bytes == Approx(32 * 8 * (128 + 1) * 4));
  CHECK(w.hbm_write_bytes == Approx(32 * 128 * 2));
}

namespace {
/// DeepSeek-V3 (config.json: kv_lora_rank, qk_rope_head_dim, qk_nope_head_dim, v_head_dim, q_lora_rank).
LatentSizes deepseek_v3() {
  return {128, 512, 64, 128, 128, 1536, 1};
}
constexpr std::int64_t kHidden = 7168;

double parameters(const LatentSizes& sizes, std::int64_t hidden) {
  double sum = 0;
  for (const auto& [op, scaling] : mla_operators(sizes, hidden)) sum += op->parameters();
  return sum;
}

double kept_bytes(const LatentSizes& sizes, Tokens context, const LoweringContext& ctx, KeyCap kept = {}) {
  double sum = 0;
  for (const auto& [op, scaling] : mla_operators(sizes, kHidden, {}, 0, kept)) {
    sum += op->state_bytes(context, ctx);
  }
  return sum;
}

LoweringContext with_ranks(int tp) {
  LoweringContext ctx;
  ctx.shard.tp = tp;
  return ctx;
}

BatchShape decode_of(std::int64_t seqs, Tokens context) {
  BatchShape batch;
  batch.decode_seqs = seqs, batch.decode_context = context;
  return batch;
}

BatchShape prompts_of(std::vector<PrefillChunk> chunks) {
  BatchShape batch;
  batch.chunks = std::move(chunks);
  return batch;
}

KernelCalls lowered(const LatentSizes& sizes, const BatchShape& batch, KernelClass::Scaling only,
                    const LoweringContext& ctx = {}, KeyCap read = {}) {
  KernelCalls calls;
  for (const auto& [op, scaling] : mla_operators(sizes, kHidden, read)) {
    if (scaling == only) op->lower(batch, ctx, calls);
  }
  return calls;
}

double flops(const KernelCalls& calls) {
  double sum = 0;
  for (const auto& call : calls) sum += call.work.tensor_flops;
  return sum;
}
}  // namespace

TEST_CASE("does a DeepSeek-V3 attention layer hold the parameters of its checkpoint?", "[ops]") {
  // The shapes of model.layers.0.self_attn.* in its safetensors index.
  const double matrices = 1536.0 * 7168 + 24576.0 * 1536 + 576.0 * 7168 + 32768.0 * 512 + 7168.0 * 16384;
  CHECK(parameters(deepseek_v3(), kHidden) == matrices + 1536 + 512);
  // DeepSeek-V2-Lite projects its queries in one matrix: q_proj [3072, 2048], kv_a [576, 2048], kv_b
  // [4096, 512], o [2048, 2048].
  const LatentSizes lite{16, 512, 64, 128, 128, 0, 1};
  CHECK(parameters(lite, 2048) == 3072.0 * 2048 + 576.0 * 2048 + 4096.0 * 512 + 2048.0 * 2048 + 512);
}

TEST_CASE("does a latent cache keep 576 elements a token on every rank, however many?", "[ops]") {
  // DeepSeek-V2, 2024, table 1: (d_c + d_h^R) l elements = 4.5 d_h l; DeepSeek-V3's 61 layers in bf16: 70272
  // B.
  for (const int ranks : {1, 2, 8}) {
    const LoweringContext ctx = with_ranks(ranks);
    CHECK(kept_bytes(deepseek_v3(), 1, ctx) * 61 == 70272);
    CHECK(kept_bytes(deepseek_v3(), 1000, ctx) == 1000.0 * 576 * 2);
  }
  LoweringContext fp8;
  fp8.precision.kv_cache = DType::fp8;
  CHECK(kept_bytes(deepseek_v3(), 1000, fp8) == 1000.0 * 576);
  CHECK(kept_bytes(deepseek_v3(), 1000, {}, KeyCap(128)) == 128.0 * 576 * 2);
}

TEST_CASE("do two grouped latents halve what a rank keeps, but for the rope part?", "[ops]") {
  // Zadouri et al., Hardware-Efficient Attention, 2025 (GLA-2): under two ranks (256 + d_R) / (512 + d_R).
  LatentSizes grouped = deepseek_v3();
  grouped.groups = 2;
  const LoweringContext two = with_ranks(2);
  CHECK(kept_bytes(grouped, 100, two) / kept_bytes(deepseek_v3(), 100, two) == Approx(320.0 / 576));
  CHECK(kept_bytes(grouped, 100, {}) == kept_bytes(deepseek_v3(), 100, {}));
}

TEST_CASE("does expanded prefill count what a loop over heads, queries and keys does?", "[ops]") {
  const LatentSizes sizes{4, 16, 2, 6, 5, 0, 1};
  const BatchShape batch = prompts_of({{7, 3}, {4, 0}});
  double products = 0, keys = 0;
  for (const auto& chunk : batch.chunks) {
    keys += static_cast<double>(chunk.past + chunk.new_tokens);
    for (Tokens query = 1; query <= chunk.new_tokens; ++query) {
      for (Tokens key = 1; key <= chunk.past + query; ++key) products += 4 * 2 * (2 + 6 + 5);
    }
  }
  const auto calls = lowered(sizes, batch, KernelClass::Scaling::prefill);
  REQUIRE(calls.size() == 2);
  CHECK(calls[0].cls == &kMlaUpProjection);
  CHECK(calls[0].work.tensor_flops == 2 * keys * 16 * 4 * (6 + 5));
  CHECK(calls[1].work.tensor_flops == products);
  CHECK(calls[1].work.hbm_read_bytes == 2 * 4 * (11 * 8 + keys * (8 + 5)));
  CHECK(calls[1].work.hbm_write_bytes == 2 * 4 * 11 * 5);
}

TEST_CASE("do several queries of a sequence share one reading of its latents?", "[ops]") {
  const BatchShape one = decode_of(3, 3000);
  BatchShape four = one;
  four.decode_queries = 4;
  const auto attention = [](const KernelCalls& calls) { return calls.at(1).work; };
  const Work a = attention(lowered(deepseek_v3(), one, KernelClass::Scaling::decode));
  const Work b = attention(lowered(deepseek_v3(), four, KernelClass::Scaling::decode));
  const double latents = 3000.0 * 576 * 2, queries = 3.0 * 128 * 576 * 2;
  CHECK(b.tensor_flops == 4 * a.tensor_flops);
  CHECK(a.hbm_read_bytes == latents + queries);
  CHECK(b.hbm_read_bytes == latents + 4 * queries);
}

TEST_CASE("does absorbing the up-projection cost what the papers' order of products does?", "[ops]") {
  // Per query: W_UK by head 2 x 128 x 512, W_UV by head 2 x 512 x 128, over 128 heads.
  const BatchShape batch = decode_of(5, 5);
  const auto calls = lowered(deepseek_v3(), batch, KernelClass::Scaling::decode);
  REQUIRE(calls.size() == 3);
  CHECK(flops({calls[0], calls[2]}) == 5 * 2 * (2.0 * 128 * 512 * 128));
  CHECK(calls[0].work.weight_bytes + calls[2].work.weight_bytes == 2 * 512.0 * 128 * 256);
}

TEST_CASE("do prompts that choose 2048 keys read latents, at the pairs of the choice?", "[ops]") {
  // DeepSeek-V3.2, 2025: index_topk 2048. One query after 9999 tokens and one within the first 100.
  const BatchShape batch = prompts_of({{1, 9999}, {100, 0}});
  const auto calls = lowered(deepseek_v3(), batch, KernelClass::Scaling::prefill, {}, KeyCap(2048));
  REQUIRE(calls.size() == 3);
  CHECK(calls[1].cls == &kAttentionMlaSparse);
  CHECK(calls[1].work.tensor_flops == 2.0 * (2048 + 5050) * 128 * (2 * 512 + 64));
}

TEST_CASE("is a latent attention whose groups do not divide its heads refused by field and value?", "[ops]") {
  LatentSizes sizes = deepseek_v3();
  sizes.groups = 3;
  CHECK_THROWS_WITH(mla_operators(sizes, kHidden), Catch::Contains("latent.groups = 3"));
  sizes = deepseek_v3();
  sizes.latent = 0;
  CHECK_THROWS_WITH(mla_operators(sizes, kHidden), Catch::Contains("latent.latent = 0"));
}
