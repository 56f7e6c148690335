#include "catalogue/attention_support.hpp"
#include "catalogue/method.hpp"
#include "model/model_spec.hpp"
#include "ops/attention_index.hpp"
#include "ops/linear.hpp"

using namespace attn;

// Patterns by content: buckets, blocks chosen by scores, tokens that drop out.

TEST_CASE("SPA-16 does hashing grow no faster than n^1.1 from 4 k to 64 k tokens?") {
  const AttentionSizes sizes = attention_of("SPA-16");
  const double h = 8, width = 64, rounds = 8, chunk = 64;
  for (const Tokens n : {4096, 8192, 16384, 32768}) {
    const auto cost = [&](Tokens tokens) { return total(prompt_calls(sizes, tokens)).tensor_flops; };
    CHECK(exponent(cost, n) <= 1.1);
    // Each round reads its own and the chunk before; a hash with b = n / chunk values takes two of sqrt(b).
    const double buckets = d(n) / chunk;
    const double attention = 4 * h * width * 2 * rounds * chunk * d(n);
    const double hash = 2 * h * d(n) * width * std::sqrt(buckets) * rounds;
    CHECK(cost(n) == Approx(attention + hash).epsilon(1e-9));
  }
  // One hash of all buckets (b / 2 rotations each) would come to grow as n^2, and as n^1.5 by 1 M tokens.
  const auto unfactorised = [&](Tokens n) {
    return 4 * 2 * rounds * chunk * d(n) + 2 * d(n) * (d(n) / chunk / 2) * rounds;
  };
  CHECK(exponent(unfactorised, 1 << 20) > 1.5);
}

TEST_CASE("SPA-17 does clustering by sqrt(n) centroids grow as n^1.5?") {
  AttentionSizes sizes = attention_of("SPA-17");
  const auto cost = [&](Tokens n) {
    const auto clusters = static_cast<std::int64_t>(std::llround(std::sqrt(d(n))));
    sizes.pattern.select->buckets = clusters, sizes.pattern.select->fraction = 1 / d(clusters);
    return total(prompt_calls(sizes, n)).tensor_flops;
  };
  for (const Tokens n : {16384, 65536, 262144}) CHECK(exponent(cost, n) == Approx(1.5).margin(0.05));
  // Causal pairs within clusters of n / k, and each key against k centroids: per head.
  const double n = 16384, clusters = 128;
  CHECK(cost(16384) == Approx(8 * 64 * (4 * n * (n + 1) / 2 / clusters + 2 * n * clusters)));
}

TEST_CASE("SPA-18 does NSA read 2,048 to 5,632 tokens at 8 k to 64 k?") {
  const AttentionSizes sizes = attention_of("SPA-18");
  const std::vector<std::tuple<Tokens, double, double>> published{
      {8192, 2048, 4.0}, {16384, 2560, 6.4}, {32768, 3584, 9.1}, {65536, 5632, 11.6}};
  for (const auto& [n, tokens, speedup] : published) {
    CHECK(value_of(sizes.pattern.decode_terms(), n) == tokens);
    CHECK(d(n) / tokens == Approx(speedup).margin(0.05));
    CHECK(value_of(sizes.pattern.resident_terms(), n) == d(n + n / 16));
    // The calls read what the terms say, in keys and values of its four KV heads.
    const double read = total(decode_calls(sizes, n), "attention").tensor_flops / (4.0 * 64 * 128);
    CHECK(read == tokens);
  }
}

TEST_CASE("SPA-19 does a head that chooses k tokens cost k^2 and n, and keep k?") {
  const AttentionSizes sizes = attention_of("SPA-19");
  const double k = 64, heads = 17;
  for (const Tokens n : {1024, 65536}) {
    const auto calls = prompt_calls(sizes, n);
    CHECK(total(calls, "attention").tensor_flops == 4 * heads * 64 * k * (k + 1) / 2);
    CHECK(total(calls, "attention_index").tensor_flops == 2 * heads * d(n) * 512);
    CHECK(kept_share(sizes, n) == k / d(n));
  }
  // Each head projects its k tokens to queries, keys and values, and their outputs back.
  ModelSpec model;
  model.hidden = 512, model.vocab = 1000, model.max_model_len = 1 << 20;
  LayerKind kind;
  kind.mixers = {block_of<AttentionParams>("SPA-19", "attention")}, kind.count = 1;
  model.kinds = {kind}, model.pattern = {0};
  BatchShape batch;
  batch.chunks = {{8192, 0}};
  KernelCalls calls;
  model.lower(batch, {}, calls);
  double projected = 0;
  for (const auto& call : calls) {
    if (call.role == "qkv_proj" || call.role == "o_proj") projected += call.work.tensor_flops;
  }
  CHECK(projected == 2 * k * 4 * 512 * heads * 64);
}

TEST_CASE("SPA-22 do light and heavy branches cost light plus the fraction of heavy?") {
  const AttentionSizes sizes = attention_of("SPA-22");
  const Tokens n = 16384, routed = n / 16;
  const double light = 4 * 4.0 * 64 * (255 * d(n) - 128.0 * 127);  // 4 of 16 heads, two-sided window
  const double heavy = 4 * 12.0 * 64 * d(routed * routed);
  CHECK(total(prompt_calls(sizes, n), "attention").tensor_flops == light + heavy);
  // Feed-forwards: all tokens through the light one, a sixteenth through the heavy one.
  const Linear light_ffn("ffn", {{1024, 1}}, {{2048, 1}}, TensorSplit::columns, false);
  const Linear heavy_ffn("ffn", {{1024, 1}}, {{16384, 1}}, TensorSplit::columns, false);
  KernelCalls calls;
  BatchShape all, some;
  all.chunks = {{n, 0}}, some.chunks = {{routed, 0}};
  light_ffn.lower(all, {}, calls);
  heavy_ffn.lower(some, {}, calls);
  CHECK(total(calls).tensor_flops == 2 * d(n) * 1024 * (2048 + 16384 / 16.0));
}

TEST_CASE("SPA-23 does choosing keys pay from the context on where index and gather read less?") {
  // Crossovers by bisection on the calls' bytes, against the algebra of bytes per key and KV head: K and V
  // 4 d; a gathered key 4 for its place; a block's summary vectors 2 d each and 8 of scores.
  const auto crossover = [](const AttentionSizes& sizes) {
    const AttentionSizes full = dense(sizes);
    Tokens low = 1, high = 1 << 20;
    while (high - low > 1) {
      const Tokens n = (low + high) / 2;
      const bool pays = total(decode_calls(sizes, n)).hbm_bytes() < total(decode_calls(full, n)).hbm_bytes();
      (pays ? high : low) = n;
    }
    return d(high);
  };
  const double kv = 4 * 128, place = 4, score = 8, key = 2 * 128;
  const auto algebra = [&](double budget, double per_token) {
    return budget * (kv + place) / (kv - per_token);
  };
  const AttentionSizes exact = attention_of("SPA-23"), quest = attention_of("SPA-37");
  CHECK(crossover(exact) == Approx(algebra(2048, key + score)).epsilon(0.05));
  CHECK(crossover(quest) == Approx(algebra(2048, (2 * key + score) / 16)).epsilon(0.05));
  CHECK(crossover(exact) > 1.9 * crossover(quest));
  // Scores of all keys are the dense Q K^T: exact top-k never saves FLOPs, it only saves reading values.
  const double scores = total(decode_calls(exact, 65536), "attention_index").flops();
  CHECK(scores >= 2.0 * 65536 * 32 * 128);
  // DeepSeek Sparse Attention over latents of 576: index keys of 128 + 4 bytes, 2,048 rows of 1,152.
  KeySelection indexer;
  indexer.index = KeyIndex::indexer, indexer.index_heads = 64, indexer.index_dim = 128;
  indexer.index_dtype = DType::fp8, indexer.budget = 2048;
  AttentionPattern dsa;
  dsa.select = indexer;
  const double cached = index_bytes_per_token(dsa, {128, 1, 576}, {});
  CHECK(2048 * 1152 / (1152 - cached) == Approx(2313).margin(1));
}

TEST_CASE("SPA-24 does a constant keep rate over layers cost the sum of its powers?") {
  const AttentionSizes sizes = attention_of("SPA-24");
  const double keep = 0.9;
  const int layers = 12;
  const Tokens n = 4096;
  double pruned = 0;
  for (int layer = 0; layer < layers; ++layer) {
    AttentionPattern p = sizes.pattern;
    p.select->fraction = std::pow(keep, layer);
    pruned += p.pairs({n, 0});
  }
  const double ratio = (1 - std::pow(keep, 2 * layers)) / (layers * (1 - keep * keep));
  CHECK(pruned / (layers * d(n * n)) == Approx(ratio).epsilon(1e-9));
  CHECK(kept_share(sizes, n) == Approx(keep));
}

TEST_CASE("SPA-25 does one round of hashing take an eighth of eight?") {
  const AttentionSizes one = attention_of("SPA-25"), eight = attention_of("SPA-16");
  for (const char* role : {"attention", "attention_index"}) {
    const double ratio = total(prompt_calls(eight, 32768), role).tensor_flops /
                         total(prompt_calls(one, 32768), role).tensor_flops;
    CHECK(ratio == Approx(8));
  }
}

TEST_CASE("SPA-26 does a model trained with shifted groups serve as a dense one?") {
  AttentionSizes sizes = attention_of("SPA-26");
  const Tokens n = 8192;
  CHECK(prompt_calls(sizes, n)[0].dims == prompt_calls(dense(sizes), n)[0].dims);
  CHECK(decode_calls(sizes, n)[0].dims == decode_calls(dense(sizes), n)[0].dims);
  CHECK(kept_share(sizes, n) == 1);
  // If prompts ran in groups of a quarter: a quarter of the pairs, whole rows counted.
  sizes.pattern.phase = Phase::always, sizes.pattern.causal = false;
  CHECK(sizes.pattern.pairs({n, 0}) / d(n * n) == 0.25);
}
