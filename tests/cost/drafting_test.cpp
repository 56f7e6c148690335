// Prices of steps that verify drafted tokens, and of what drafts them.
#include <array>
#include <cmath>

#include <catch2/catch.hpp>

#include "base/rng.hpp"
#include "cost/step_pricer.hpp"
#include "ops/kernel_classes.hpp"

using namespace orrery;

namespace {

/// A launch cost, the roofline of 500 TFLOP/s and 2 TB/s, and a split-KV knee.
class KneeCost final : public KernelCostModel {
 public:
  KernelTime price(const KernelCall& call) const override {
    const double knee = call.cls == &kAttentionDecode && call.dims[1] / call.dims[0] > 700 ? 7e-6 : 0;
    return {Seconds(1e-6 + knee + call.work.flops() / 500e12 + call.work.hbm_bytes() / 2e12),
            Provenance::analytic};
  }
  ClassError error(const KernelClass&, Provenance) const override { return {}; }
  std::vector<std::string> sources() const override { return {}; }
};

KernelPlan some_plan() {
  KernelPlan plan;
  plan.graph_sizes = vllm_graph_sizes(512);
  plan.eager_launch_per_layer = Seconds(4e-6);
  plan.kernel_gap_per_layer = Seconds(1e-6);
  plan.host_per_step = Seconds(2e-3);
  plan.host_exposed = Seconds(1e-4);
  return plan;
}

StepPricer pricer(const std::string& model, Drafting drafting, KernelPlan plan = some_plan()) {
  return StepPricer(load_model(model), Shard{}, DeviceProfile{}, Topology{}, std::move(plan),
                    std::make_shared<KneeCost>(), std::move(drafting));
}

Drafting chain(std::int64_t gamma, TokenPace pace) {
  Drafting drafting;
  drafting.queries = gamma + 1;
  drafting.pace_steps = pace.steps;
  return drafting;
}

DecodeSet set_of(std::int64_t seqs, Tokens context, TokenPace pace = {}) {
  DecodeSet set;
  set.seqs = seqs, set.context = context, set.pace = pace;
  return set;
}

}  // namespace

TEST_CASE("is every step of a verifying run the very price of its own set, parts of tokens included?") {
  const TokenPace pace =
      GENERATE(TokenPace{1, 1, 0}, TokenPace{48, 13, 5}, TokenPace{59, 32, 31}, TokenPace{3, 1, 0});
  Drafting drafting = chain(5, pace);
  const bool drafted = GENERATE(false, true);
  if (drafted) drafting.model = load_model("llama-3.1-8b"), drafting.passes = 5;
  auto p = pricer("llama-3.1-8b", drafting);
  Rng rng(11, "verifying runs");
  for (int i = 0; i < 200; ++i) {
    const std::int64_t seqs = rng.uniform_int(1, 300);
    const DecodeSet set = set_of(seqs, seqs * rng.uniform_int(1, 9000), pace);
    const AffinePrice price = p.decode(set);
    for (const std::int64_t j : {std::int64_t{0}, std::int64_t{1}, price.steps / 2, price.steps - 1}) {
      if (j >= price.steps || j > 100000) continue;
      REQUIRE(p.decode(set.advanced(j)).first == price.first + price.slope * j);
    }
  }
}

TEST_CASE("does a step that verifies no drafts cost what a plain one does, to the picosecond?") {
  auto plain = pricer("llama-3.1-8b", {}), none = pricer("llama-3.1-8b", chain(0, {}));
  Rng rng(12, "identity");
  for (int i = 0; i < 100; ++i) {
    const std::int64_t seqs = rng.uniform_int(1, 300);
    const DecodeSet set = set_of(seqs, seqs * rng.uniform_int(1, 9000));
    const PrefillChunk chunk{rng.uniform_int(1, 4000), rng.uniform_int(0, 4000)};
    REQUIRE(plain.decode(set).first == none.decode(set).first);
    REQUIRE(plain.mixed(set, {&chunk, 1}) == none.mixed(set, {&chunk, 1}));
  }
}

TEST_CASE(
    "is verifying nearly free while weights bound the step, and gamma + 1 times as dear when arithmetic "
    "does?") {
  KernelPlan bare;  // no host, no gaps
  auto plain = pricer("llama-3.1-8b", {}, bare), verify = pricer("llama-3.1-8b", chain(5, {}), bare);
  const auto ratio = [&](std::int64_t seqs) {
    const auto set = set_of(seqs, seqs * 16);
    return static_cast<double>(verify.decode(set).first.value) /
           static_cast<double>(plain.decode(set).first.value);
  };
  CHECK(ratio(1) < 1.05);
  CHECK(ratio(2048) > 5.0);
  CHECK(ratio(2048) < 6.1);
}

TEST_CASE(
    "does drafting add one pass over the step's tokens and one token per sequence for each further draft?") {
  // Without host time, gaps and graphs every term is a price of the draft alone.
  KernelPlan bare;
  Drafting drafting = chain(3, {});
  auto verify = pricer("qwen2.5-7b", drafting, bare);
  drafting.model = load_model("qwen2.5-0.5b"), drafting.passes = 3;
  auto both = pricer("qwen2.5-7b", drafting, bare);
  auto draft = pricer("qwen2.5-0.5b", {}, bare), draft_all = pricer("qwen2.5-0.5b", chain(3, {}), bare);
  const DecodeSet set = set_of(8, 8 * 512);
  const auto ms = [](Ps t) { return to_ms(t); };
  const double passes = ms(both.decode(set).first) - ms(verify.decode(set).first);
  const double plain = ms(draft.decode(set).first), all = ms(draft_all.decode(set).first);
  // The first pass samples one row per sequence where draft_all samples four.
  CHECK(passes > 3 * plain);
  CHECK(passes < all + 2 * plain);
  both.account_decode(set, both.decode(set), 1);
  const TimeShares shares = both.shares();
  CHECK(shares.draft == Approx(passes * 1e-3).epsilon(1e-6));
}
