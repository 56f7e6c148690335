// How layers share one pool of KV blocks, against what vLLM logs for real models and against their sizes.
#include "cost/kv_blocks.hpp"

#include <cmath>

#include <catch2/catch.hpp>

#include "cost/capacity.hpp"
#include "support/reference_data.hpp"

using namespace orrery;

namespace {

KvGroup attention(int layers, double bytes_per_token, KeyCap cap = {}) {
  return {{1, cap}, bytes_per_token * layers, 0, layers};
}
KvGroup states(int layers, double bytes) {
  return {{}, 0, bytes * layers, layers};
}

/// A pool of so many blocks, as engines make one of what memory is left.
KvCapacity pool(const KvBlocks& layout, std::int64_t blocks, Tokens chunk) {
  KvCapacity c;
  c.blocks = blocks, c.block_bytes = layout.block_bytes, c.block_size = layout.block_size();
  c.groups = layout.groups, c.chunk = chunk;
  return c;
}

KvBlocks layout_of(const std::string& data, const std::string& config, const LoweringContext& ctx) {
  const ModelSpec model = load_model(data + "/model_configs/" + config);
  return kv_blocks(model.kv_groups(ctx), 16, model.max_model_len);
}

}  // namespace

TEST_CASE("is a model whose layers all keep the same one group with blocks of all layers?") {
  const auto llama = kv_blocks({attention(32, 4096)}, 16, 131072);
  CHECK(llama.groups == std::vector<KvBlockGroup>{{{}, false, 1, 16}});
  CHECK(llama.block_bytes == 16 * 131072);  // Llama-3.1-8B: 131,072 bytes a token (EFA-09)
  const auto mistral = kv_blocks({attention(32, 4096, 4096)}, 16, 32768);
  CHECK(mistral.groups == std::vector<KvBlockGroup>{{4096, false, 1, 16}});
}

// vLLM v1, kv_cache_utils.py: its own examples are 10 full and 20 windowed layers in three groups, Gemma 3
// and Llama 4 by their rarer layers, and 12 + 13 layers padded to 13 + 13.
TEST_CASE("are layers of several kinds cut into groups of the rarest kind's size, unless both are near?") {
  const auto counts = [](const KvBlocks& b) {
    std::vector<int> out;
    for (const auto& g : b.groups) out.push_back(g.count);
    return out;
  };
  CHECK(counts(kv_blocks({attention(10, 1), attention(20, 1, 1024)}, 16, 0)) == std::vector<int>{1, 2});
  const auto gemma3 = kv_blocks({attention(10, 8192), attention(52, 8192, 1024)}, 16, 0);  // 27B: 62 layers
  CHECK(counts(gemma3) == std::vector<int>{1, 6});
  CHECK(gemma3.block_bytes == 10 * 8192 * 16);
  CHECK(counts(kv_blocks({attention(12, 2048), attention(36, 2048, {8192, true})}, 16, 0)) ==
        std::vector<int>{1, 3});
  const auto eagle = kv_blocks({attention(13, 1024), attention(12, 1024, 128)}, 16, 0);
  CHECK(counts(eagle) == std::vector<int>{1, 1});
  CHECK(eagle.block_bytes == 13 * 1024 * 16);
}

// SPA-02: 18 of gpt-oss-120b's 36 layers keep 128 tokens, so 131,072 tokens cost (18 n + 18 * 128) / (36 n) =
// 0.50049 of what 36 full layers would.
TEST_CASE("SPA-02 does gpt-oss hold half of an all-full cache at its longest context?") {
  const double bytes = 2 * 8 * 64 * 2;
  const auto held = [](const KvBlocks& b, Tokens n) {  // by windows rounded up to whole blocks
    double sum = 0;
    for (const auto& g : b.groups) {
      const Tokens kept = g.full() ? n : std::min(n, g.cap.tokens);
      sum += g.count * b.block_bytes * std::ceil(static_cast<double>(kept) / g.block_size);
    }
    return sum;
  };
  const auto gpt_oss = kv_blocks({attention(18, bytes), attention(18, bytes, 128)}, 16, 131072);
  const auto all_full = kv_blocks({attention(36, bytes)}, 16, 131072);
  CHECK(held(gpt_oss, 131072) / held(all_full, 131072) == Approx(0.5005).margin(5e-5));
  CHECK(held(gpt_oss, 128) == held(all_full, 128));

  // One pool: beside one sequence of 131,072 tokens twice as long a one fits as all-full layers would hold.
  const auto most = pool(all_full, 8193, 2048).longest(1 << 20);
  CHECK(most == 131072);
  CHECK(pool(gpt_oss, 2 * 8192 + 1, 2048).longest(1 << 20) == 131072 * 2 - 16 * ((127 + 2048 + 15) / 16 + 1));
}

// A layer of Jamba keeps 2 * 8 * 128 * 2 = 4096 bytes a token, and 4 of 32 layers are attention: 256K tokens
// are 4 GiB (Lieber et al., Jamba, 2024, section 3.2).
TEST_CASE("does Jamba keep 4 GiB of keys and values for 256K tokens, and its states beside them?") {
  const double state = 8192.0 * 16 * 2 + 8192 * 3 * 2;
  const auto jamba = kv_blocks({attention(4, 4096), states(28, state)}, 16, 262144);
  REQUIRE(jamba.groups.size() == 2);
  CHECK(jamba.groups[0].count == 1);
  CHECK(jamba.groups[1].count == 7);
  CHECK(jamba.groups[0].block_size == 80);  // 311,296 bytes are 76 tokens of 4096
  const double kv = std::ceil(262144.0 / 80) * jamba.block_bytes;
  CHECK(kv / kGiB == Approx(4.0).epsilon(1e-3));
  CHECK(jamba.block_bytes >= 4 * state);
}

TEST_CASE("is the capacity of a model of states a number of sequences?") {
  const auto mamba = kv_blocks({states(64, 1e6)}, 16, 1 << 20);
  CHECK(mamba.groups == std::vector<KvBlockGroup>{{{}, true, 1, 1 << 20}});
  CHECK(mamba.block_bytes == 64e6);
  const auto c = pool(mamba, 81, 2048);
  CHECK(!c.holds_tokens());
  CHECK(c.tokens() == 0);
  CHECK(c.longest(1 << 20) == 1 << 20);
  CHECK(c.concurrency(1) == 81);
  CHECK(c.concurrency(1 << 20) == 81);
}

// Layers that keep twice as many bytes a token share blocks of half as many tokens.
TEST_CASE("do layers of different width get blocks of the same bytes?") {
  const auto both = kv_blocks({attention(9, 2560), attention(39, 5120, 128)}, 16, 0);
  REQUIRE(both.groups.size() == 2);
  CHECK(both.groups[0].block_size == 32);
  CHECK(both.groups[1].block_size == 16);
  CHECK(both.groups[1].count == 5);  // 39 layers in groups of nine, padded
  CHECK(both.block_bytes == 9 * 16 * 5120);
}

// Logged by vLLM 0.19.0 on an H20 for Qwen3.5-27B with --max-model-len 32768: "GPU KV cache size: 290,864
// tokens", "Maximum concurrency for 32,768 tokens per request: 33.04x" (vLLM issue 40691). By another server
// with two GPUs and an 8-bit cache: blocks of 1,568 tokens.
TEST_CASE("are the block length, tokens and concurrency that vLLM logs for Qwen3.5 those of its groups?") {
  REQUIRE_REFERENCE_DATA(data);
  LoweringContext ctx;
  const auto qwen = layout_of(data, "Qwen--Qwen3.5-27B_config.json", ctx);
  REQUIRE(qwen.groups.size() == 2);
  CHECK(qwen.groups[0].count + qwen.groups[1].count == 4);
  CHECK(qwen.groups[0].block_size == 784);
  const auto c = pool(qwen, 1487, 16384);
  CHECK(c.tokens() == 290864);
  CHECK(c.concurrency(32768) == Approx(33.04).margin(0.005));
  ctx.shard.tp = 2;
  ctx.precision.kv_cache = DType::fp8;
  CHECK(layout_of(data, "Qwen--Qwen3.5-27B_config.json", ctx).groups[0].block_size == 1568);
}

TEST_CASE("do gpt-oss-120b's layers form two groups of 18?") {
  REQUIRE_REFERENCE_DATA(data);
  const auto gpt_oss = layout_of(data, "openai--gpt-oss-120b_config.json", {});
  CHECK(gpt_oss.groups == std::vector<KvBlockGroup>{{{}, false, 1, 16}, {128, false, 1, 16}});
  CHECK(gpt_oss.block_bytes == 18 * 16 * 2048);
}
