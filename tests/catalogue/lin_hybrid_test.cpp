// LIN-29 to LIN-35: models converted to states, attention made linear in other ways, long filters.

#include <cmath>

#include "catalogue/lin_support.hpp"
#include "cost/roofline.hpp"
#include "model/model_spec.hpp"

using namespace orrery;
using namespace lin;

namespace {
double step_seconds(const ModelSpec& model, const KernelCostModel& cost, std::int64_t seqs, Tokens context) {
  BatchShape batch;
  batch.decode_seqs = seqs, batch.decode_context = seqs * context;
  KernelCalls calls;
  model.lower(batch, {}, calls);
  double sum = 0;
  for (const auto& call : calls) sum += cost.price(call).time.value * call.repeat;
  return sum;
}

ModelSpec mixers_alone(std::int64_t hidden, std::vector<LayerKind> kinds) {
  ModelSpec model;
  model.hidden = hidden;
  for (std::size_t k = 0; k < kinds.size(); ++k)
    model.pattern.insert(model.pattern.end(), static_cast<std::size_t>(kinds[k].count), static_cast<int>(k));
  model.kinds = std::move(kinds);
  return model;
}
}  // namespace

TEST_CASE("LIN-29 does a linearised Llama keep its parameters and no keys?") {
  const ModelSpec llama = load_model("llama-3.1-8b");
  const ModelSpec linear = load_model("llama-3.1-8b+LIN-29");
  CHECK(linear.parameters() == Approx(llama.parameters()).epsilon(0.01));
  CHECK(linear.parameters() > llama.parameters());  // the learned feature maps
  CHECK(linear.kv_bytes_per_token({}) == 0);
  CHECK(linear.sequence_bytes(1 << 20, {}) == linear.sequence_bytes(1024, {}));
  // 32 layers of 32 heads of 128 features x 128 values, and the sums of features, in fp32.
  CHECK(linear.sequence_bytes(1024, {}) == 32.0 * 32 * (128 * 128 + 128) * 4);
}

TEST_CASE("LIN-30 does a hybrid with a quarter of its attention gain the more the larger the batch?") {
  const ModelSpec llama = load_model("llama-3.1-8b");
  const ModelSpec hybrid = load_model("llama-3.1-8b+LIN-30");
  CHECK(hybrid.kv_bytes_per_token({}) == 0.25 * llama.kv_bytes_per_token({}));
  // Headline: M1-3B decodes 3 times as fast as a transformer of 3B at batch 512. Baseline here: Llama-3.1-8B
  // itself with 4096 tokens of context, an H100 at the speed of light.
  const DeviceProfile device = load_device("h100-sxm");
  const auto cost = make_speed_of_light(device, topology_for(device));
  double last = 0;
  for (const std::int64_t batch : {1, 8, 64, 512}) {
    const double gain = step_seconds(llama, *cost, batch, 4096) / step_seconds(hybrid, *cost, batch, 4096);
    CHECK(gain > last);
    CHECK(gain < 3 * 1.3);
    last = gain;
  }
  CHECK(last > 1);
}

TEST_CASE("LIN-31 does attention over k projected rows cost k / n of full attention?") {
  const auto p = block_of<AttentionParams>("LIN-31", "attention");
  p.pattern.check("LIN-31");
  const double k = 256;
  for (const Tokens n : {4096, 16384, 65536}) {
    const auto tokens = static_cast<double>(n);
    CHECK(p.pattern.pairs({n, 0}) == Approx(tokens * k));
    CHECK(p.pattern.pairs({n, 0}) / (tokens * tokens) == Approx(k / tokens).epsilon(0.01));
    const double causal = AttentionPattern().pairs({n, 0});
    CHECK(p.pattern.pairs({n, 0}) / causal == Approx(2 * k / tokens).epsilon(0.01));
  }
}

TEST_CASE("LIN-32 does a token of a long convolution cost its context unless the filter is distilled?") {
  const StateParams hyena = state_of("LIN-32");
  for (const Tokens n : {1024, 8192, 65536}) {
    CHECK(step(hyena, 4, 2 * n).flops() == Approx(2 * step(hyena, 4, n).flops()));
    CHECK(step(hyena, 4, 2 * n).hbm_bytes() == Approx(2 * step(hyena, 4, n).hbm_bytes()).epsilon(0.01));
    CHECK(step(hyena, 4, n).flops() == 4.0 * 2 * 768 * static_cast<double>(n));
    CHECK(kept(hyena, 2 * n) == 2 * kept(hyena, n));
  }
  // Laughing Hyena: each filter as a state space of some 16 numbers.
  StateParams distilled = hyena;
  distilled.state = 16;
  CHECK(step(distilled, 4, 65536).flops() == step(distilled, 4, 1024).flops());
  CHECK(step(distilled, 4, 65536).hbm_bytes() == step(distilled, 4, 1024).hbm_bytes());
  CHECK(kept(distilled, 65536) == kept(distilled, 1024));
  CHECK(step(distilled).flops() < step(hyena, 1, 1024).flops() / 10);
  // Prompts run through the FFT either way.
  CHECK(prompt(distilled, 8192).flops() == prompt(hyena, 8192).flops());
}

TEST_CASE("LIN-33 does retention keep 102.4 times the state of RWKV-4 at equal width?") {
  // Both 32 layers of 4096 (7B): 16 heads of 256 x 512, and 5 numbers per channel, in fp32.
  const StateParams rwkv = state_of("LIN-33"), retnet = state_of("LIN-03");
  LoweringContext fp32;
  fp32.precision.activation = DType::fp32;
  CHECK(kept(retnet) / kept_by_mixer(rwkv, 4096, fp32) == Approx(102.4));
  CHECK(prompt(rwkv, 2000).flops() == Approx(2 * prompt(rwkv, 1000).flops()));
}

TEST_CASE("LIN-34 is a gated attention unit quadratic in its chunk and linear across?") {
  StateParams p = state_of("LIN-34");
  const double s = 128, e = 1536;
  // One chunk of everything: relu^2 attention of n^2 pairs, 2 (s + e) each.
  for (const Tokens n : {4096, 16384, 65536}) {
    p.chunk = n;
    const auto tokens = static_cast<double>(n);
    CHECK(prompt(p, n).tensor_flops == Approx(2 * tokens * tokens * (s + e) + 4 * tokens * s * e));
  }
  p.chunk = 65536;
  const double quadratic = prompt(p, 65536).flops();
  p.chunk = 32768;
  CHECK(quadratic / prompt(p, 32768).flops() == Approx(4).epsilon(0.02));
  p.chunk = 1;
  CHECK(prompt(p, 65536).flops() == Approx(65536 * 4 * s * e).epsilon(0.02));
  CHECK(prompt(p, 65536).flops() / prompt(p, 32768).flops() == Approx(2));
  CHECK(kept(p) == s * e * 4);
}

TEST_CASE("LIN-35 is a compressive memory with a window as large at any length?") {
  LayerKind kind;
  kind.mixers = {state_of("LIN-35"), block_of<AttentionParams>("LIN-35", "attention")};
  kind.count = 24;
  const ModelSpec model = mixers_alone(2048, {kind});
  const double memory = 24.0 * 16 * (128 * 128 + 128) * 4, window = 24.0 * 2048 * 2 * 16 * 128 * 2;
  for (const Tokens n : {2048, 4096, 131072, 1 << 20}) CHECK(model.sequence_bytes(n, {}) == memory + window);
}
