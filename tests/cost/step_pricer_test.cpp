#include "cost/step_pricer.hpp"

#include <algorithm>
#include <cmath>

#include <catch2/catch.hpp>

#include "base/rng.hpp"
#include "cost/step_context.hpp"
#include "cost/step_lanes.hpp"
#include "ops/kernel_classes.hpp"

using namespace orrery;

namespace {

/// Times with the bumps real fits have: launch cost, waves of 128-row tiles, a split-KV knee, a size step.
class BumpyCost final : public KernelCostModel {
 public:
  explicit BumpyCost(double scale = 1) : scale_(scale) {}
  KernelTime price(const KernelCall& call) const override {
    ++calls;
    const auto& d = call.dims;
    double us = 3;
    if (call.cls == &kGemm) us += 0.02 * std::ceil(d[0] / 128) * d[1] * d[2] / 1e5 + d[1] * d[2] / 2e6;
    if (call.cls == &kAttentionDecode)
      us += 2e-3 * d[1] + (d[1] / d[0] > 700 ? 4 + 1e-3 * d[1] : 0) + 0.3 * d[0];
    if (call.cls == &kAttentionPrefill) us += 1e-5 * d[2] + 1e-3 * d[3];
    if (error_class(*call.cls).name == "elementwise") us += d[0] * d[1] / 3e6;
    if (call.cls == &kAllReduceNccl) us += 20 + d[1] / 1e5;
    if (call.cls == &kAllReduceCustom) us += 5 + d[1] / 5e4;
    return {Seconds(us * 1e-6 * scale_),
            call.cls == &kGemm ? Provenance::measured : Provenance::extrapolated};
  }
  ClassError error(const KernelClass&, Provenance) const override { return {}; }
  std::vector<std::string> sources() const override { return {}; }
  mutable std::int64_t calls = 0;

 private:
  double scale_;
};

ModelSpec small_model(bool windows) {
  ModelSpec m;
  m.name = "small";
  m.hidden = 1024, m.vocab = 32000, m.max_model_len = 32768;
  LayerKind full;
  AttentionParams attention;
  attention.heads = 16, attention.kv_heads = 8, attention.head_dim = 64;
  full.mixers = {attention};
  full.ffn = DenseParams{4096};
  full.count = windows ? 4 : 8;
  m.kinds.push_back(full);
  if (windows) {
    AttentionPattern chunked;
    chunked.block = 512;
    for (const AttentionPattern& pattern : {AttentionPattern(1024), AttentionPattern(100), chunked}) {
      LayerKind local = full;
      attention.pattern = pattern;
      local.mixers = {attention};
      local.count = 2;
      m.kinds.push_back(local);
    }
  }
  for (std::size_t k = 0; k < m.kinds.size(); ++k) {
    for (int i = 0; i < m.kinds[k].count; ++i) m.pattern.push_back(static_cast<int>(k));
  }
  return m;
}

KernelPlan plan_with(Seconds host_per_step, Seconds host_per_seq, bool async) {
  KernelPlan plan;
  plan.graph_sizes = vllm_graph_sizes(256);
  plan.eager_launch_per_layer = Seconds(4e-6);
  plan.async_scheduling = async;
  plan.host_per_step = host_per_step;
  plan.host_per_seq = host_per_seq;
  plan.host_exposed = Seconds(1e-4);
  plan.host_exposed_prefill = Seconds(3e-4);
  return plan;
}

StepPricer make_pricer(bool windows, const KernelPlan& plan, int tp = 1,
                       std::shared_ptr<const KernelCostModel> cost = std::make_shared<BumpyCost>()) {
  Shard shard;
  shard.tp = tp;
  return StepPricer(small_model(windows), shard, DeviceProfile{}, Topology{}, plan, std::move(cost));
}

/// Aggregates of explicit sequences, as a scheduler keeps them.
DecodeSet set_of(const std::vector<Tokens>& contexts, const std::vector<KeyCap>& windows) {
  DecodeSet set;
  set.seqs = static_cast<std::int64_t>(contexts.size());
  for (const Tokens c : contexts) {
    set.context += c;
    for (std::size_t i = 0; i < windows.size(); ++i) {
      set.windowed[i] += windows[i].of(c);
      set.growing[i] += windows[i].wraps || c < windows[i].tokens;
    }
  }
  return set;
}

/// Steps until a sequence below a window reaches it, or begins a new chunk: what the caller of decode()
/// guarantees.
std::int64_t until_crossing(const std::vector<Tokens>& contexts, const std::vector<KeyCap>& windows) {
  std::int64_t steps = 1 << 20;
  for (const Tokens c : contexts) {
    for (const KeyCap& w : windows) {
      if (w.wraps) {
        steps = std::min(steps, w.tokens - w.of(c) + 1);
      } else if (c < w.tokens) {
        steps = std::min(steps, w.tokens - c);
      }
    }
  }
  return steps;
}

std::vector<Tokens> random_contexts(Rng& rng) {
  std::vector<Tokens> contexts(static_cast<std::size_t>(std::exp(rng.uniform(0.0, std::log(300.0)))));
  const double scale = std::exp(rng.uniform(0.0, std::log(40000.0)));
  for (auto& c : contexts) c = 1 + static_cast<Tokens>(scale * rng.uniform());
  return contexts;
}

}  // namespace

TEST_CASE("is every step of a decode run the very price of its own set?") {
  const bool windows = GENERATE(false, true);
  // Device-bound, host-bound, and in between where the two change places as context grows.
  const double host_ms = GENERATE(0.0, 0.6, 1.5, 40.0);
  const bool async = GENERATE(true, false);
  auto pricer = make_pricer(windows, plan_with(Seconds(host_ms * 1e-3), Seconds(2e-6), async));
  const auto limits = pricer.model().caps();
  Rng rng(7, "decode runs");
  std::int64_t compared = 0;
  for (int i = 0; i < 400; ++i) {
    const auto contexts = random_contexts(rng);
    const DecodeSet set = set_of(contexts, limits);
    const AffinePrice price = pricer.decode(set);
    REQUIRE(price.steps >= 1);
    const std::int64_t last = std::min(price.steps, until_crossing(contexts, limits)) - 1;
    for (const std::int64_t j :
         {std::int64_t{0}, std::int64_t{1}, last / 2, last - 1, last, rng.uniform_int(0, last)}) {
      if (j < 0 || j > last) continue;
      REQUIRE(pricer.decode(set.advanced(j)).first == price.first + price.slope * j);
      ++compared;
    }
  }
  CHECK(compared > 1200);
}

TEST_CASE("do prices depend on their arguments alone?") {
  const auto plan = plan_with(Seconds(1e-3), Seconds(0), true);
  auto one = make_pricer(true, plan), other = make_pricer(true, plan);
  Rng rng(3, "orders");
  std::vector<DecodeSet> sets;
  std::vector<PrefillChunk> chunks;
  for (int i = 0; i < 100; ++i) {
    sets.push_back(set_of(random_contexts(rng), one.model().caps()));
    chunks.push_back({rng.uniform_int(1, 3000), rng.uniform_int(0, 5000)});
  }
  std::vector<Ps> decode, mixed;
  for (std::size_t i = 0; i < sets.size(); ++i) {
    decode.push_back(one.decode(sets[i]).first);
    mixed.push_back(one.mixed(sets[i], {&chunks[i], 1}));
  }
  for (std::size_t i = sets.size(); i-- > 0;) {
    CHECK(other.mixed(sets[i], {&chunks[i], 1}) == mixed[i]);
    CHECK(other.decode(sets[i]).first == decode[i]);
  }
}

TEST_CASE("does a decode step run on the tokens of the next captured graph?") {
  auto pricer = make_pricer(false, plan_with(Seconds(0), Seconds(0), true));
  // 9 and 16 sequences replay the same graph: only their attention and logits differ.
  const BatchShape nine{9, 9000, {}, {}, 0}, sixteen{16, 16000, {}, {}, 0};
  const auto gemm = [](const StepExplanation& e) {
    double seconds = 0;
    for (const auto& c : e.calls) seconds += c.call.cls == &kGemm ? c.total.value : 0;
    return seconds;
  };
  CHECK(gemm(pricer.explain(nine)) == gemm(pricer.explain(sixteen)));
  // Beyond the largest graph it runs on its own.
  CHECK(gemm(pricer.explain({257, 257, {}, {}, 0})) > gemm(pricer.explain({256, 256, {}, {}, 0})));
}

TEST_CASE("does the host hide behind the device, and when not?") {
  const DecodeSet set{8, 8000};
  const Ps device = make_pricer(false, KernelPlan{}).decode(set).first;
  const Ps host = to_ps(Seconds(2e-6)) * 8;
  SECTION("short host work disappears, its exposed part stays") {
    auto pricer = make_pricer(false, plan_with(Seconds(0), Seconds(2e-6), true));
    const Ps bare = make_pricer(false, plan_with(Seconds(0), Seconds(0), true)).decode(set).first;
    CHECK(pricer.decode(set).first == bare);
    CHECK(pricer.decode(set).slope > Ps(0));
  }
  SECTION("without async scheduling it is added") {
    auto off = make_pricer(false, plan_with(Seconds(1e-3), Seconds(2e-6), false));
    auto none = make_pricer(false, plan_with(Seconds(0), Seconds(0), false));
    CHECK(off.decode(set).first == none.decode(set).first + to_ps(Seconds(1e-3)) + host);
  }
  SECTION("long host work sets the pace until attention outgrows it") {
    const double host_s = to_seconds(device).value + 1e-5;
    auto plan = plan_with(Seconds(host_s), Seconds(0), true);
    plan.graph_sizes.clear(), plan.eager_launch_per_layer = Seconds(0), plan.host_exposed = Seconds(0);
    auto pricer = make_pricer(false, plan);
    const AffinePrice price = pricer.decode(set);
    CHECK(price.first == to_ps(Seconds(host_s)));
    CHECK(price.slope == Ps(0));
    // The run ends early enough that one of the next ones is bound by the device.
    DecodeSet later = set;
    AffinePrice p = price;
    for (int i = 0; i < 50 && p.slope == Ps(0); ++i)
      later = later.advanced(p.steps), p = pricer.decode(later);
    CHECK(p.slope > Ps(0));
    CHECK(p.first > to_ps(Seconds(host_s)));
    CHECK(p.first.value - to_ps(Seconds(host_s)).value < p.slope.value + 10'000'000);
  }
}

TEST_CASE("do launches bound a step that no graph covers, and only then?") {
  const DecodeSet set = set_of({500, 500, 500}, {});
  for (const bool async : {true, false}) {
    KernelPlan plan = plan_with(Seconds(1e-3), Seconds(0), async);
    plan.graph_sizes.clear();
    plan.eager_launch_per_layer = Seconds(0);
    auto quick = make_pricer(false, plan);
    const Ps device = quick.decode(set).first;
    const auto layers = static_cast<double>(quick.model().layers());
    plan.eager_launch_per_layer = Seconds(1e-9);
    CHECK(make_pricer(false, plan).decode(set).first == device);  // the host is ahead of the device

    plan.eager_launch_per_layer = Seconds(5e-3);
    auto slow = make_pricer(false, plan);
    const AffinePrice price = slow.decode(set);
    const Ps serial = to_ps(Seconds(1e-4 + (async ? 0 : 1e-3)));
    CHECK(price.first == to_ps(Seconds(5e-3 * layers)) + serial);
    CHECK(price.slope == Ps(0));
    CHECK(slow.explain({3, 1500, {}, {}, 0}).total.value == Approx(to_seconds(price.first).value));
    plan.graph_sizes = vllm_graph_sizes(256);
    plan.eager_launch_per_layer = Seconds(0);
    const Ps covered = make_pricer(false, plan).decode(set).first;
    plan.eager_launch_per_layer = Seconds(5e-3);
    CHECK(make_pricer(false, plan).decode(set).first == covered);
  }
}

TEST_CASE("is the all-reduce the custom kernel below its size and NCCL from there?") {
  KernelPlan plan;
  plan.custom_all_reduce_max_bytes[2] = 64 * 1024 * 2;  // 64 tokens of 1024 x bf16
  auto pricer = make_pricer(false, plan, 2);
  const auto all_reduce = [&](std::int64_t seqs) {
    for (const auto& c : pricer.explain({seqs, seqs, {}, {}, 0}).calls) {
      if (c.call.role == "mlp_all_reduce") return c.call.cls;
    }
    return static_cast<const KernelClass*>(nullptr);
  };
  CHECK(all_reduce(63) == &kAllReduceCustom);
  CHECK(all_reduce(64) == &kAllReduceNccl);
}

TEST_CASE("do named factors reach the class they name, and the sustained one large steps only?") {
  KernelPlan plan;
  const DecodeSet none;
  const PrefillChunk small{512, 0}, large{2048, 0};
  const auto gemm_of = [](StepPricer& p, const PrefillChunk& c) {
    double s = 0;
    for (const auto& call : p.explain({0, 0, {}, {c}, 0}).calls)
      s += call.call.cls == &kGemm ? call.total.value : 0;
    return s;
  };
  auto plain = make_pricer(false, plan);
  plan.class_factor["attention_prefill"] = 1.5;
  plan.sustained_gemm_factor = 1.2;
  auto scaled = make_pricer(false, plan);
  CHECK(gemm_of(scaled, small) == Approx(gemm_of(plain, small)));
  CHECK(gemm_of(scaled, large) == Approx(1.2 * gemm_of(plain, large)));
  double attention = 0;
  for (const auto& c : plain.explain({0, 0, {}, {small}, 0}).calls) {
    if (c.call.cls == &kAttentionPrefill) attention += c.total.value;
  }
  CHECK(to_seconds(scaled.mixed(none, {&small, 1}) - plain.mixed(none, {&small, 1})).value ==
        Approx(0.5 * attention).epsilon(1e-6));
}

TEST_CASE("do the explanation and the compiled price agree?") {
  const bool windows = GENERATE(false, true);
  const int tp = GENERATE(1, 2);
  auto pricer = make_pricer(windows, plan_with(Seconds(1e-4), Seconds(0), true), tp);
  const auto limits = pricer.model().caps();
  Rng rng(11, "explain");
  for (int i = 0; i < 200; ++i) {
    const auto contexts = random_contexts(rng);
    const DecodeSet set = set_of(contexts, limits);
    BatchShape shape;
    shape.decode_seqs = set.seqs, shape.decode_context = set.context;
    for (std::size_t w = 0; w < limits.size(); ++w) shape.windowed_context.push_back(set.windowed[w]);
    // The knee of this cost model at a mean of 700 tokens is rounded off between two knots.
    const auto at_knee = [&](Tokens context) { return context > 590 * set.seqs && context < 830 * set.seqs; };
    if (at_knee(set.context) || at_knee(set.windowed[2])) continue;
    const double decode = to_seconds(pricer.decode(set).first).value;
    CHECK(decode == Approx(pricer.explain(shape).total.value).epsilon(0.005));
    shape.chunks = {{rng.uniform_int(1, 4000), 0}, {rng.uniform_int(1, 200), rng.uniform_int(0, 9000)}};
    const double mixed = to_seconds(pricer.mixed(set, shape.chunks)).value;
    CHECK(mixed == Approx(pricer.explain(shape).total.value).epsilon(0.005));
  }
}

TEST_CASE("do they agree on every device and its best cost model?") {
  const std::string gpu = GENERATE("a100-sxm-80g", "h100-sxm", "h200-sxm", "l40s");
  const auto [name, tp] =
      GENERATE(std::pair<std::string, int>{"llama-3.1-8b", 1},
               std::pair<std::string, int>{"llama-3.1-70b", 8}, std::pair<std::string, int>{"gemma-2-9b", 2});
  const DeviceProfile device = load_device(gpu);
  const Topology node = topology_for(device);
  const ModelSpec model = load_model(name);
  KernelPlan plan = plan_with(Seconds(1e-4), Seconds(0), true);
  plan.graph_sizes = vllm_graph_sizes(512);
  plan.custom_all_reduce_max_bytes[8] = 256 * 1024;
  Shard shard;
  shard.tp = tp;
  StepPricer pricer(model, shard, device, node, plan, best_cost_model(device, node));
  const auto limits = model.caps();
  Rng rng(17, gpu + name);
  double worst_decode = 0, worst_mixed = 0, sum = 0;
  constexpr int kSteps = 150;
  for (int i = 0; i < kSteps; ++i) {
    auto contexts = random_contexts(rng);
    for (auto& c : contexts) c = std::min(c, model.max_model_len);
    const DecodeSet set = set_of(contexts, limits);
    BatchShape shape;
    shape.decode_seqs = set.seqs, shape.decode_context = set.context;
    for (std::size_t w = 0; w < limits.size(); ++w) shape.windowed_context.push_back(set.windowed[w]);
    const auto error = [](Ps price, Seconds truth) {
      return std::abs(to_seconds(price).value / truth.value - 1);
    };
    const double decode = error(pricer.decode(set).first, pricer.explain(shape).total);
    worst_decode = std::max(worst_decode, decode);
    sum += decode;
    shape.chunks = {{rng.uniform_int(1, 4000), rng.uniform_int(0, 2000)}};
    worst_mixed = std::max(worst_mixed, error(pricer.mixed(set, shape.chunks), pricer.explain(shape).total));
  }
  INFO(gpu << " " << name << " tp" << tp);
  CHECK(worst_decode < 0.02);
  CHECK(worst_mixed < 0.02);
  CHECK(sum / kSteps < 0.002);
}

TEST_CASE("do the shares add up to the time that was accounted?") {
  const double host_ms = GENERATE(0.0, 30.0);
  auto pricer = make_pricer(true, plan_with(Seconds(host_ms * 1e-3), Seconds(0), true));
  const auto limits = pricer.model().caps();
  Rng rng(5, "shares");
  double total = 0;
  for (int i = 0; i < 300; ++i) {
    const auto contexts = random_contexts(rng);
    const DecodeSet set = set_of(contexts, limits);
    const AffinePrice price = pricer.decode(set);
    const std::int64_t steps = std::min({price.steps, until_crossing(contexts, limits), std::int64_t{50}});
    pricer.account_decode(set, price, steps);
    for (std::int64_t j = 0; j < steps; ++j) total += to_seconds(price.first + price.slope * j).value;
    const PrefillChunk chunk{rng.uniform_int(1, 5000), rng.uniform_int(0, 3000)};
    const Ps mixed = pricer.mixed(set, {&chunk, 1});
    pricer.account_mixed(set, {&chunk, 1}, mixed);
    total += to_seconds(mixed).value;
  }
  const TimeShares shares = pricer.shares();
  double by_class = shares.host, by_provenance = shares.host, by_both = shares.host;
  for (const auto& [name, s] : shares.by_class) by_class += s;
  for (const double s : shares.by_provenance) by_provenance += s;
  for (const auto& [key, s] : shares.by_class_provenance) by_both += s;
  CHECK(by_class == Approx(total).epsilon(1e-6));
  CHECK(by_provenance == Approx(total).epsilon(1e-6));
  CHECK(by_both == Approx(total).epsilon(1e-6));
  CHECK(shares.by_class.count("gemm") == 1);
  CHECK(shares.by_class_provenance.at({"gemm", Provenance::measured}) == Approx(shares.by_class.at("gemm")));
  CHECK((shares.host > 0.5 * total) == (host_ms > 1));
}

TEST_CASE("how many kernels are priced for thousands of token counts?") {
  auto cost = std::make_shared<BumpyCost>();
  auto pricer = make_pricer(false, KernelPlan{}, 1, cost);
  const std::int64_t before = cost->calls;
  for (Tokens n = 1; n <= 8192; ++n) {
    const PrefillChunk chunk{n, 0};
    pricer.mixed({}, {&chunk, 1});
  }
  const std::int64_t attention = 8192, evaluations = 512 + 2 * (8192 - 512) / 64;
  CHECK(cost->calls - before < attention + evaluations * 14 + 10);
}

TEST_CASE("is a step as long as its longest path?") {
  LongestPath path;
  path.add(Mark::none, Lane::compute, 1);
  SECTION("branches on two lanes overlap") {
    path.add(Mark::fork, Lane::compute, 5);
    path.add(Mark::branch, Lane::comm, 3);
    path.add(Mark::none, Lane::comm, 1);
    path.add(Mark::join, Lane::compute, 2);
    CHECK(path.seconds() == 1 + 5 + 2);
  }
  SECTION("the longer branch may be the last one") {
    path.add(Mark::fork, Lane::compute, 5);
    path.add(Mark::branch, Lane::comm, 7);
    path.add(Mark::join, Lane::compute, 0);
    CHECK(path.seconds() == 1 + 7);
  }
  SECTION("one lane does not do two things at once") {
    path.add(Mark::fork, Lane::compute, 5);
    path.add(Mark::branch, Lane::compute, 4);
    path.add(Mark::join, Lane::compute, 2);
    CHECK(path.seconds() == 1 + 9 + 2);
  }
  SECTION("regions nest") {
    path.add(Mark::fork, Lane::compute, 2);
    path.add(Mark::fork, Lane::compute, 3);  // inside the first branch
    path.add(Mark::branch, Lane::copy, 4);
    path.add(Mark::join, Lane::compute, 1);
    path.add(Mark::branch, Lane::comm, 6);
    path.add(Mark::join, Lane::compute, 0);
    CHECK(path.seconds() == 1 + (2 + 4 + 1));
  }
  SECTION("an unclosed fork is a bug") {
    path.add(Mark::fork, Lane::compute, 2);
    CHECK_THROWS_AS(path.seconds(), InternalError);
  }
}

TEST_CASE("does a mean context fall into the segment between its knots?") {
  const ContextGrid grid(40000);
  for (Tokens mean = 1; mean < 60000; ++mean) {
    const int k = grid.segment(mean);
    REQUIRE(grid.knot(k) <= mean);
    if (k + 1 < grid.segments()) REQUIRE(mean < grid.knot(k + 1));
  }
  CHECK(grid.knot(grid.segments()) >= 40000);
  CHECK(grid.segment(0) == 0);
}
