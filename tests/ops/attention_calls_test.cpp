#include <random>

#include <catch2/catch.hpp>

#include "ops/attention.hpp"
#include "ops/attention_index.hpp"
#include "ops/attention_merge.hpp"
#include "ops/attention_unfused.hpp"
#include "ops/block_select.hpp"
#include "ops/cluster_sort.hpp"
#include "ops/kernel_classes.hpp"

using namespace orrery;

namespace {

const std::vector<KeyCap> kCaps{KeyCap(512), KeyCap(1024), KeyCap(2048), KeyCap(8192, true)};

/// Sequences of these lengths in the decode set, as sums.
BatchShape decoding(const std::vector<Tokens>& lengths, const std::vector<KeyCap>& caps = kCaps) {
  BatchShape batch;
  batch.windowed_context.assign(caps.size(), 0);
  for (const Tokens n : lengths) {
    ++batch.decode_seqs, batch.decode_context += n;
    for (std::size_t i = 0; i < caps.size(); ++i) batch.windowed_context[i] += caps[i].of(n);
  }
  return batch;
}

BatchShape prompts(const std::vector<PrefillChunk>& chunks) {
  BatchShape batch;
  batch.chunks = chunks;
  return batch;
}

AttentionSizes sizes(AttentionPattern pattern = {}) {
  AttentionSizes s{32, 8, 128};
  s.pattern = std::move(pattern);
  return s;
}

AttentionPattern chosen(KeySelection select, Phase phase = Phase::always) {
  AttentionPattern p;
  p.select = select, p.phase = phase;
  return p;
}

KernelCalls decode_calls(const AttentionSizes& s, const BatchShape& batch, const LoweringContext& ctx = {}) {
  KernelCalls out;
  DecodeAttention(s, kCaps).lower(batch, ctx, out);
  return out;
}

KernelCalls prefill_calls(const AttentionSizes& s, const BatchShape& batch, const LoweringContext& ctx = {}) {
  KernelCalls out;
  PrefillAttention(s).lower(batch, ctx, out);
  return out;
}

Work total(const KernelCalls& calls) {
  Work sum;
  for (const KernelCall& c : calls) sum += c.work;
  return sum;
}

void same_calls(const KernelCalls& a, const KernelCalls& b) {
  REQUIRE(a.size() == b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    CHECK(a[i].cls == b[i].cls);
    CHECK(a[i].dims == b[i].dims);
    CHECK(a[i].dtype == b[i].dtype);
    CHECK(a[i].work.flops() == b[i].work.flops());
    CHECK(a[i].work.hbm_bytes() == b[i].work.hbm_bytes());
  }
}

}  // namespace

TEST_CASE(
    "does every part of attention at its identity value leave the calls bit-equal, over random batches?") {
  std::mt19937 random(7);
  const auto upto = [&](Tokens most) { return std::uniform_int_distribution<Tokens>(1, most)(random); };
  const std::vector<KeyCap> caps{KeyCap(2048), KeyCap(2048, true)};
  for (int round = 0; round < 50; ++round) {
    AttentionSizes full{16 << upto(2), 8, 64 * upto(3)};
    std::vector<AttentionSizes> same(8, full);
    same[0].pattern.window = 2048;
    same[1].pattern.block = 2048;
    same[2].pattern.window = 2048, same[2].pattern.phase = Phase::prefill;
    same[3].pattern.block = 4, same[3].pattern.phase = Phase::training;
    same[4].active_heads = full.heads;
    same[5].value_dim = full.head_dim;
    same[6].mix = {{1.0, {}}};
    same[7].pattern.local = true, same[7].pattern.globals = 100;
    std::vector<Tokens> lengths;
    for (Tokens i = upto(5); i > 0; --i) lengths.push_back(upto(2048));
    BatchShape batch = decoding(lengths, caps);
    const Tokens past = upto(1000);
    batch.chunks = {{upto(1000), past}, {upto(2048), 0}};
    LoweringContext ctx;
    ctx.shard.tp = 1 << upto(3);
    KernelCalls expected, expected_decode;
    PrefillAttention(full).lower(batch, ctx, expected);
    DecodeAttention(full, caps).lower(batch, ctx, expected_decode);
    for (const AttentionSizes& s : same) {
      KernelCalls out, out_decode;
      PrefillAttention(s).lower(batch, ctx, out);
      DecodeAttention(s, caps).lower(batch, ctx, out_decode);
      same_calls(out, expected);
      same_calls(out_decode, expected_decode);
      CHECK(DecodeAttention(s, caps).state_bytes(1500, ctx) ==
            DecodeAttention(full, caps).state_bytes(1500, ctx));
    }
    // Prompts within a budget choose nothing; a model whose contexts fit in it replaces the pattern.
    AttentionSizes budget = full;
    budget.pattern = chosen({KeyIndex::indexer, 2048, 0, 1, false, false, 1, 64, 128});
    KernelCalls out;
    PrefillAttention(budget).lower(batch, ctx, out);
    same_calls(out, expected);
    CHECK(budget.pattern.covers(2048));
  }
}

TEST_CASE("do groups of heads lower to a call each, of their share of heads?") {
  AttentionSizes s = sizes();
  AttentionPattern streaming(1020);
  streaming.globals = 4;
  s.mix = {{0.25, {}}, {0.75, streaming}};
  s.check("test");
  const auto calls = decode_calls(s, decoding({5000, 300}));
  REQUIRE(calls.size() == 2);
  CHECK(calls[0].dims == KernelClass::Dims{2, 5300, 8, 2, 128});
  CHECK(calls[1].dims == KernelClass::Dims{2, 1324, 24, 6, 128});
  const auto prompt = prefill_calls(s, prompts({{2000, 0}}));
  REQUIRE(prompt.size() == 2);
  CHECK(prompt[0].dims[2] == 2000.0 * 2001 / 2);
  CHECK(prompt[1].dims[2] == 1024.0 * 1025 / 2 + 976.0 * 1024);
  // K and V of 5,000 tokens stay for a quarter of the heads, of 1,024 for the others.
  CHECK(DecodeAttention(s, kCaps).state_bytes(5000, {}) == (0.25 * 5000 + 0.75 * 1024) * 4096);
}

TEST_CASE("do several contexts of one query move its vectors once?") {
  AttentionPattern p;
  p.window = 512, p.summaries.emplace().stride = 16;
  const auto calls = decode_calls(sizes(p), decoding({8192, 4096}));
  Work attention;
  for (const auto& c : calls) {
    if (c.role == "attention") attention += c.work;
  }
  const double keys = 2 * 512 + (8192 + 4096) / 16.0;
  CHECK(attention.tensor_flops == 4 * keys * 32 * 128);
  CHECK(attention.hbm_read_bytes == keys * 4096 + 2.0 * 32 * 128 * 2);
  CHECK(attention.hbm_write_bytes == 2.0 * 32 * 128 * 2);
}

TEST_CASE("does verifying several tokens multiply a decode's FLOPs but not its KV bytes?") {
  BatchShape batch = decoding({1000, 2000});
  const Work one = total(decode_calls(sizes(), batch));
  batch.decode_queries = 4;
  const Work four = total(decode_calls(sizes(), batch));
  CHECK(four.tensor_flops == 4 * one.tensor_flops);
  CHECK(four.hbm_write_bytes == 4 * one.hbm_write_bytes);
  CHECK(four.hbm_read_bytes - four.hbm_write_bytes == one.hbm_read_bytes - one.hbm_write_bytes);
}

TEST_CASE("are keys and values of different widths counted exactly by their mean?") {
  AttentionSizes s{64, 4, 192};  // MiMo-V2-Flash
  s.value_dim = 128;
  const Work w = total(decode_calls(s, decoding({1000})));
  CHECK(w.tensor_flops == 2.0 * 1000 * 64 * (192 + 128));
  CHECK(w.hbm_bytes() == 1000.0 * 4 * (192 + 128) * 2 + 64.0 * (192 + 128) * 2);
  CHECK(s.kv_bytes_per_token({}) == 4 * (192 + 128) * 2);
}

TEST_CASE("does a tied head store and read one row for K and V, at the FLOPs of both?") {
  AttentionSizes tied{32, 8, 128};
  tied.tied = true, tied.tied_rope = 64;
  const Work w = total(decode_calls(tied, decoding({1000})));
  CHECK(tied.kv_bytes_per_token({}) == (8 * 128 + 64) * 2);
  CHECK(w.tensor_flops == 4.0 * 1000 * 128 * 32);
  CHECK(w.hbm_read_bytes == Approx(1000.0 * (8 * 128 + 64) * 2 + 32.0 * 128 * 2));
}

TEST_CASE("do routed heads save FLOPs as their share, and KV reads only where whole groups rest?") {
  AttentionSizes mha{32, 32, 128}, gqa{32, 8, 128};
  mha.active_heads = gqa.active_heads = 16;
  const BatchShape batch = decoding({4000});
  CHECK(decode_calls(mha, batch)[0].dims == KernelClass::Dims{1, 4000, 16, 16, 128});
  // A group of four has a query with probability 1 - (1/2)^4.
  CHECK(decode_calls(gqa, batch)[0].dims == KernelClass::Dims{1, 4000, 16, 7.5, 128});
  CHECK(mha.kv_bytes_per_token({}) == 2.0 * 32 * 128 * 2);
  CHECK(prefill_calls(mha, prompts({{100, 0}}))[0].work.tensor_flops == 4.0 * 5050 * 128 * 16);
}

TEST_CASE("does choosing blocks cost a scan of their summaries, and reading them a gather?") {
  KeySelection quest;  // Quest: pages of 16 by their least and greatest keys, 2,048 tokens
  quest.index = KeyIndex::blocks, quest.budget = 2048, quest.block = 16, quest.vectors = 2;
  const AttentionSizes s = sizes(chosen(quest, Phase::decode));
  const auto calls = decode_calls(s, decoding({32768, 1000}));
  REQUIRE(calls.size() == 2);
  CHECK(calls[0].cls == &kBlockSelect);
  CHECK(calls[0].dims == KernelClass::Dims{2, (32768 + 1000) / 16.0, 32, 8, 128, 128, 2});
  CHECK(calls[1].cls == &kAttentionSelected);
  CHECK(calls[1].dims == KernelClass::Dims{2, 2048 + 1000, 32, 8, 128});
  same_calls(prefill_calls(s, prompts({{5000, 0}})), prefill_calls(sizes(), prompts({{5000, 0}})));
  CHECK(s.index_bytes_per_token({}) == 2 * 8 * 128 * 2 / 16.0);
}

TEST_CASE("does a learned indexer score every key with heads of its own, in 8 bits, over one cached key?") {
  KeySelection dsa;
  dsa.index = KeyIndex::indexer, dsa.budget = 2048, dsa.index_heads = 64, dsa.index_dim = 128;
  dsa.index_dtype = DType::fp8;
  const auto operators = index_operators(dsa, 7168, 1536);
  double parameters = 0, bytes = 0;
  KernelCalls decode, prefill;
  for (const auto& [op, scaling] : operators) {
    parameters += op->parameters();
    bytes += op->state_bytes(1000, {});
    if (scaling == KernelClass::Scaling::decode) op->lower(decoding({10000, 500}), {}, decode);
    if (scaling == KernelClass::Scaling::prefill) op->lower(prompts({{4000, 6000}, {1000, 0}}), {}, prefill);
  }
  CHECK(parameters == 1536.0 * 64 * 128 + 7168.0 * 128 + 7168.0 * 64);
  CHECK(bytes == 1000 * (128 + 4));
  REQUIRE(decode.size() == 1);
  CHECK(decode[0].cls == &kIndexScoreDecode);
  CHECK(decode[0].work.tensor_flops == 2.0 * 10500 * 64 * 128);
  CHECK(decode[0].work.tensor_dtype == DType::fp8);
  REQUIRE(prefill.size() == 1);  // the short prompt reads all of its keys
  CHECK(prefill[0].cls == &kIndexScore);
  CHECK(prefill[0].work.tensor_flops == 2.0 * (4000.0 * 6000 + 4000.0 * 4001 / 2) * 64 * 128);
}

TEST_CASE("does a cache that evicts account for the scores it goes by, in prompt and decode?") {
  KeySelection h2o;
  h2o.index = KeyIndex::scores, h2o.budget = 1024, h2o.evicts = true;
  const AttentionSizes s = sizes(chosen(h2o, Phase::decode));
  const auto calls = decode_calls(s, decoding({5000, 700}));
  REQUIRE(calls.size() == 2);
  CHECK(calls[1].cls == &kAttentionDecode);  // what is kept lies together
  CHECK(calls[1].dims[1] == 1024 + 700);
  CHECK(calls[0].work.hbm_bytes() == 2.0 * 1024 * 32 * 8);
  CHECK(DecodeAttention(s, kCaps).state_bytes(5000, {}) == 1024.0 * 4096);
  const auto prompt = prefill_calls(s, prompts({{3000, 0}}));
  REQUIRE(prompt.size() == 2);
  CHECK(prompt[0].cls == &kIndexScore);
  CHECK(prompt[1].dims == prefill_calls(sizes(), prompts({{3000, 0}}))[0].dims);
}

TEST_CASE("does unfused attention move four squares of scores in four launches?") {
  LoweringContext ctx;
  ctx.fusion.attention.fused = false;
  const auto calls = prefill_calls(sizes(), prompts({{2000, 0}}), ctx);
  CHECK(calls.size() == 4);
  const double square = 2000.0 * 2000 * 32, q = 2000.0 * 32 * 128, kv = 2000.0 * 8 * 128;
  // S and P each written and read; Q read twice and written once (scaled), O written, K and V read.
  CHECK(total(calls).hbm_bytes() == 4 * square * 2 + (4 * q + 2 * kv) * 2);
  CHECK(total(calls).tensor_flops == 4 * square * 128);
  const auto decode = decode_calls(sizes(AttentionPattern(512)), decoding({3000}), ctx);
  CHECK(decode.size() == 4);
  CHECK(total(decode).tensor_flops == 4.0 * 3000 * 32 * 128);
}

TEST_CASE("are two formats of attention's products a call each, of half the work?") {
  LoweringContext ctx;
  ctx.fusion.attention.scores = DType::int8;
  const auto plain = prefill_calls(sizes(), prompts({{2000, 0}}));
  const auto calls = prefill_calls(sizes(), prompts({{2000, 0}}), ctx);
  REQUIRE(calls.size() == 3);
  CHECK(calls[0].role == "attention_quantise");
  CHECK(calls[1].dtype == DType::int8);
  CHECK(calls[2].dtype == DType::bf16);
  CHECK(calls[1].work.tensor_flops + calls[2].work.tensor_flops == plain[0].work.tensor_flops);
  CHECK(calls[1].work.vector_flops + calls[2].work.vector_flops == plain[0].work.vector_flops);
  CHECK(calls[1].work.hbm_bytes() + calls[2].work.hbm_bytes() == plain[0].work.hbm_bytes());
  ctx.fusion.attention.values = DType::int8;
  CHECK(prefill_calls(sizes(), prompts({{2000, 0}}), ctx).size() == 2);
}

TEST_CASE("does a decode split over its keys end in a merge of the parts?") {
  LoweringContext ctx;
  ctx.fusion.attention.splits = 8;
  const auto calls = decode_calls(sizes(), decoding({30000, 100}), ctx);
  REQUIRE(calls.size() == 2);
  CHECK(calls[1].cls == &kAttentionMerge);
  CHECK(calls[1].dims == KernelClass::Dims{2 * 32, 8, 128});
}
