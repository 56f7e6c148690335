#include "ops/attention.hpp"

#include <algorithm>
#include <vector>

#include <catch2/catch.hpp>

#include "base/error.hpp"
#include "ops/kernel_classes.hpp"

using namespace orrery;

namespace {
struct Counted {
  Tokens pairs = 0, keys = 0;
};

/// The causal mask written out: query at position `past + i` sees the last `window` positions up to its own.
Counted count_mask(const PrefillChunk& chunk, Tokens window) {
  Counted counted;
  std::vector<bool> seen(static_cast<std::size_t>(chunk.past + chunk.new_tokens));
  for (Tokens query = chunk.past; query < chunk.past + chunk.new_tokens; ++query) {
    for (Tokens key = 0; key <= query; ++key) {
      if (window > 0 && query - key >= window) continue;
      ++counted.pairs;
      seen[static_cast<std::size_t>(key)] = true;
    }
  }
  counted.keys = std::count(seen.begin(), seen.end(), true);
  return counted;
}

const AttentionSizes kGqa{32, 8, 128, 0};
}  // namespace

TEST_CASE("do pairs and keys of a chunk equal the mask counted entry by entry?") {
  for (Tokens m : {1, 2, 3, 17, 64, 128}) {
    for (Tokens past : {0, 1, 2, 15, 16, 17, 63, 64, 100}) {
      for (Tokens window : {0, 1, 2, 16, 17, 64, 100, 128, 227, 228, 1000}) {
        const PrefillChunk chunk{m, past};
        const Counted expected = count_mask(chunk, window);
        INFO("new " << m << " past " << past << " window " << window);
        CHECK(attention_pairs(chunk, window) == expected.pairs);
        CHECK(attention_keys(chunk, window) == expected.keys);
      }
    }
  }
}

TEST_CASE("does splitting a prompt into chunks keep the number of pairs?") {
  for (Tokens window : {0, 48, 4096}) {
    Tokens chunked = 0;
    for (Tokens at = 0; at < 1000; at += 100) chunked += attention_pairs({100, at}, window);
    CHECK(chunked == attention_pairs({1000, 0}, window));
  }
}

TEST_CASE("does prefill attention count FlashAttention's FLOPs and each operand once?") {
  BatchShape batch;
  batch.chunks = {{100, 0}, {50, 200}};
  KernelCalls calls;
  PrefillAttention(kGqa).lower(batch, {}, calls);
  REQUIRE(calls.size() == 1);
  const auto& c = calls.front();
  CHECK(c.cls == &kAttentionPrefill);
  // pairs: 100*101/2 + 50*200 + 50*51/2 = 5050 + 11275; keys: 100 + 250; the longest is 250.
  CHECK(c.dims == std::array<double, 8>{2, 150, 16325, 350, 250, 32, 8, 128});
  CHECK(c.work.tensor_flops == 4.0 * 16325 * 128 * 32);
  CHECK(c.work.hbm_read_bytes == 150.0 * 32 * 128 * 2 + 350.0 * 2 * 8 * 128 * 2);
  CHECK(c.work.hbm_write_bytes == 150.0 * 32 * 128 * 2);
}

TEST_CASE("does decode attention read the KV cache in its own format, once per sequence?") {
  BatchShape batch;
  batch.decode_seqs = 4, batch.decode_context = 1000;
  LoweringContext ctx;
  ctx.precision.kv_cache = DType::fp8;
  KernelCalls calls;
  DecodeAttention(kGqa, 0).lower(batch, ctx, calls);
  REQUIRE(calls.size() == 1);
  const auto& c = calls.front();
  CHECK(c.dims == std::array<double, 8>{4, 1000, 32, 8, 128});
  CHECK(c.weight_dtype == DType::fp8);
  CHECK(c.work.tensor_flops == 4.0 * 1000 * 128 * 32);
  CHECK(c.work.hbm_read_bytes == 1000.0 * 2 * 8 * 128 * 1 + 4.0 * 32 * 128 * 2);
}

TEST_CASE("does a windowed decode read the windowed context of its own window?") {
  BatchShape batch;
  batch.decode_seqs = 2, batch.decode_context = 9000, batch.windowed_context = {1024, 5000};
  KernelCalls calls;
  DecodeAttention({32, 8, 128, 4096}, 1).lower(batch, {}, calls);
  CHECK(calls.at(0).dims[1] == 5000);
  batch.windowed_context.clear();
  CHECK_THROWS_AS(DecodeAttention({32, 8, 128, 4096}, 1).lower(batch, {}, calls), InternalError);
}

TEST_CASE("are KV heads replicated when there are more ranks than heads?") {
  LoweringContext ctx;
  for (const auto& [tp, heads, kv] : {std::tuple{1, 32, 8}, {4, 8, 2}, {8, 4, 1}, {16, 2, 1}, {32, 1, 1}}) {
    ctx.shard.tp = tp;
    CHECK(kGqa.local_heads(tp) == heads);
    CHECK(kGqa.local_kv_heads(tp) == kv);
    CHECK(kGqa.kv_bytes_per_token(ctx) == 2.0 * kv * 128 * 2);
  }
}

TEST_CASE("does a windowed layer keep no more state than its window?") {
  const DecodeAttention attention({32, 8, 128, 4096}, 0);
  CHECK(attention.state_bytes(4095, {}) == 4095.0 * 4096);
  CHECK(attention.state_bytes(4096, {}) == 4096.0 * 4096);
  CHECK(attention.state_bytes(4097, {}) == 4096.0 * 4096);
}

TEST_CASE("does a batch without prompts or without decodes launch no such attention?") {
  KernelCalls calls;
  PrefillAttention(kGqa).lower({}, {}, calls);
  DecodeAttention(kGqa, 0).lower({}, {}, calls);
  CHECK(calls.empty());
}

TEST_CASE("are contradictory sizes refused, naming the field?") {
  const auto refused = [](AttentionSizes s, const std::string& word) {
    try {
      s.check("attention");
    } catch (const ConfigError& e) {
      return std::string(e.what()).find(word) != std::string::npos;
    }
    return false;
  };
  AttentionSizes s = kGqa;
  CHECK_FALSE(refused(s, ""));
  s.kv_heads = 5;
  CHECK(refused(s, "kv_heads"));
  s = kGqa, s.active_heads = 33;
  CHECK(refused(s, "active_heads"));
  s = kGqa, s.mix = {{0.5, {}}};
  CHECK(refused(s, "mix"));
  CHECK_THROWS_AS(DecodeAttention({32, 8, 128, 777}, std::vector<KeyCap>{KeyCap(512)}), InternalError);
}
