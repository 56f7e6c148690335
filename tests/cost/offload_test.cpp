#include <algorithm>

#include <catch2/catch.hpp>

#include "base/rng.hpp"
#include "cost/capacity.hpp"
#include "cost/offload_weights.hpp"
#include "cost/step_pricer.hpp"
#include "ops/equal_sequences.hpp"

using namespace orrery;

namespace {

HostProfile host() {
  HostProfile h;
  h.name = "host";
  h.flops_per_s = 4e12;
  h.memory_bandwidth_bytes_per_s = 4e11;
  h.memory_bytes = 1e12;
  h.disk_bytes = 4e12, h.disk_read_bytes_per_s = 4e9, h.disk_write_bytes_per_s = 2e9;
  return h;
}

StepPricer pricer(const ModelSpec& model, const OffloadPolicy& policy, int tp = 1) {
  const DeviceProfile device = load_device("h100-sxm");
  const Topology topology = topology_for(device);
  KernelPlan plan;
  plan.async_scheduling = true;
  plan.host_exposed = Seconds(1e-4);
  return {model,      Shard{tp}, device,
          topology,   plan,      Registry<CostModels>::find("roofline").make(device, topology, ""),
          Drafting{}, Image{},   Offload{policy, host()}};
}

double seconds(Ps time) {
  return to_seconds(time).value;
}

}  // namespace

TEST_CASE("does offloading nothing leave every price as it is, to the bit?") {
  const ModelSpec model = load_model("gemma-2-9b");
  StepPricer plain = pricer(model, {});
  OffloadPolicy serial;
  serial.overlap = false;
  StepPricer nothing = pricer(model, serial);
  Rng rng(1, "offload");
  for (int i = 0; i < 200; ++i) {
    const DecodeSet set = equal_sequences(model.caps(), rng.uniform_int(1, 300), rng.uniform_int(1, 8000));
    const AffinePrice a = plain.decode(set), b = nothing.decode(set);
    REQUIRE((a.first == b.first && a.slope == b.slope && a.steps == b.steps));
    const PrefillChunk chunk{rng.uniform_int(1, 4000), rng.uniform_int(0, 4000)};
    REQUIRE(plain.mixed(set, {&chunk, 1}) == nothing.mixed(set, {&chunk, 1}));
  }
}

TEST_CASE("is a step the longer of loading and computing where they overlap, and their sum where not?") {
  const ModelSpec model = load_model("llama-3.1-8b");
  const LoweringContext ctx;
  StepPricer plain = pricer(model, {});
  for (const double share : {0.0005, 0.3, 1.0}) {
    OffloadPolicy policy;
    policy.weights.host = share;
    StepPricer beside = pricer(model, policy);
    policy.overlap = false;
    StepPricer after = pricer(model, policy);
    const DecodeSet set = equal_sequences(model.caps(), 16, 2000);
    const double computing = seconds(plain.decode(set).first) - 1e-4;
    // H100: PCIe 5 x16, 64 GB/s in each direction.
    const double loading = share * layer_weight_bytes(model, ctx) / 64e9;
    INFO(share);
    CHECK(seconds(after.decode(set).first) == Approx(computing + loading + 1e-4).epsilon(1e-6));
    CHECK(seconds(beside.decode(set).first) == Approx(std::max(computing, loading) + 1e-4).epsilon(1e-6));
  }
}

TEST_CASE("do the host's memory and the drives bound what GPUs load from them at once?") {
  const ModelSpec model = load_model("llama-3.1-70b");
  OffloadPolicy policy;
  policy.weights.host = 1;
  LoweringContext ctx;
  ctx.shard.tp = 8;
  const DecodeSet one = equal_sequences(model.caps(), 1, 100);
  const double bytes = layer_weight_bytes(model, ctx);
  // Eight links of 64 GB/s are more than the 400 GB/s that the memory gives.
  CHECK(seconds(pricer(model, policy, 8).decode(one).first) == Approx(8 * bytes / 4e11 + 1e-4).epsilon(1e-6));
  policy.weights = {0.5, 0.5};
  CHECK(seconds(pricer(model, policy, 8).decode(one).first) == Approx(4 * bytes / 4e9 + 1e-4).epsilon(1e-6));
}

TEST_CASE("does a cache in host memory cost a pass of its bytes over the link, growing with every token?") {
  const ModelSpec model = load_model("llama-3.1-8b");
  OffloadPolicy policy;
  policy.kv.host = 0.5;
  StepPricer p = pricer(model, policy);
  const DecodeSet set = equal_sequences(model.caps(), 8, 40000);
  const double token = 2 * 8 * 128 * 2 * 32;  // K and V of 8 heads, 2 bytes, 32 layers
  const AffinePrice price = p.decode(set);
  CHECK(seconds(price.first) == Approx(0.5 * 8 * 40000 * token / 64e9 + 1e-4).epsilon(2e-3));
  CHECK(seconds(price.slope) == Approx(0.5 * 8 * token / 64e9).epsilon(1e-3));
  REQUIRE(price.steps > 1);
  const DecodeSet later = set.advanced(price.steps - 1);
  CHECK(p.decode(later).first == price.first + price.slope * (price.steps - 1));
}

TEST_CASE("is what shows of loading told apart from kernels, and does it all add up to the step?") {
  const ModelSpec model = load_model("llama-3.1-8b");
  for (const bool overlap : {true, false}) {
    OffloadPolicy policy;
    policy.weights.host = 0.2, policy.kv.host = 0.1, policy.overlap = overlap;
    StepPricer p = pricer(model, policy);
    const DecodeSet set = equal_sequences(model.caps(), 4, 1000);
    const AffinePrice price = p.decode(set);
    p.account_decode(set, price, 1);
    const TimeShares shares = p.shares();
    double sum = shares.host;
    for (const double s : shares.by_provenance) sum += s;
    CHECK(sum == Approx(seconds(price.first)).epsilon(1e-9));
    CHECK(shares.by_class.at("copy_h2d") > 0);
    CHECK(shares.host == Approx(1e-4).epsilon(1e-3));
  }
}

TEST_CASE("do weights and keys that are moved leave their room to more blocks?") {
  const ModelSpec model = load_model("llama-3.1-8b");
  DeviceProfile card;
  card.name = "card";
  card.memory_bytes = 24 * kGiB;
  LoweringContext ctx;
  MemoryPolicy policy;
  policy.fraction = 1;
  const KvCapacity before = kv_capacity(model, ctx, card, policy, 2048, 8192);
  policy.offload.overlap = false;
  policy.offload.weights.host = 0.5;
  const KvCapacity half = kv_capacity(model, ctx, card, policy, 2048, 8192);
  const double moved = 0.5 * layer_weight_bytes(model, ctx);
  CHECK(static_cast<double>(half.blocks - before.blocks) == Approx(moved / before.block_bytes).margin(1));
  // Where loads overlap, two layers' worth is on its way.
  policy.offload.overlap = true;
  const KvCapacity on_its_way = kv_capacity(model, ctx, card, policy, 2048, 8192);
  CHECK(on_its_way.weight_bytes - half.weight_bytes == Approx(moved / 16));
  policy.offload = {};
  policy.offload.kv.host = 0.75;
  const KvCapacity quarter = kv_capacity(model, ctx, card, policy, 2048, 8192);
  CHECK(static_cast<double>(quarter.blocks) == Approx(4.0 * static_cast<double>(before.blocks)).margin(4));
  CHECK(quarter.moved_block_bytes == Approx(3 * quarter.block_bytes));
}
