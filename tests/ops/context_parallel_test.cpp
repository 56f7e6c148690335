#include "ops/context_parallel.hpp"

#include <map>
#include <random>
#include <set>

#include <catch2/catch.hpp>

#include "ops/attention.hpp"
#include "ops/attention_mla.hpp"
#include "ops/kernel_classes.hpp"

using namespace orrery;

namespace {

std::vector<AttentionPattern> patterns_by_position() {
  AttentionPattern full, window(64), sinks(64), blocks, strided;
  sinks.globals = 4;
  blocks.block = 96;
  strided.stride = 7, strided.window = 32;
  return {full, window, sinks, blocks, strided};
}

PrefillChunk random_chunk(std::mt19937& rng) {
  return {std::uniform_int_distribution<Tokens>(1, 700)(rng),
          std::uniform_int_distribution<Tokens>(0, 300)(rng)};
}

BatchShape prompt(Tokens new_tokens, Tokens past = 0) {
  BatchShape batch;
  batch.chunks = {{new_tokens, past}};
  return batch;
}

LoweringContext split(int tp, int cp, int dcp = 1, ContextExchange exchange = ContextExchange::gather) {
  LoweringContext ctx;
  ctx.shard.tp = tp, ctx.shard.cp = cp, ctx.shard.dcp = dcp;
  ctx.fusion.attention.exchange = exchange;
  return ctx;
}

KernelCalls calls_of(const Operator& op, const BatchShape& batch, const LoweringContext& ctx) {
  KernelCalls out;
  op.lower(batch, ctx, out);
  return out;
}

const KernelCall& by_role(const KernelCalls& calls, std::string_view role) {
  for (const KernelCall& call : calls) {
    if (call.role == role) return call;
  }
  FAIL("no call of role " << role);
  return calls.front();
}

// DeepSeek-V3 (DeepSeek-AI, 2024, section 4.2).
const LatentSizes kDeepSeek{128, 512, 64, 128, 128, 1536};

}  // namespace

TEST_CASE("do the ranks of a prompt compute every token once and every pair of the whole?", "[context]") {
  std::mt19937 rng(1);
  for (int trial = 0; trial < 300; ++trial) {
    const PrefillChunk chunk = random_chunk(rng);
    const int cp = std::uniform_int_distribution<int>(1, 9)(rng);
    INFO(chunk.new_tokens << " tokens after " << chunk.past << " over " << cp);
    std::multiset<Tokens> positions;
    Tokens most = 0;
    std::map<std::size_t, double> pairs;
    const auto patterns = patterns_by_position();
    for (int rank = 0; rank < cp; ++rank) {
      Tokens own = 0;
      for (const PrefillChunk& piece : rank_pieces(chunk, cp, rank)) {
        for (Tokens i = 0; i < piece.new_tokens; ++i) positions.insert(piece.past + i);
        own += piece.new_tokens;
        for (std::size_t p = 0; p < patterns.size(); ++p) pairs[p] += patterns[p].pairs(piece);
      }
      most = std::max(most, own);
    }
    CHECK(most == tokens_on_rank(chunk.new_tokens, cp));
    REQUIRE(positions.size() == static_cast<std::size_t>(chunk.new_tokens));
    Tokens next = chunk.past;
    for (const Tokens at : positions) REQUIRE(at == next++);
    for (std::size_t p = 0; p < patterns.size(); ++p)
      CHECK(pairs[p] == Approx(patterns[p].pairs(chunk)).epsilon(1e-12));
  }
}

TEST_CASE("do all ranks of a prompt have as many causal pairs, and none more than the one that is priced?",
          "[context]") {
  std::mt19937 rng(2);
  for (int trial = 0; trial < 200; ++trial) {
    const PrefillChunk chunk = random_chunk(rng);
    const int cp = std::uniform_int_distribution<int>(2, 8)(rng);
    for (const AttentionPattern& pattern : {AttentionPattern(), AttentionPattern(64)}) {
      double priced = 0;
      BatchShape batch;
      batch.chunks = {chunk};
      for (const PrefillChunk& piece : ChunksOnRank(batch, split(1, cp).shard))
        priced += pattern.pairs(piece);
      // Pieces differ by a token at most, whose query reads all keys at most.
      const double slack = 2.0 * static_cast<double>(chunk.past + chunk.new_tokens);
      double least = priced;
      for (int rank = 0; rank < cp; ++rank) {
        double own = 0;
        for (const PrefillChunk& piece : rank_pieces(chunk, cp, rank)) own += pattern.pairs(piece);
        CHECK(own <= priced + slack);
        least = std::min(least, own);
      }
      if (pattern.window == 0) CHECK(least >= priced - slack);
    }
  }
}

TEST_CASE("does a rank receive what its queries and its cache lack, and with a window no more?",
          "[context]") {
  std::mt19937 rng(3);
  for (int trial = 0; trial < 200; ++trial) {
    const PrefillChunk chunk = random_chunk(rng);
    const int cp = std::uniform_int_distribution<int>(2, 8)(rng);
    const Tokens window = std::uniform_int_distribution<Tokens>(0, 1)(rng) * (1 + trial);
    const Tokens n = chunk.past + chunk.new_tokens;
    Tokens most = 0;
    for (int rank = 0; rank < cp; ++rank) {
      std::set<Tokens> own, needed;
      for (const PrefillChunk& piece : rank_pieces(chunk, cp, rank)) {
        for (Tokens i = piece.past; i < piece.past + piece.new_tokens; ++i) {
          own.insert(i);
          for (Tokens j = window == 0 ? 0 : std::max<Tokens>(0, i - window + 1); j <= i; ++j)
            needed.insert(j);
        }
      }
      for (Tokens j = window == 0 ? 0 : std::max<Tokens>(0, n - window); j < n; ++j) needed.insert(j);
      Tokens missing = 0;
      for (const Tokens j : needed) missing += j >= chunk.past && own.count(j) == 0 ? 1 : 0;
      most = std::max(most, missing);
    }
    INFO(chunk.new_tokens << " over " << cp << ", window " << window);
    // The rank that receives most may have a token less than the fullest one.
    CHECK(most <= received_tokens(chunk.new_tokens, cp, window) + 2);
    if (window == 0) CHECK(most >= received_tokens(chunk.new_tokens, cp, 0));
  }
}

TEST_CASE("does a ring hide its transfers from blocks of F/B tokens on?", "[context]") {
  // Liu et al., Ring Attention, 2023, section 3: a step computes 4 d c^2 FLOPs and moves 4 c d bytes (K and V
  // in 16 bits, c tokens per rank, unmasked, as many KV heads as heads), so transfers are hidden when
  // c >= F / B.
  AttentionSizes sizes{32, 32, 128};
  sizes.pattern.causal = false;
  for (const int cp : {2, 4, 8}) {
    for (const Tokens c : {1024, 4096}) {
      const auto calls =
          calls_of(PrefillAttention(sizes), prompt(c * cp), split(1, cp, 1, ContextExchange::ring));
      REQUIRE(calls.size() == 4);
      const double flops = calls[0].work.tensor_flops, bytes = calls[1].work.link_bytes;
      const double d = 32 * 128, tokens = static_cast<double>(c);
      CHECK(flops == Approx(4 * d * tokens * tokens));
      CHECK(bytes == Approx(4 * tokens * d));
      CHECK(flops / bytes == Approx(tokens));
      // cp - 1 steps beside a transfer, one alone; all but one merge.
      CHECK(calls[0].mark == Mark::fork);
      CHECK(calls[0].repeat == cp - 1);
      CHECK(calls[1].mark == Mark::branch);
      CHECK(calls[1].repeat == cp - 1);
      CHECK(calls[1].lane == Lane::comm);
      CHECK(calls[2].mark == Mark::join);
      CHECK(calls[2].repeat == 1);
      CHECK(calls[3].repeat == cp - 1);
    }
  }
}

TEST_CASE("does a ring attend to what a gather does?", "[context]") {
  const AttentionSizes sizes{64, 8, 128};
  const auto batch = prompt(8192, 4096);
  const auto flops = [](const KernelCalls& calls) {
    double sum = 0;
    for (const auto& call : calls) sum += call.repeat * call.work.tensor_flops;
    return sum;
  };
  const auto whole = calls_of(PrefillAttention(sizes), batch, split(8, 1));
  for (const int cp : {2, 4}) {
    CHECK(cp * flops(calls_of(PrefillAttention(sizes), batch, split(8, cp))) == Approx(flops(whole)));
    CHECK(cp * flops(calls_of(PrefillAttention(sizes), batch, split(8, cp, 1, ContextExchange::ring))) ==
          Approx(flops(whole)));
    const auto latent = calls_of(MlaPrefill(kDeepSeek), batch, split(8, cp, 1, ContextExchange::ring));
    CHECK(cp * flops(latent) == Approx(flops(calls_of(MlaPrefill(kDeepSeek), batch, split(8, 1)))));
  }
  // Nobody passes keys on that lie in the cache already.
  CHECK(calls_of(PrefillAttention(sizes, false), batch, split(8, 4, 1, ContextExchange::ring)).size() == 1);
}

TEST_CASE("does the exchange carry every key and value to every other rank?", "[context]") {
  // Llama-3.1-70B at TP8: one KV head of 128 per rank, K and V in 16 bits: 512 bytes a token.
  const KeyExchange exchange("key_exchange", {{8, 128}, {8, 128}}, 0, 0, true);
  const auto call = by_role(calls_of(exchange, prompt(8192), split(8, 4)), "key_exchange");
  CHECK(call.work.link_bytes == 512 * 8192 * 3 / 4);
  CHECK(call.dims[0] == 4);
  CHECK(call.dims[2] == 8);  // the ranks lie as far apart as a tensor-parallel group is large
  CHECK(calls_of(exchange, prompt(8192), split(8, 1)).empty());
  CHECK(calls_of(exchange, prompt(8192), split(8, 4, 1, ContextExchange::ring)).empty());
  // A window of 128 needs the 127 before each piece and the 128 the cache keeps.
  const KeyExchange windowed("key_exchange", {{8, 128}, {8, 128}}, 0, 128, true);
  CHECK(by_role(calls_of(windowed, prompt(8192), split(8, 4)), "key_exchange").work.link_bytes ==
        512 * (127 + 127 + 128));
}

TEST_CASE("does each decode-context rank read its part of the cache with the queries of all?", "[context]") {
  BatchShape batch;
  batch.decode_seqs = 16, batch.decode_context = 16 * 131072 + 5;
  // DeepSeek-V3 at TP8: 16 heads a rank, all of them over an eighth of the tokens.
  const auto whole = calls_of(MlaDecode(kDeepSeek), batch, split(8, 1)).front();
  const auto part = calls_of(MlaDecode(kDeepSeek), batch, split(8, 1, 8)).front();
  CHECK(part.dims[1] * 8 == static_cast<double>(batch.decode_context));
  CHECK(part.dims[2] == 128);
  CHECK(part.work.tensor_flops == Approx(whole.work.tensor_flops));
  const double queries = 16.0 * (128 - 16 / 8.0) * 576 * 2;  // more queries, an eighth of the latents
  CHECK(part.work.hbm_read_bytes == Approx(whole.work.hbm_read_bytes / 8 + queries).epsilon(1e-9));
  // Four KV heads at TP8 with two ranks each (Qwen3-235B-A22B).
  const AttentionSizes qwen{64, 4, 128};
  const auto one = calls_of(DecodeAttention(qwen, std::span<const KeyCap>{}), batch, split(8, 1)).front();
  const auto two = calls_of(DecodeAttention(qwen, std::span<const KeyCap>{}), batch, split(8, 1, 2)).front();
  CHECK(two.dims[1] * 2 == one.dims[1]);
  CHECK(two.dims[2] == 2 * one.dims[2]);
  CHECK(two.dims[3] == one.dims[3]);
  CHECK(two.work.tensor_flops == one.work.tensor_flops);
}

TEST_CASE("what do decode-context ranks send each other?", "[context]") {
  BatchShape batch;
  batch.decode_seqs = 32, batch.decode_context = 32 * 4096;
  // Per query of DeepSeek-V3 at TP8, over 8 ranks: 16 heads of 576 queries and 512 outputs in 16 bits, 128
  // log-sum-exps in 32; each rank's part goes to the 7 others (all-gather, all-gather, reduce-scatter).
  const auto ctx = split(8, 1, 8);
  const auto queries = calls_of(QueryGather({128, 576}, Phase::decode), batch, ctx);
  const auto outputs = calls_of(PartialOutputs({128, 512}, Phase::decode), batch, ctx);
  CHECK(by_role(queries, "query_gather").work.link_bytes == 32 * 7 * 16 * 576 * 2);
  CHECK(by_role(outputs, "lse_gather").work.link_bytes == 32 * 7 * 128 * 4);
  CHECK(by_role(outputs, "partial_scatter").work.link_bytes == 32 * 7 * 16 * 512 * 2);
  CHECK(calls_of(QueryGather({128, 576}, Phase::decode), batch, split(8, 1)).empty());
  CHECK(calls_of(PartialOutputs({128, 512}, Phase::decode), batch, split(8, 1)).empty());
  // Prompts need the others' cache once something is cached.
  CHECK(calls_of(QueryGather({64, 128}, Phase::prefill), prompt(512), ctx).empty());
  CHECK(calls_of(QueryGather({64, 128}, Phase::prefill), prompt(512, 1024), ctx).size() == 1);
  const CacheGather cached({{1, 512}, {1, 64}});
  CHECK(calls_of(cached, prompt(512), ctx).empty());
  CHECK(calls_of(cached, prompt(512, 1024), ctx).front().work.link_bytes == 7.0 / 8 * 1024 * 576 * 2);
}
