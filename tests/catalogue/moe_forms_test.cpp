#include <cmath>

#include "catalogue/moe_support.hpp"
#include "model/lowering.hpp"
#include "model/model_spec.hpp"
#include "ops/kernel_classes.hpp"
#include "ops/moe_experts.hpp"

using namespace orrery;
using namespace moe_rows;

namespace {

BatchShape prompt(Tokens tokens) {
  BatchShape batch;
  batch.chunks = {{tokens, 0}};
  return batch;
}
KernelCalls step(const ModelSpec& model, const BatchShape& batch) {
  KernelCalls calls;
  model.lower(batch, {}, calls);
  return calls;
}
/// The model with each feed-forward replaced.
ModelSpec with_experts(ModelSpec model, const MoeParams& moe) {
  for (auto& kind : model.kinds) kind.ffn = moe;
  return model;
}
std::int64_t dense_width(const ModelSpec& model) {
  return std::get<DenseParams>(model.kinds.front().ffn).width;
}

}  // namespace

TEST_CASE("MOE-09 do an eighth of the tokens in every other block make 0.5625 of the work?", "[catalogue]") {
  const Json layers = find_method("MOE-09").blocks.at("layers");
  auto model = load_model("llama-2-7b");
  const auto whole = step(model, prompt(4096));
  // Every other block of the 32, as the row's two entries alternate.
  REQUIRE(layers.size() == 2);
  LayerKind kind = model.kinds.front();
  model.kinds.clear();
  for (const auto& layer : layers) {
    kind.count = 16, kind.depth = layer.at("depth").get<double>();
    model.kinds.push_back(kind);
  }
  for (std::size_t i = 0; i < model.pattern.size(); ++i) model.pattern[i] = static_cast<int>(i % 2);
  const auto routed = step(model, prompt(4096));
  // (1 + 0.125) / 2 of the token-layers in the products; attention among an eighth of the tokens is 1/64 of
  // the pairs (to the diagonal): (1 + 1/64) / 2.
  CHECK(flops(routed, "gate_up_proj") / flops(whole, "gate_up_proj") == 0.5625);
  CHECK(flops(routed, "qkv_proj") / flops(whole, "qkv_proj") == 0.5625);
  CHECK(flops(routed, "attention") / flops(whole, "attention") == Approx((1 + 1.0 / 64) / 2).epsilon(2e-3));
  CHECK(model.parameters() == load_model("llama-2-7b").parameters());
}

TEST_CASE("MOE-10 do soft experts work on their slots however many tokens there are?", "[catalogue]") {
  const MoeParams soft = moe("MOE-10");
  const double slots = 128, hidden = 768;
  for (const int tokens : {16, 196, 4096}) {
    const auto calls = lowered(soft, 768, tokens);
    CHECK(flops(calls, "experts") == 2.0 * slots * 2 * hidden * 3072);
    // Logits, mixtures of tokens, mixtures of slots: 2 n E p D each.
    CHECK(flops(calls, "slot") + flops(calls, "tokens_to_slots") == 6.0 * tokens * slots * hidden);
    CHECK(weights(calls, "experts") == slots * 2 * hidden * 3072 * 2);
  }
  MoeParams two = soft;
  two.slots = 2;
  CHECK(flops(lowered(two, 768, 100), "") == 2 * flops(lowered(soft, 768, 100), ""));
}

TEST_CASE("MOE-11 does retrieval among a million experts grow with the root of their number?",
          "[catalogue]") {
  MoeParams peer = moe("MOE-11");
  const auto retrieval = [&](int experts) {
    peer.experts = experts;
    const auto calls = lowered(peer, 1024, 64);
    // Two half queries of 64 against sqrt(E) keys each, 8 heads: 2 n sqrt(E) d_k h; k^2 pairs merged per
    // head.
    CHECK(flops(calls, "keys") == 2.0 * 64 * std::sqrt(experts) * 128 * 8);
    CHECK(call_of(calls, "retrieval").dims[1] == 2 * std::sqrt(experts) + 16.0 * 16);
    return flops(calls, "keys") + sum(calls, "retrieval", &Work::vector_flops);
  };
  const double exponent = std::log(retrieval(1 << 24) / retrieval(1 << 16)) / std::log(1 << 8);
  CHECK(exponent == Approx(0.5).margin(0.05));
  // k h single neurons per token, 4 D FLOPs each, from tables that few tokens share: bound by the gather.
  peer.experts = 1 << 20;
  const auto experts = call_of(lowered(peer, 1024, 64), "experts");
  CHECK(experts.work.vector_flops == 64.0 * 16 * 8 * 4 * 1024);
  CHECK(experts.work.intensity() < 2);
  CHECK(experts.work.weight_bytes == Approx(64.0 * 16 * 8 * 2 * 1024 * 2).epsilon(0.01));
  CHECK(parameters(peer, 1024) == 2.0 * (1 << 20) * 1024 + 1024.0 * 8 * 128 + 1024 * 128);
}

TEST_CASE("MOE-12 do low-rank experts add k r (D + F) / (D F) to the dense feed-forward?", "[catalogue]") {
  const MoeParams lora = moe("MOE-12");
  const double hidden = 4096, width = 11008, rank = 16, k = 2;
  const auto calls = lowered(lora, 4096, 100);
  const double dense = flops(calls, "gate_up_proj") + flops(calls, "down_proj");
  CHECK(dense == 6.0 * 100 * hidden * width);
  CHECK(flops(calls, "adapters") / dense == Approx(k * rank * (hidden + width) / (hidden * width)));
  MoeParams whole = lora;
  whole.lora_whole = true;
  CHECK(flops(lowered(whole, 4096, 100), "adapters") / dense == Approx(2 * k * rank / (3 * width)));
  // Adapters of all experts are stored beside one feed-forward.
  MoeParams none = lora;
  none.lora_rank = 0, none.experts = none.active = 0;
  CHECK(parameters(lora, 4096) - parameters(none, 4096) == 8.0 * 3 * rank * (hidden + width) + 8 * hidden);
}

TEST_CASE("MOE-13 does splitting a feed-forward into experts keep the parameters and touch k of E?",
          "[catalogue]") {
  const auto dense = load_model("llama-2-7b");
  const MoeParams row = moe("MOE-13");
  CHECK(block_of<DenseParams>("MOE-13", "dense").width == dense_width(dense));
  CHECK(row.experts * row.width == dense_width(dense));
  const auto split = load_model("llama-2-7b+MOE-13");
  CHECK(split.parameters() == Approx(dense.parameters()).epsilon(1e-3));
  const auto a = step(split, prompt(100)), b = step(dense, prompt(100));
  CHECK(flops(a, "experts") / (flops(b, "gate_up_proj") + flops(b, "down_proj")) == Approx(4.0 / 16));
  // LLaMA-MoE (Zhu et al., 2024, table 1): 6.7 B in all, 3.5 B active with 4 of 16 experts, 3.0 B with 2
  // of 16.
  CHECK(split.parameters() == Approx(6.74e9).epsilon(5e-3));
  const double embedding = 32000.0 * 4096;
  CHECK(split.active_parameters() + embedding == Approx(3.5e9).epsilon(0.01));
  MoeParams two = row;
  two.active = 2;
  CHECK(with_experts(dense, two).active_parameters() + embedding == Approx(3.0e9).epsilon(0.02));
}

TEST_CASE("MOE-14 is an upcycled model the dense one and E - 1 feed-forwards more?", "[catalogue]") {
  const auto mistral = load_model("mistral-7b-v0.1");
  CHECK(block_of<DenseParams>("MOE-14", "dense").width == dense_width(mistral));
  const auto upcycled = load_model("mistral-7b-v0.1+MOE-14");
  const double feed_forwards = 32.0 * 3 * 4096 * 14336, routers = 32.0 * 4096 * 8;
  CHECK(upcycled.parameters() == mistral.parameters() + 7 * feed_forwards + routers);
  CHECK(upcycled.parameters() == Approx(46.70e9).epsilon(1e-3));
  CHECK(upcycled.parameters() == load_model("mixtral-8x7b").parameters());
  // Two feed-forwards of eight: Mixtral's 12.9 B active (Jiang et al., 2024), both embeddings counted.
  CHECK(upcycled.active_parameters() + 32000.0 * 4096 == Approx(12.9e9).epsilon(0.005));
}

TEST_CASE("MOE-15 is merged attention counted once, and a layer used twice stored once and read twice?",
          "[catalogue]") {
  const auto seed = load_model("llama-2-7b");
  const auto merged = load_model("llama-2-7b+MOE-15");
  const double feed_forwards = 32.0 * 3 * 4096 * 11008, routers = 32.0 * 4096 * 4;
  // Four branches of 6.74 B: attention and embeddings are averaged, so their parameters are those of one.
  CHECK(merged.parameters() - routers - 4 * feed_forwards == seed.parameters() - feed_forwards);
  CHECK(flops(step(merged, prompt(64)), "qkv_proj") == flops(step(seed, prompt(64)), "qkv_proj"));

  const Json layer = find_method("MOE-15").blocks.at("layers").at(0);
  ModelSpec once = seed, twice = seed;
  once.kinds.front().count = 1, once.pattern = {0};
  twice.kinds.front().count = layer.at("count").get<int>();
  twice.kinds.front().copies = layer.at("copies").get<std::int64_t>();
  twice.pattern = {0, 0};
  CHECK(twice.parameters() == once.parameters());
  CHECK(twice.weight_bytes({}) == once.weight_bytes({}));
  for (const auto* role : {"qkv_proj", "gate_up_proj"})
    CHECK(weights(step(twice, prompt(8)), role) == 2 * weights(step(once, prompt(8)), role));
}
