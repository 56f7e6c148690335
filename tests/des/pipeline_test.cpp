// Pipeline parallelism by its laws: what stages, links and lanes add up to.
#include <algorithm>
#include <map>

#include <catch2/catch.hpp>

#include "base/error.hpp"
#include "base/rng.hpp"
#include "model/pipeline_stages.hpp"
#include "support/fake_engine.hpp"

using namespace orrery;

namespace {

DeviceProfile device() {
  DeviceProfile d;
  d.name = "test";
  d.tensor_flops_per_s.fill(500e12);
  d.memory_bandwidth_bytes_per_s = 2e12;
  d.sm_count = 100;
  return d;
}

std::shared_ptr<StepPricer> pricer(const ModelSpec& model, int pp, const KernelPlan& plan = {}) {
  return std::make_shared<StepPricer>(model, Shard{1, pp}, device(), Topology{}, plan,
                                      std::make_shared<test::PlainCost>());
}

/// Layers alone count: the vocabulary is too small to matter.
ModelSpec layers_only(int layers) {
  ModelSpec m = load_model("llama-3.1-8b");
  m.vocab = 64;
  m.kinds.front().count = layers;
  m.pattern.assign(static_cast<std::size_t>(layers), 0);
  return m;
}

/// What one stage takes, priced as a model of its own.
double stage_s(const ModelSpec& stage, const DecodeSet& set, const std::vector<PrefillChunk>& chunks,
               const KernelPlan& plan = {}) {
  const auto alone = pricer(stage, 1, plan);
  return to_seconds(chunks.empty() ? alone->decode(set).first : alone->mixed(set, chunks)).value;
}

/// One send by PlainCost's rule: hidden states and residual, read, written and sent.
double link_s(double tokens) {
  const double bytes = 2 * tokens * 4096 * 2;
  return 1e-6 + 2 * bytes / 2e12 + bytes / 200e9;
}

ClusterConfig cluster(const ModelSpec& model, int pp, const KernelPlan& plan = {}, Tokens budget = 512,
                      std::int64_t blocks = 100000) {
  ReplicaConfig replica;
  replica.pricer = pricer(model, pp, plan);
  replica.scheduler.lanes = pp;
  replica.scheduler.max_num_seqs = 256, replica.scheduler.max_num_batched_tokens = budget;
  replica.scheduler.async_scheduling = plan.async_scheduling;
  replica.kv = {blocks, 16, false};
  ClusterConfig out;
  out.replicas = {replica};
  return out;
}

std::vector<Request> at_once(int n, std::int32_t prompt, std::int32_t output) {
  std::vector<Request> out(static_cast<std::size_t>(n));
  for (int i = 0; i < n; ++i) {
    auto& r = out[static_cast<std::size_t>(i)];
    r.id = i, r.prompt_tokens = prompt, r.output_tokens = output;
  }
  return out;
}

/// Holds what is told of lanes to the rules: as many as stages, none with two steps at once.
class Lanes final : public Observer {
 public:
  void on_decode_run(const DecodeRun& r) override {
    step(r.where, r.start, r.end()), stalls += r.stalled_seqs;
  }
  void on_mixed_step(const MixedStep& s) override { step(s.where, s.start, s.start + s.duration); }
  std::map<std::int32_t, Ps> last_end;
  Ps latest{0};
  std::int64_t stalls = 0;

 private:
  void step(CoreId where, Ps start, Ps end) {
    REQUIRE(start >= last_end[where.lane]);
    last_end[where.lane] = end;
    REQUIRE(end > latest);  // batches leave in the order they entered
    latest = end;
  }
};

struct Outcome {
  SimulationResult result;
  test::Records records;
  Lanes lanes;
};
Outcome run(const ClusterConfig& c, std::vector<Request> requests) {
  Outcome out;
  test::ListSource source(std::move(requests));
  Observer* observers[] = {&out.records, &out.lanes};
  out.result = simulate(c, source, observers);
  std::sort(out.records.all.begin(), out.records.all.end(),
            [](const RequestRecord& a, const RequestRecord& b) { return a.id < b.id; });
  return out;
}

}  // namespace

TEST_CASE("is a request alone in a pipeline as long under way as scheduler, stages and links together?") {
  KernelPlan plan;
  plan.host_per_step = Seconds(1e-3), plan.host_per_seq = Seconds(1e-4), plan.host_exposed = Seconds(2e-4);
  KernelPlan worker;  // what each stage's own process adds
  worker.host_exposed = Seconds(2e-4);
  const ModelSpec model = load_model("llama-3.1-8b");
  const auto stages = pipeline_stages(model, 4);
  const auto out = run(cluster(model, 4, plan), at_once(1, 300, 2));
  double prompt = 1.1e-3 + 3 * link_s(300), decode = 1.1e-3 + 3 * link_s(1);
  DecodeSet one;
  one.seqs = 1, one.context = 301;
  for (const ModelSpec& stage : stages) {
    prompt += stage_s(stage, {}, {{300, 0}}, worker);
    decode += stage_s(stage, one, {}, worker);
  }
  const RequestRecord& r = out.records.all.at(0);
  CHECK(to_seconds(r.first_token - r.scheduled).value == Approx(prompt).epsilon(1e-6));
  CHECK(to_seconds(r.done - r.first_token).value == Approx(decode).epsilon(1e-6));
}

TEST_CASE("is the bubble of m equal batches in p stages (p - 1)/(m + p - 1)?") {
  // Huang et al., GPipe, 2019, section 2.3; Narayanan et al., 2021, section 2.2. One prompt fills a batch.
  for (const int p : {2, 4}) {
    for (const int m : {1, 2, 5, 16}) {
      INFO(p << " stages, " << m << " batches");
      const auto out = run(cluster(layers_only(32), p), at_once(m, 512, 1));
      const double busy = to_seconds(out.result.busy.at(0)).value / to_seconds(out.result.end).value;
      CHECK(1 - busy == Approx((p - 1.0) / (m + p - 1.0)).margin(0.02));
    }
  }
}

TEST_CASE("is throughput at saturation that of the slowest stage?") {
  const ModelSpec model = layers_only(25);  // 6, 7, 6 and 6 layers
  const auto stages = pipeline_stages(model, 4);
  const auto out = run(cluster(model, 4), at_once(60, 512, 1));
  const double slowest = stage_s(stages[2], {}, {{512, 0}});
  const double first = stage_s(stages[0], {}, {{512, 0}});
  REQUIRE(slowest > 1.1 * first);
  const auto& all = out.records.all;
  const double each = to_seconds(all.back().done - all.front().done).value / 59;
  CHECK(each == Approx(slowest).epsilon(0.001));
}

TEST_CASE("do four stages with full lanes decode as four replicas of a quarter of the layers would?") {
  // Each lane of 32 sequences; when all decode, a token of each comes every time the pipeline has gone round.
  const ModelSpec model = layers_only(32);
  const auto out = run(cluster(model, 4, {}, 32 * 16), at_once(128, 16, 400));
  DecodeSet set;
  set.seqs = 32, set.context = 32 * 216;
  const double stage = stage_s(pipeline_stages(model, 4)[1], set, {});
  double sum = 0;
  for (const RequestRecord& r : out.records.all) sum += to_seconds(r.done - r.first_token).value / 399;
  CHECK(sum / 128 == Approx(4 * stage + 3 * link_s(32)).epsilon(0.02));
}

TEST_CASE("does a batch that all sequences share leave the other stages idle?") {
  const ModelSpec model = layers_only(32);
  const auto out = run(cluster(model, 4), at_once(8, 16, 200));  // all prompts in the first batch
  CHECK(out.lanes.last_end.size() == 1);
  const double busy = to_seconds(out.result.busy.at(0)).value / to_seconds(out.result.end).value;
  CHECK(busy <= 0.25);
  CHECK(busy > 0.2);
}

TEST_CASE("does no token get lost in a pipeline under preemption?") {
  std::int64_t preemptions = 0;
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    INFO("seed " << seed);
    Rng rng(seed, "pipeline");
    const int pp = static_cast<int>(rng.uniform_int(2, 5));
    KernelPlan plan;
    plan.async_scheduling = rng.uniform() < 0.5;
    plan.host_per_step = Seconds(rng.uniform() < 0.5 ? 0.0 : 3e-3);
    plan.host_exposed = Seconds(1e-4);
    auto c =
        cluster(load_model("llama-3.1-8b"), pp, plan, rng.uniform_int(64, 600), rng.uniform_int(100, 400));
    auto& scheduler = c.replicas.front().scheduler;
    scheduler.scheduler = seed % 3 == 1 ? "sglang" : seed % 3 == 2 ? "trtllm" : "vllm-v1";
    scheduler.enable_mixed_chunk = rng.uniform() < 0.5;
    scheduler.max_num_seqs = rng.uniform_int(2, 60);
    scheduler.max_model_len = 4096;
    scheduler.queue.policy = rng.uniform() < 0.3 ? "priority" : "fcfs";
    auto requests = at_once(80, 1, 1);
    double t = 0;
    std::int64_t asked = 0;
    for (Request& r : requests) {
      if (rng.uniform() < 0.8) t += rng.exponential(0.02);
      r.arrival = to_ps(Seconds(t));
      r.prompt_tokens = static_cast<std::int32_t>(rng.uniform_int(1, 900));
      r.output_tokens = static_cast<std::int32_t>(rng.uniform_int(1, 200));
      r.priority = static_cast<std::int32_t>(rng.uniform_int(0, 2));
      asked += r.output_tokens;
    }
    const auto a = run(c, requests), b = run(c, requests);
    CHECK(a.result.completed == 80);
    CHECK(a.records.tokens == asked);
    CHECK(static_cast<int>(a.lanes.last_end.size()) <= pp);
    for (const RequestRecord& r : a.records.all) {
      REQUIRE(r.queued <= r.scheduled);
      REQUIRE(r.scheduled < r.first_token);
      REQUIRE(r.first_token <= r.done);
    }
    CHECK(a.result.end == b.result.end);
    CHECK(a.result.busy.at(0) <= a.result.end);
    preemptions += a.result.preemptions;
  }
  CHECK(preemptions > 50);
}

TEST_CASE("does the account of a pipeline hold each stage's time once, and no waiting?") {
  const ModelSpec model = layers_only(32);
  const auto c = cluster(model, 4);
  const auto out = run(c, at_once(16, 512, 1));
  const TimeShares shares = c.replicas.front().pricer->shares();
  double kernels = 0;
  for (const auto& [cls, seconds] : shares.by_class) kernels += seconds;
  // Busy is the mean of four stages; links are kernels beside.
  CHECK(kernels == Approx(4 * to_seconds(out.result.busy.at(0)).value + 16 * 3 * link_s(512)).epsilon(1e-4));
  CHECK(shares.host == Approx(0).margin(1e-6));
}

TEST_CASE("are data-parallel ranks of pipelines refused?") {
  auto c = cluster(layers_only(4), 2);
  c.replicas.front().engine_cores = 2;
  test::ListSource source({});
  CHECK_THROWS_WITH(simulate(c, source, {}), Catch::Contains("pipeline"));
}
