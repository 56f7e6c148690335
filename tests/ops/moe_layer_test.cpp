#include "ops/moe_layer.hpp"

#include <numeric>
#include <string>

#include <catch2/catch.hpp>

#include "base/error.hpp"
#include "ops/collective.hpp"
#include "ops/elementwise.hpp"
#include "ops/expert_exchange.hpp"
#include "ops/kernel_classes.hpp"
#include "ops/linear.hpp"
#include "ops/moe.hpp"

using namespace orrery;

namespace {

constexpr std::int64_t kHidden = 2048;

MoeParams mixture(int experts, int active, std::int64_t width) {
  MoeParams p;
  p.experts = experts, p.active = active, p.width = width;
  return p;
}
LoweringContext split(int tp, int dp, int ep) {
  LoweringContext ctx;
  ctx.shard.tp = tp, ctx.shard.dp = dp, ctx.shard.ep = ep;
  return ctx;
}
KernelCalls lowered(const MoeParams& p, std::int64_t tokens, const LoweringContext& ctx = {}) {
  BatchShape batch;
  batch.chunks = {{tokens, 0}};
  KernelCalls calls;
  for (const auto& [op, scaling] : moe_operators(p, kHidden)) {
    CHECK(scaling == KernelClass::Scaling::tokens);
    op->lower(batch, ctx, calls);
  }
  return calls;
}
std::vector<std::string> roles(const KernelCalls& calls) {
  std::vector<std::string> out;
  for (const auto& c : calls) out.emplace_back(c.role);
  return out;
}
const KernelCall& call_of(const KernelCalls& calls, std::string_view role) {
  const auto at = std::find_if(calls.begin(), calls.end(), [&](const auto& c) { return c.role == role; });
  REQUIRE(at != calls.end());
  return *at;
}
double weights(const MoeParams& p, const LoweringContext& ctx) {
  double sum = 0;
  for (const auto& part : moe_operators(p, kHidden)) sum += part.first->weight_bytes(ctx);
  return sum;
}
double parameters(const MoeParams& p) {
  double sum = 0;
  for (const auto& part : moe_operators(p, kHidden)) sum += part.first->parameters();
  return sum;
}
bool refuses(const MoeParams& p, const std::string& word) {
  try {
    p.check();
  } catch (const ConfigError& error) {
    INFO(error.what());
    return std::string(error.what()).find(word) != std::string::npos;
  }
  return false;
}

}  // namespace

TEST_CASE("is a mixture without routed experts a dense feed-forward, bit for bit?", "[ops]") {
  MoeParams shared;
  shared.shared_experts = 1, shared.shared_width = 8192;
  const UnitGroup hidden{kHidden}, width{8192};
  for (const int tp : {1, 4}) {
    KernelCalls dense;
    BatchShape batch;
    batch.chunks = {{77, 0}};
    const auto ctx = split(tp, 1, 1);
    Linear("gate_up_proj", {hidden}, {width, width}, TensorSplit::columns, false).lower(batch, ctx, dense);
    Activation(8192, true).lower(batch, ctx, dense);
    Linear("down_proj", {width}, {hidden}, TensorSplit::rows, false).lower(batch, ctx, dense);
    AllReduce("mlp_all_reduce", kHidden).lower(batch, ctx, dense);
    for (const auto& p : {shared, mixture(1, 1, 8192)}) {
      const auto calls = lowered(p, 77, ctx);
      REQUIRE(calls.size() == dense.size());
      for (std::size_t i = 0; i < calls.size(); ++i) {
        CHECK(calls[i].cls == dense[i].cls);
        CHECK(calls[i].dims == dense[i].dims);
        CHECK(calls[i].role == dense[i].role);
        CHECK(calls[i].work.flops() == dense[i].work.flops());
        CHECK(calls[i].work.hbm_bytes() == dense[i].work.hbm_bytes());
        CHECK(calls[i].work.link_bytes == dense[i].work.link_bytes);
      }
      CHECK(parameters(p) == 3.0 * kHidden * 8192);
    }
  }
}

TEST_CASE("do experts that all tokens choose multiply what a dense feed-forward of their width does?",
          "[ops]") {
  const auto calls = lowered(mixture(4, 4, 1024), 300);
  const auto dense = lowered(mixture(1, 1, 4096), 300);
  for (const auto& [expert, whole] :
       {std::pair{"experts_up", "gate_up_proj"}, std::pair{"experts_down", "down_proj"}}) {
    CHECK(call_of(calls, expert).work.tensor_flops == call_of(dense, whole).work.tensor_flops);
    CHECK(call_of(calls, expert).work.weight_bytes == call_of(dense, whole).work.weight_bytes);
  }
  CHECK(call_of(calls, "activation").work.hbm_bytes() == call_of(dense, "activation").work.hbm_bytes());
}

TEST_CASE("which kernels does a mixture of experts launch, in order?", "[ops]") {
  MoeParams p = mixture(64, 6, 1408);
  p.shared_experts = 2, p.shared_width = 1408;
  using Roles = std::vector<std::string>;
  CHECK(roles(lowered(p, 8)) == Roles{"gate_up_proj", "activation", "down_proj", "router", "routing",
                                      "experts_up", "activation", "experts_down", "shared_add"});
  // Tensor parallel, with experts whole or divided: every rank has all tokens, and one all-reduce ends it.
  for (const int ep : {1, 4}) CHECK(roles(lowered(p, 8, split(4, 1, ep))).back() == "mlp_all_reduce");
  // Data parallel: rows travel.
  CHECK(roles(lowered(p, 8, split(1, 8, 8))) == Roles{"gate_up_proj", "activation", "down_proj", "router",
                                                      "routing", "dispatch", "experts_up", "activation",
                                                      "experts_down", "combine", "shared_add"});
  CHECK(roles(lowered(p, 8, split(2, 4, 8))).back() == "token_gather");
  auto gathered = split(1, 8, 8);
  gathered.fusion.experts.dispatch = false;
  CHECK(roles(lowered(p, 8, gathered)) == Roles{"gate_up_proj", "activation", "down_proj", "router",
                                                "routing", "token_gather", "experts_up", "activation",
                                                "experts_down", "reduce_scatter", "shared_add"});
  p.latent = 512, p.shared_experts = 0;
  CHECK(roles(lowered(p, 8, split(1, 8, 8))) == Roles{"router", "latent_down", "routing", "dispatch",
                                                      "experts_up", "activation", "experts_down", "combine",
                                                      "latent_up"});
}

TEST_CASE("do the ranks of a split hold the experts once, and the busiest compute its part or more?",
          "[ops]") {
  const MoeParams p = mixture(64, 6, 1024);
  const double experts = 64.0 * 3 * kHidden * 1024 * 2, router = 64.0 * kHidden * 2;
  const double whole = call_of(lowered(p, 256), "experts_up").work.tensor_flops;
  struct Case {
    int tp, dp, ep;
  };
  for (const auto& c :
       {Case{8, 1, 1}, Case{8, 1, 8}, Case{8, 1, 2}, Case{1, 8, 8}, Case{2, 4, 8}, Case{1, 8, 1}}) {
    const auto ctx = split(c.tp, c.dp, c.ep);
    INFO("tp " << c.tp << " dp " << c.dp << " ep " << c.ep);
    CHECK(weights(p, ctx) == Approx(experts / 8 + router));
    // As many tokens over all data-parallel ranks together: the same work, divided over eight ranks.
    const auto up = call_of(lowered(p, 256 / c.dp, ctx), "experts_up");
    const double share = up.work.tensor_flops / (whole / 8);
    CHECK(share >= 1 - 1e-12);
    CHECK(share == Approx(c.ep == 1 ? 1.0 : 1.1).margin(0.1));
  }
}

TEST_CASE("are experts read in their own format, and routers never quantised?", "[ops]") {
  LoweringContext ctx;
  ctx.precision.weight = ctx.precision.compute = DType::fp8;
  LinearFormat mxfp4;
  mxfp4.weight = DType::fp4, mxfp4.scales = mx_scales();
  ctx.precision.of(Module::experts) = mxfp4;
  MoeParams p = mixture(128, 4, 2880);
  p.shared_experts = 1, p.shared_width = 512;
  const auto calls = lowered(p, 10000, ctx);
  CHECK(call_of(calls, "router").weight_dtype == DType::bf16);
  CHECK(call_of(calls, "gate_up_proj").weight_dtype == DType::fp8);
  const auto& up = call_of(calls, "experts_up");
  CHECK(up.weight_dtype == DType::fp4);
  CHECK(up.dtype == DType::bf16);
  // 4.25 bits a weight (OCP MX, 2023), all 128 experts hit.
  CHECK(up.work.weight_bytes == Approx(128.0 * kHidden * 2 * 2880 * 4.25 / 8));
  // Biases are 16-bit.
  MoeParams biased = p;
  biased.bias = true;
  CHECK(weights(biased, ctx) - weights(p, ctx) == Approx(128.0 * (2 * 2880 + kHidden) * 2));
}

TEST_CASE("is a row dispatched in the experts' format, by the kernels that suit the number of tokens?",
          "[ops]") {
  const MoeParams p = mixture(256, 8, 2048);
  auto ctx = split(1, 32, 32);
  CHECK(call_of(lowered(p, 128, ctx), "dispatch").cls == &kMoeDispatchLowLatency);
  CHECK(call_of(lowered(p, 129, ctx), "dispatch").cls == &kMoeDispatch);
  CHECK(call_of(lowered(p, 129, ctx), "combine").cls == &kMoeCombine);
  CHECK(call_of(lowered(p, 8, ctx), "dispatch").dtype == DType::bf16);
  ctx.precision.compute = ctx.precision.weight = DType::fp8;
  CHECK(call_of(lowered(p, 8, ctx), "dispatch").dtype == DType::fp8);
  CHECK(call_of(lowered(p, 8, ctx), "combine").dtype == DType::bf16);
  CHECK(call_of(lowered(p, 8, ctx), "dispatch").lane == Lane::comm);
  // A row goes once to a rank however many of its experts choose it: fewer bytes than once per expert.
  const Work once = call_of(lowered(p, 129, ctx), "dispatch").work;
  CHECK(once.link_bytes < 129 * 8.0 * kHidden * (1 - 1.0 / 32));
  CHECK(once.link_bytes > 129 * 7.0 * kHidden * (1 - 1.0 / 32));
}

TEST_CASE("are contradictions in a mixture of experts refused by the field's name?", "[ops]") {
  MoeParams p = mixture(8, 9, 64);
  CHECK(refuses(p, "moe.active is 9"));
  p = mixture(8, 2, 0);
  CHECK(refuses(p, "moe.width"));
  p = mixture(8, 0, 64);
  CHECK(refuses(p, "moe.active"));
  p = mixture(8, 2, 64);
  p.groups = 3;
  CHECK(refuses(p, "moe.groups"));
  p.groups = 8, p.topk_groups = 1;
  CHECK(refuses(p, "moe.topk_groups"));
  p = mixture(8, 2, 64);
  p.load = {LoadShape::histogram, 1, {1, 2, 3}};
  CHECK(refuses(p, "moe.load.histogram"));
  p = mixture(8, 0, 64);
  p.active_shares = {0.5, 0.4};
  CHECK(refuses(p, "moe.active_shares"));
  p = mixture(10, 2, 64);
  p.router = ExpertRouter::product_key, p.key_width = 64;
  CHECK(refuses(p, "a square"));
  p = mixture(8, 2, 64);
  p.lora_rank = 16;
  CHECK(refuses(p, "moe.lora_rank"));
  mixture(8, 8, 64).check();
  MoeParams{}.check();

  CHECK_THROWS_AS(check_split(mixture(60, 4, 1408), split(8, 1, 8).shard), ConfigError);
  CHECK_THROWS_AS(check_split(mixture(64, 4, 1401), split(8, 1, 1).shard), ConfigError);
  CHECK_THROWS_AS(check_split(mixture(64, 4, 1408), split(8, 1, 3).shard), ConfigError);
  check_split(mixture(64, 4, 1408), split(8, 1, 8).shard);
  ExpertPlan plan;
  plan.redundant = 4;
  check_split(mixture(60, 4, 1408), split(8, 1, 8).shard, plan);
}
