#include <numeric>

#include <catch2/catch.hpp>

#include "base/error.hpp"
#include "cost/alpha_beta.hpp"
#include "cost/capacity.hpp"
#include "cost/step_pricer.hpp"
#include "cost/step_stages.hpp"
#include "model/pipeline_stages.hpp"
#include "ops/equal_sequences.hpp"
#include "ops/kernel_classes.hpp"

using namespace orrery;

namespace {

StepPricer pricer(const ModelSpec& model, int tp, int pp, const KernelPlan& plan = {}) {
  const DeviceProfile device = load_device("h100-sxm");
  const Topology topology = topology_for(device);
  return {model,    {tp, pp}, device,
          topology, plan,     Registry<CostModels>::find("analytic").make(device, topology, "")};
}

Ps sum(const std::vector<Ps>& times) {
  return std::accumulate(times.begin(), times.end(), Ps(0));
}

DeviceProfile card(double gib) {
  DeviceProfile d;
  d.name = "card";
  d.memory_bytes = gib * kGiB;
  return d;
}

LoweringContext split(int tp, int pp) {
  LoweringContext ctx;
  ctx.shard.tp = tp, ctx.shard.pp = pp;
  return ctx;
}

/// vLLM's meaning of the fraction, without any overhead.
MemoryPolicy plain() {
  MemoryPolicy p;
  p.fraction = 1;
  return p;
}

}  // namespace

TEST_CASE("is a batch alone in a pipeline as long under way as host, stages and links together?") {
  KernelPlan plan;
  plan.async_scheduling = true;
  plan.host_per_step = Seconds(2e-3), plan.host_per_seq = Seconds(1e-5), plan.host_exposed = Seconds(3e-4);
  plan.host_exposed_prefill = Seconds(1e-4);
  StepPricer four = pricer(load_model("gemma-2-9b"), 2, 4, plan);
  const DecodeSet set = equal_sequences(four.model().caps(), 24, 6000);
  StageTimes times;
  four.stage_times(set, {}, times);
  REQUIRE(times.stages.size() == 4);
  REQUIRE(times.links.size() == 3);
  CHECK(times.host == to_ps(Seconds(2e-3 + 24e-5)));
  CHECK(four.decode(set).first == times.host + sum(times.stages) + sum(times.links));
  const std::vector<PrefillChunk> chunks = {{700, 50}, {40, 0}};
  four.stage_times(set, chunks, times);
  CHECK(four.mixed(set, chunks) == times.host + sum(times.stages) + sum(times.links));
}

TEST_CASE("do stages together take what the whole model takes, but for what every worker adds?") {
  const ModelSpec model = load_model("llama-3.1-70b");
  StepPricer whole = pricer(model, 4, 1), cut = pricer(model, 4, 4);
  const DecodeSet set = equal_sequences(model.caps(), 32, 2000);
  StageTimes times;
  cut.stage_times(set, {}, times);
  // Slopes over the context are rounded to whole picoseconds in each stage.
  CHECK(static_cast<double>(sum(times.stages).value) ==
        Approx(static_cast<double>(whole.decode(set).first.value)).epsilon(1e-5));
  // 20 of 80 layers each: the middle ones alike, the last one with the LM head.
  CHECK(times.stages[1] == times.stages[2]);
  CHECK(times.stages[3] > times.stages[2]);
}

TEST_CASE("what is sent from stage to stage, and over which link?") {
  const ModelSpec model = load_model("llama-3.1-70b");
  StepPricer four = pricer(model, 4, 4);  // two stages in each server of eight
  BatchShape batch = equal_decodes(model.caps(), 64, 1000);
  std::vector<const KernelClass*> sends;
  for (const PricedCall& c : four.explain(batch).calls) {
    if (c.call.role != "send_recv") continue;
    sends.push_back(c.call.cls);
    // Hidden states and residual of 64 tokens, 8192 wide, in bf16, a quarter from each rank.
    CHECK(c.call.dims[1] == 2 * 64 * 8192 * 2 / 4);
    CHECK(c.call.work.link_bytes == c.call.dims[1]);
  }
  CHECK(sends == std::vector<const KernelClass*>{&kSendRecv, &kSendRecvNetwork, &kSendRecv});
  StageTimes times;
  four.stage_times(equal_sequences(model.caps(), 64, 1000), {}, times);
  CHECK(times.links[0] == times.links[2]);
  CHECK(times.links[1] > times.links[0]);
  CHECK(four.explain(batch).stages.size() == 4);
}

TEST_CASE("where do stages leave their server?") {
  Topology eight;
  eight.gpus_per_node = 8;
  CHECK_FALSE(leaves_node(0, 4, eight));
  CHECK(leaves_node(1, 4, eight));
  CHECK(leaves_node(0, 8, eight));
  CHECK_FALSE(leaves_node(0, 3, eight));  // two stages of three fit, with two GPUs left over
  CHECK(leaves_node(1, 3, eight));
  for (int stage = 0; stage < 7; ++stage) CHECK_FALSE(leaves_node(stage, 1, eight));
  CHECK(leaves_node(7, 1, eight));
}

TEST_CASE("does the stage with the least room decide how many blocks there are?") {
  const ModelSpec model = load_model("llama-3.1-70b");
  const double memory = 48 * kGiB;
  // By hand, from the config: 80 layers, hidden 8192, 8 KV heads of 128, feed-forward 28672, vocabulary
  // 128256.
  const double layer = 2.0 * (8192.0 * 8192 * 2 + 8192.0 * 1024 * 2 + 3 * 8192.0 * 28672 + 2 * 8192);
  const double matrix = 2.0 * 128256 * 8192, rotary = 2.0 * 131072 * 128;
  const double block = 20 * 16 * 2 * 8 * 128 * 2.0;  // of 20 layers
  const double last = memory - 20 * layer - matrix - 2 * 8192 - rotary;
  const KvCapacity c = kv_capacity(model, split(1, 4), card(48), plain(), 2048, 131072);
  CHECK(c.block_bytes == block);
  CHECK(c.blocks == static_cast<std::int64_t>(last / block));
  CHECK(c.weight_bytes == Approx(20 * layer + matrix + 2 * 8192));
}

TEST_CASE("does a sampler, which only the last stage runs, cost only the last stage memory?") {
  const ModelSpec model = load_model("llama-3.1-8b");
  MemoryPolicy policy = plain();
  policy.sampler_bytes_per_vocab = 10000;
  const double without = kv_capacity(model, split(1, 2), card(40), plain(), 2048, 4096).overhead_bytes;
  const KvCapacity with = kv_capacity(model, split(1, 2), card(40), policy, 2048, 4096);
  CHECK(with.overhead_bytes - without == Approx(10000.0 * 128256));
}

TEST_CASE("does a model that does not fit one GPU fit over the stages of a pipeline?") {
  const ModelSpec model = load_model("llama-3.1-70b");
  const auto fits = [&](int tp, int pp) {
    try {
      return kv_capacity(model, split(tp, pp), card(80), plain(), 2048, 8192).blocks > 0;
    } catch (const ConfigError& e) {
      CHECK(e.code() == ExitCode::infeasible);
      CHECK_THAT(e.what(), Catch::Contains(name(Shard{tp, pp})));
      return false;
    }
  };
  CHECK_FALSE(fits(1, 1));
  CHECK(fits(1, 2));
  CHECK(fits(2, 1));
  CHECK(fits(2, 2));
}

TEST_CASE("do layers of several groups, cut among stages, need blocks as large as the fullest group?") {
  // 4 layers of full attention and 8 of a window make three groups of 4, wherever the layers stand.
  ModelSpec model = load_model("llama-3.1-8b");
  auto full = model.kinds.front(), windowed = full;
  std::get<AttentionParams>(windowed.mixers.front()).pattern = AttentionPattern(1024);
  full.count = 4, windowed.count = 8;
  model.kinds = {full, windowed};
  model.pattern = {0, 1, 1, 0, 1, 1, 0, 1, 1, 0, 1, 1};
  const double layer = 16 * 2 * 8 * 128 * 2.0;
  const auto c = kv_capacity(model, split(1, 2), card(40), plain(), 2048, 4096);
  REQUIRE(c.groups.size() == 2);
  CHECK(c.groups[0].count == 1);
  CHECK(c.groups[1].count == 2);
  CHECK(c.block_bytes == 2 * layer);  // two of each group in either half
}
