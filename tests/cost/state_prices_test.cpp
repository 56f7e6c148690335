#include <catch2/catch.hpp>

#include "base/rng.hpp"
#include "cost/roofline.hpp"
#include "cost/step_pricer.hpp"

using namespace orrery;

namespace {
StateParams matrix(StateRule rule) {
  StateParams p;
  p.rule = rule, p.heads = 16, p.key_dim = p.value_dim = 128;
  return p;
}
StateParams filter(std::int64_t state) {
  StateParams p;
  p.rule = StateRule::lti, p.channels = 2048, p.state = state;
  return p;
}
/// Mixers that read no context (a gated delta rule, steps in sequence, a distilled filter) and those that do
/// (levels, a filter over all inputs), beside a layer of attention.
ModelSpec mixed_model() {
  AttentionParams attention;
  attention.heads = 16, attention.kv_heads = 4, attention.head_dim = 128;
  StateParams levels = matrix(StateRule::ssd);
  levels.levels = true;
  const std::vector<Mixer> mixers{
      attention, matrix(StateRule::gated_delta), matrix(StateRule::serial), levels, filter(16), filter(0)};
  ModelSpec m;
  m.name = "mixed", m.hidden = 2048, m.vocab = 32000, m.max_model_len = 65536;
  for (const auto& mixer : mixers) {
    LayerKind kind;
    kind.mixers = {mixer}, kind.count = 2;
    for (int i = 0; i < 2; ++i) m.pattern.push_back(static_cast<int>(m.kinds.size()));
    m.kinds.push_back(kind);
  }
  return m;
}
StepPricer pricer() {
  const DeviceProfile device = load_device("h100-sxm");
  return StepPricer(mixed_model(), {}, device, topology_for(device), {},
                    make_analytic(device, topology_for(device)));
}
}  // namespace

TEST_CASE("is a decode run over states and filters the price of each of its steps?") {
  auto p = pricer();
  Rng rng(11, "states");
  for (int i = 0; i < 200; ++i) {
    DecodeSet set;
    set.seqs = rng.uniform_int(1, 256);
    set.context = set.seqs * rng.uniform_int(1, 50000);
    const AffinePrice price = p.decode(set);
    REQUIRE(price.steps >= 1);
    for (const std::int64_t j : {std::int64_t{0}, price.steps / 2, price.steps - 1}) {
      if (j > 1 << 20) continue;
      REQUIRE(p.decode(set.advanced(j)).first == price.first + price.slope * j);
    }
  }
}

TEST_CASE("do compiled prices of state mixers agree with the sum of their kernels?") {
  auto p = pricer();
  BatchShape batch;
  for (const Tokens context : {64, 1000, 5000, 30000}) {
    DecodeSet set;
    set.seqs = batch.decode_seqs = 16, set.context = batch.decode_context = 16 * context;
    batch.chunks.clear();
    CHECK(to_seconds(p.decode(set).first).value == Approx(p.explain(batch).total.value).epsilon(0.01));
    batch.chunks = {{512, 0}, {300, 1000}};
    const Seconds mixed = to_seconds(p.mixed(set, batch.chunks));
    CHECK(mixed.value == Approx(p.explain(batch).total.value).epsilon(0.01));
  }
}
