#include <cmath>
#include <numeric>

#include "catalogue/moe_support.hpp"
#include "cost/roofline.hpp"
#include "ops/expert_exchange.hpp"
#include "ops/expert_load.hpp"
#include "ops/sampled_experts.hpp"
#include "support/reference_data.hpp"
#include "workload/csv_reader.hpp"

using namespace orrery;
using namespace moe_rows;

namespace {

LoweringContext with_plan(const ExpertPlan& plan) {
  LoweringContext ctx;
  ctx.fusion.experts = plan;
  return ctx;
}
LoweringContext with_products(ExpertProducts products) {
  ExpertPlan plan;
  plan.products = products;
  return with_plan(plan);
}
std::size_t launches(const KernelCalls& calls) {
  return static_cast<std::size_t>(std::count_if(calls.begin(), calls.end(), [](const auto& c) {
    return c.role.starts_with("experts") || c.role == "activation";
  }));
}
DeviceProfile device() {
  DeviceProfile d;
  d.name = "round";
  d.tensor_flops_per_s[static_cast<int>(DType::bf16)] = 1e15;
  d.vector_flops_per_s = 5e13;
  d.memory_bandwidth_bytes_per_s = 3e12;
  return d;
}

}  // namespace

TEST_CASE(
    "MOE-16 does padding to capacity multiply the work by the padding, and a tile by less than one each?",
    "[catalogue]") {
  MoeParams moe_layer = moe("MOE-16");
  const auto ragged_plan = block_of<ExpertPlan>("MOE-16", "expert_plan");
  CHECK(ragged_plan.products == ExpertProducts::grouped);
  CHECK(ragged_plan.tile_rows == 128);
  const std::int64_t tokens = 16384, hidden = 1024;
  const auto work = [&](const LoweringContext& ctx) {
    return flops(lowered(moe_layer, hidden, tokens, ctx), "experts");
  };
  const double needed = work({});
  CHECK(needed == 2.0 * tokens * 2 * hidden * 4096);
  // At capacity factor c each expert computes c n k / E rows, full or not; ragged rows are those there are.
  for (const double factor : {1.0, 1.25, 2.0}) {
    moe_layer.capacity_factor = factor;
    CHECK(work(with_products(ExpertProducts::padded)) / needed == Approx(factor));
  }
  moe_layer.capacity_factor = 0;
  // Tiles of 128: half a tile per expert is wasted on average, 64 experts of 256 rows each.
  const double tiled = work(with_plan(ragged_plan)) / needed;
  CHECK(tiled == Approx(1 + 64.0 / 256).margin(0.03));
  // Against Tutel, whose capacity follows the fullest expert so that nothing is dropped: more for Tutel even
  // where training has balanced the load, and at most the 1.4 times that MegaBlocks claims (2022,
  // section 6.1).
  const double tutel = work(with_products(ExpertProducts::padded)) / work({});
  CHECK(tutel > 1.0);
  CHECK(tutel < 1.4);
}

TEST_CASE("MOE-16 is the time of a padded product over a ragged one the padding, as measured?",
          "[catalogue]") {
  SKIP_UNTIL_MEASURED("grouped_gemm at a capacity and at the rows there are");
}

TEST_CASE("MOE-17 does one kernel for all experts save the launches of each, and their time?",
          "[catalogue]") {
  const MoeParams row = moe("MOE-17");
  CHECK(block_of<ExpertPlan>("MOE-17", "expert_plan").products == ExpertProducts::grouped);
  const std::int64_t hidden = 2048, tokens = 256;  // hits all 128 experts
  const auto fused = lowered(row, hidden, tokens);
  const auto looped = lowered(row, hidden, tokens, with_products(ExpertProducts::looped));
  // Up, activation and down of each expert, against the same three in one launch each.
  CHECK(launches(looped) == 128 * 3);
  CHECK(launches(fused) <= 4);
  CHECK(flops(looped, "experts") == Approx(flops(fused, "experts")));
  CHECK(weights(looped, "experts") == Approx(weights(fused, "experts")));
  // Decode is bound by the weights either way, so that the time saved is the launches'.
  AnalyticEfficiency efficiency;
  efficiency.launch_s = 5e-6;
  const RooflineModel model(device(), {}, efficiency);
  const auto seconds = [&](const KernelCalls& calls) {
    return std::accumulate(calls.begin(), calls.end(), 0.0,
                           [&](double s, const KernelCall& c) { return s + model.price(c).time.value; });
  };
  CHECK(seconds(looped) - seconds(fused) == Approx((128 * 3 - 3) * 5e-6).epsilon(0.02));
}

TEST_CASE("MOE-18 does DeepSeek-V3 send 57,344 bytes per token and get back 114,688?", "[catalogue]") {
  const MoeParams row = moe("MOE-18");
  CHECK(block_of<ExpertPlan>("MOE-18", "expert_plan").dispatch);
  for (const int ranks : {8, 32, 256}) {
    auto ctx = split(1, ranks, ranks);
    ctx.precision.weight = ctx.precision.compute = DType::fp8;
    const auto calls = lowered(row, 7168, 64, ctx);
    // 8 x 7168 x 1 and 8 x 7168 x 2 bytes, of which 1 / ranks stay where they are.
    const double leaving = 64 * (1 - 1.0 / ranks);
    CHECK(sum(calls, "dispatch", &Work::link_bytes) == Approx(57344 * leaving));
    CHECK(sum(calls, "combine", &Work::link_bytes) == Approx(114688 * leaving));
  }
  // Choices limited to 4 of 8 groups reach at most 4 of 8 nodes (DeepSeek-V3, section 3.2.2), else 5.3.
  CHECK(expected_parts(row, 8) <= 4);
  CHECK(expected_parts(row, 8) > 3.5);
  MoeParams anywhere = row;
  anywhere.topk_groups = 8;
  CHECK(expected_parts(anywhere, 8) == Approx(8 * (1 - std::pow(7.0 / 8, 8))).epsilon(0.02));
  // One rank of its own experts exchanges nothing.
  CHECK(sum(lowered(row, 7168, 64, split(8, 1, 8)), "", &Work::link_bytes) > 0);
  CHECK_FALSE(has(lowered(row, 7168, 64, split(8, 1, 8)), "dispatch"));
}

TEST_CASE("MOE-18 are the bytes that DeepEP counts ours?", "[catalogue]") {
  REQUIRE_REFERENCE_DATA(dir);
  // Its bandwidth times its time, for 8 ranks, rows that stay counted too; fp8 rows carry a scale of 4 bytes
  // per 128 elements and a header of 16.
  int rows = 0;
  for (const auto* device : {"h100", "h200"}) {
    const std::string file = dir + "/kernels/" + device + "_sxm_deepep_lowlat_sglang0.5.12.csv";
    CsvReader table(ByteSource::file(file).open(), file);
    while (table.next()) {
      const auto value = [&](const char* column) { return table.number(table.column({column})); };
      const double hidden = value("hidden_size"), tokens = value("num_token"), k = value("num_topk");
      const KernelClass::Dims dims{tokens, k, hidden, value("num_experts"), 8};
      const double back = value("combine_avg_t_us") * value("combine_bandwidth_gbps") * 1e3;
      const double out = value("dispatch_avg_t_us") * value("dispatch_bandwidth_gbps") * 1e3;
      const Work combine = make_call(kMoeCombineLowLatency, dims, DType::bf16, DType::bf16).work;
      const Work dispatch = make_call(kMoeDispatchLowLatency, dims, DType::fp8, DType::fp8).work;
      INFO(device << " hidden " << hidden << " tokens " << tokens << " top " << k);
      CHECK(combine.link_bytes * 8 / 7 == Approx(back).epsilon(0.01));
      CHECK(dispatch.link_bytes * 8 / 7 + tokens * k * (hidden / 128 * 4 + 16) == Approx(out).epsilon(0.02));
      ++rows;
    }
  }
  CHECK(rows > 300);
}
