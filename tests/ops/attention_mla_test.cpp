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
