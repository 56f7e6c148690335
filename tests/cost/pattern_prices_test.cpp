#include <algorithm>
#include <cmath>

#include "base/rng.hpp"
#include "catalogue/attention_support.hpp"
#include "cost/roofline.hpp"
#include "cost/step_pricer.hpp"

using namespace orrery;

namespace {

/// Four full layers and two with the attention of a row of the catalogue.
ModelSpec with_row(std::string_view row) {
  ModelSpec m;
  m.name = "small";
  m.hidden = 1024, m.vocab = 32000, m.max_model_len = 131072;
  AttentionParams full;
  full.heads = 16, full.kv_heads = 8, full.head_dim = 64;
  AttentionParams sparse;
  static_cast<AttentionSizes&>(sparse) = attn::attention_of(row);
  for (const auto& [mixer, count] : {std::pair{full, 4}, {sparse, 2}}) {
    LayerKind kind;
    kind.mixers = {mixer}, kind.ffn = DenseParams{4096}, kind.count = count;
    m.pattern.insert(m.pattern.end(), static_cast<std::size_t>(count), static_cast<int>(m.kinds.size()));
    m.kinds.push_back(kind);
  }
  return m;
}

DecodeSet set_of(const std::vector<Tokens>& contexts, const std::vector<KeyCap>& caps) {
  DecodeSet set;
  set.seqs = static_cast<std::int64_t>(contexts.size());
  for (const Tokens c : contexts) {
    set.context += c;
    for (std::size_t i = 0; i < caps.size(); ++i) {
      set.windowed[i] += caps[i].of(c);
      set.growing[i] += caps[i].wraps || c < caps[i].tokens;
    }
  }
  return set;
}

std::int64_t until_crossing(const std::vector<Tokens>& contexts, const std::vector<KeyCap>& caps) {
  std::int64_t steps = 1 << 20;
  for (const Tokens c : contexts) {
    for (const KeyCap& cap : caps) {
      if (cap.wraps) {
        steps = std::min(steps, cap.tokens - cap.of(c) + 1);
      } else if (c < cap.tokens) {
        steps = std::min(steps, cap.tokens - c);
      }
    }
  }
  return steps;
}

}  // namespace

TEST_CASE("is every step of a run the price of its own set, whatever keys its queries see?") {
  const std::string row =
      GENERATE("SPA-02", "SPA-03", "SPA-08", "SPA-15", "SPA-17", "SPA-18", "SPA-20", "SPA-23", "SPA-28",
               "SPA-30", "SPA-33", "SPA-34", "SPA-35", "SPA-37", "SPA-38", "SPA-40");
  INFO(row);
  const DeviceProfile device = load_device("h200-sxm");
  const Topology node = topology_for(device);
  StepPricer pricer(with_row(row), {}, device, node, {}, make_analytic(device, node));
  const auto caps = pricer.model().caps();
  Rng rng(11, "patterns");
  std::int64_t compared = 0;
  for (int i = 0; i < 60; ++i) {
    std::vector<Tokens> contexts(static_cast<std::size_t>(rng.uniform_int(1, 40)));
    for (auto& c : contexts) c = 1 + static_cast<Tokens>(std::exp(rng.uniform(0.0, std::log(60000.0))));
    const DecodeSet set = set_of(contexts, caps);
    const AffinePrice price = pricer.decode(set);
    const std::int64_t last = std::min(price.steps, until_crossing(contexts, caps)) - 1;
    for (const std::int64_t j : {std::int64_t{0}, last / 2, last}) {
      REQUIRE(pricer.decode(set.advanced(j)).first == price.first + price.slope * j);
      ++compared;
    }
  }
  CHECK(compared == 180);
}

TEST_CASE("is a prompt priced where keys are chosen only beyond a budget?") {
  const std::string row = GENERATE("SPA-16", "SPA-19", "SPA-23", "SPA-25", "SPA-31", "SPA-34");
  INFO(row);
  const DeviceProfile device = load_device("h200-sxm");
  const Topology node = topology_for(device);
  StepPricer pricer(with_row(row), {}, device, node, {}, make_analytic(device, node));
  const PrefillChunk within[] = {{32, 0}}, beyond[] = {{2048, 30000}};
  CHECK(pricer.mixed({}, within) > Ps(0));
  CHECK(pricer.mixed({}, beyond) > pricer.mixed({}, within));
}
