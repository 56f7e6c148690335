// Prices of steps whose sequences are divided over ranks.
#include "ops/context_parallel.hpp"

#include <catch2/catch.hpp>

#include "base/rng.hpp"
#include "cost/capacity.hpp"
#include "cost/roofline.hpp"
#include "cost/step_pricer.hpp"
#include "ops/equal_sequences.hpp"
#include "ops/kernel_classes.hpp"

using namespace orrery;

namespace {

/// Attention takes a nanosecond per thousand pairs, a ring's step `pass`; all else is free.
class Clockwork final : public KernelCostModel {
 public:
  explicit Clockwork(double pass) : pass_(pass) {}
  KernelTime price(const KernelCall& call) const override {
    double s = 0;
    if (call.cls == &kAttentionPrefill) s = call.dims[2] * 1e-12;
    if (call.cls == &kKeyPass) s = pass_;
    return {Seconds(s), Provenance::analytic};
  }
  ClassError error(const KernelClass&, Provenance) const override { return {}; }
  std::vector<std::string> sources() const override { return {"test"}; }

 private:
  double pass_;
};

Shard split(int tp, int cp, int dcp = 1) {
  Shard shard;
  shard.tp = tp, shard.cp = cp, shard.dcp = dcp;
  return shard;
}

KernelPlan ring() {
  KernelPlan plan;
  plan.fusion.attention.exchange = ContextExchange::ring;
  return plan;
}

StepPricer pricer(const ModelSpec& model, const Shard& shard, const KernelPlan& plan,
                  KernelCostModelPtr cost) {
  return {model, shard, DeviceProfile{}, Topology{}, plan, std::move(cost)};
}

}  // namespace

TEST_CASE("does a ring's step take the longer of its attention and its transfer?", "[cost]") {
  const auto model = load_model("llama-3.1-70b");
  const std::vector<PrefillChunk> chunk{{8192, 0}};
  const double layers = 80, pairs = 8192.0 * 8193 / 2, cp = 4;
  for (const double pass : {1e-9, 1e-6, 1e-4}) {
    auto p = pricer(model, split(8, 4), ring(), std::make_shared<Clockwork>(pass));
    const double step = pairs / cp / cp * 1e-12;
    const double expected = layers * ((cp - 1) * std::max(step, pass) + step);
    CHECK(to_seconds(p.mixed({}, chunk)).value == Approx(expected).epsilon(1e-3));
    BatchShape batch;
    batch.chunks = chunk;
    CHECK(p.explain(batch).total.value == Approx(expected).epsilon(1e-3));
  }
}

TEST_CASE("does a prompt take 1/cp of the time where the exchange is small?", "[cost]") {
  // A node's links at the speed of light: K and V of Llama-3.1-70B are 512 bytes a token and layer at TP8.
  DeviceProfile device = load_device("h100-sxm");
  const Topology node = topology_for(device);
  for (const char* name : {"llama-3.1-70b", "mistral-7b-v0.1"}) {
    const auto model = load_model(name);
    const auto seconds = [&](int cp) {
      StepPricer p(model, split(1, cp), device, node, KernelPlan{}, make_speed_of_light(device, node));
      const std::vector<PrefillChunk> chunk{{32768, 0}};
      return to_seconds(p.mixed({}, chunk)).value;
    };
    const double whole = seconds(1);
    for (const int cp : {2, 4, 8}) {
      INFO(name << " over " << cp);
      const double share = seconds(cp) / whole;
      CHECK(share > 1.0 / cp);
      CHECK(share < 1.15 / cp);
    }
  }
}

TEST_CASE("do ranks in other nodes exchange over the network?", "[cost]") {
  DeviceProfile device = load_device("h100-sxm");
  const Topology node = topology_for(device);
  const auto cost = make_speed_of_light(device, node);
  const auto seconds = [&](double spacing) {
    return cost->price(make_call(kKeyExchange, {2, 1e9, spacing}, DType::bf16, DType::bf16)).time.value;
  };
  CHECK(seconds(4) == Approx(seconds(1)));  // 8 GPUs a node: both of a group's ranks are in it
  CHECK(seconds(8) / seconds(1) == Approx(node.gpu_link_bytes_per_s / node.nic_bytes_per_s).epsilon(0.01));
}

TEST_CASE("are decode steps over divided caches priced as a line, step by step?", "[cost]") {
  Rng rng(7, "context");
  DeviceProfile device = load_device("h200-sxm");
  const Topology node = topology_for(device);
  struct Case {
    const char* model;
    Shard shard;
  };
  for (const Case& c : {Case{"deepseek-v3", split(8, 1, 8)}, {"qwen3-235b-a22b", split(8, 2, 2)}}) {
    const auto model = load_model(c.model);
    StepPricer p(model, c.shard, device, node, KernelPlan{}, make_analytic(device, node));
    for (int trial = 0; trial < 20; ++trial) {
      auto set = equal_sequences(model.caps(), rng.uniform_int(1, 64), rng.uniform_int(1, 120000));
      const AffinePrice price = p.decode(set);
      for (const std::int64_t j : {std::int64_t{0}, price.steps / 2, price.steps - 1}) {
        if (j > 100000) continue;
        REQUIRE(p.decode(set.advanced(j)).first == price.first + Ps(price.slope.value * j));
      }
    }
  }
}

TEST_CASE("do decode-context ranks hold as many times more tokens in as many blocks?", "[cost]") {
  const auto model = load_model("deepseek-v3");
  const DeviceProfile device = load_device("h200-sxm");
  MemoryPolicy policy;
  policy.block_size = 64;
  LoweringContext ctx;
  ctx.precision = model.native;
  ctx.shard.tp = 8;
  const KvCapacity whole = kv_capacity(model, ctx, device, policy, 8192, 1);
  for (const int dcp : {2, 4, 8}) {
    ctx.shard.dcp = dcp;
    const KvCapacity divided = kv_capacity(model, ctx, device, policy, 8192, 1);
    CHECK(divided.blocks == whole.blocks);
    CHECK(divided.block_size == dcp * whole.block_size);
    CHECK(divided.tokens() == dcp * whole.tokens());
  }
}

TEST_CASE("do long contexts decode faster where ranks share out the latents?", "[cost]") {
  const auto model = load_model("deepseek-v3");
  const DeviceProfile device = load_device("h200-sxm");
  const Topology node = topology_for(device);
  const auto seconds = [&](int dcp, Tokens context) {
    StepPricer p(model, split(8, 1, dcp), device, node, KernelPlan{}, make_speed_of_light(device, node));
    return to_seconds(p.decode(equal_sequences({}, 64, context)).first).value;
  };
  // Long contexts read an eighth of the latents, or, as all heads meet them, compute as much as before;
  // short ones pay three collectives a layer.
  CHECK(seconds(8, 131072) <= seconds(1, 131072));
  CHECK(seconds(8, 64) > seconds(1, 64));
}
