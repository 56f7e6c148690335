// LIN-01 to LIN-10: matrix states, from linear attention to the delta rules.

#include <algorithm>
#include <bit>
#include <cmath>
#include <set>
#include <vector>

#include "catalogue/lin_support.hpp"

using namespace orrery;
using namespace lin;

namespace {
/// A recurrence executed on one head, each multiplication and addition on the state counted.
struct Executed {
  int dk, dv;
  double operations = 0;
  void decay() { each(1); }
  void add_outer() { each(2); }
  void read_out() { each(2); }
  void each(double count) {
    for (int i = 0; i < dk; ++i)
      for (int j = 0; j < dv; ++j) operations += count;
  }
};
}  // namespace

TEST_CASE("LIN-01 does linear attention cost twice for twice the tokens and n d^2 without chunks?") {
  const StateParams p = state_of("LIN-01");
  for (const Tokens n : {64, 1000, 4096, 100000}) {
    CHECK(prompt(p, 2 * n).flops() == Approx(2 * prompt(p, n).flops()).epsilon(1e-12));
  }
  // The identity as feature map, d_k = d_v = d, no normaliser: S += k v^T and q S per head and token.
  StateParams plain = p;
  plain.normaliser = false, plain.algorithm = StateAlgorithm::recurrent;
  for (const std::int64_t d : {32, 64, 128}) {
    plain.key_dim = plain.value_dim = d;
    Executed head{static_cast<int>(d), static_cast<int>(d)};
    head.add_outer(), head.read_out();
    CHECK(step(plain).flops() == 8 * head.operations);
    CHECK(prompt(plain, 512).flops() == Approx(512 * 8 * head.operations));
  }
}

TEST_CASE("LIN-02 is the work per token of lightning attention flat from 1k to 1M tokens?") {
  const StateParams p = state_of("LIN-02");
  const double flops = prompt(p, 1024).flops() / 1024, bytes = prompt(p, 1024).hbm_bytes() / 1024;
  for (Tokens n = 2048; n <= 1 << 20; n *= 2) {
    const auto tokens = static_cast<double>(n);
    CHECK(prompt(p, n).flops() / tokens == Approx(flops).epsilon(1e-12));
    CHECK(prompt(p, n).hbm_bytes() / tokens ==
          Approx(bytes).epsilon(0.1));  // 1k tokens carry the state itself
    if (n > 8192) CHECK(prompt(p, n).hbm_bytes() / prompt(p, n / 2).hbm_bytes() == Approx(2).epsilon(0.03));
  }
  // MiniMax-Text-01: 70 lightning layers of 64 heads of 128 x 128 in fp32.
  CHECK(70 * kept(p) == Approx(293.6e6).epsilon(1e-3));
  CHECK(kept(p, 1024) == kept(p, 1 << 20));
  Executed head{128, 128};
  head.decay(), head.add_outer(), head.read_out();
  CHECK(step(p).flops() == 64 * head.operations);
}

TEST_CASE("LIN-03 does retention decode faster than attention once memory is full?") {
  // Headline (recalled): 8.4 times the throughput of a transformer with a KV cache, 6.7B parameters, 8k
  // tokens. Baseline here: 32 layers of 32 x 128 keys and values in bf16 (Llama-2-7B), an A100 of 80 GB of
  // which 90% is used, 2.039 TB/s, steps bound by memory: weights, and every cache or state once.
  const StateParams p = state_of("LIN-03");
  const double weights = 6.74e9 * 2, free = 0.9 * 80e9 - weights, bandwidth = 2.039e12;
  const double cache = 32 * 8192.0 * 2 * 32 * 128 * 2, state = 32 * kept(p);
  CHECK(state == 32.0 * 16 * 256 * 512 * 4);
  const auto throughput = [&](double resident, double moved) {
    const double batch = std::floor(free / resident);
    return batch / ((weights + batch * moved) / bandwidth);
  };
  const double gain = throughput(state, 32 * state_traffic(p)) / throughput(cache, cache);
  CHECK(gain > 1);
  CHECK(gain < 8.4 * 1.25);
  CHECK(state < 0.3 * cache);  // "70% of the memory saved"
}

TEST_CASE("LIN-04 does gated linear attention keep half of linear attention's state?") {
  const StateParams p = state_of("LIN-04");  // keys of half the width: expand_k 0.5
  StateParams full = p;
  full.key_dim = p.value_dim;
  REQUIRE(kept(p) == 4.0 * 256 * 512 * 4);
  REQUIRE(kept(p) == kept(full) / 2);
  Executed head{256, 512};
  head.decay(), head.add_outer(), head.read_out();
  REQUIRE(step(p).flops() == 4 * head.operations);
  SKIP_UNTIL_MEASURED("gated_linear_attention with chunks of 16, 64 and 128");
}

TEST_CASE("LIN-05 do bounded slots keep a quarter of a 256 x 512 state?") {
  const StateParams p = state_of("LIN-05");
  CHECK(kept(p) == 4.0 * 64 * (256 + 256) * 4);
  StateParams gla = p;
  gla.rule = StateRule::vector_gate, gla.value_dim = 512;
  CHECK(kept(gla) / kept(p) == 4);
  // Two passes with a decay, and 5 operations per slot of the softmax between them.
  Executed keys{256, 64}, values{64, 256};
  for (auto* pass : {&keys, &values}) pass->decay(), pass->add_outer(), pass->read_out();
  CHECK(step(p).flops() == 4 * (keys.operations + values.operations + 5 * 64));
  CHECK(state_traffic(p) == 2 * kept(p));
}

TEST_CASE("LIN-06 does the state follow the width of the feature map?") {
  // Products of up to two of 16 numbers, as words and as multisets.
  std::set<std::vector<int>> words{{}}, multisets{{}};
  for (int i = 0; i < 16; ++i) {
    words.insert({i}), multisets.insert({i});
    for (int j = 0; j < 16; ++j) words.insert({i, j}), multisets.insert({std::min(i, j), std::max(i, j)});
  }
  StateParams p = state_of("LIN-06");
  CHECK(words.size() == 273);
  CHECK(p.feature_dim() == 273);
  p.normaliser = false;
  CHECK(kept(p) == 16.0 * 273 * 64 * 4);
  CHECK(step(p).flops() == 16.0 * 4 * 273 * 64);
  p.feature_map = FeatureMap::taylor_packed;
  CHECK(multisets.size() == 153);
  CHECK(p.feature_dim() == 153);
  CHECK(kept(p) == 16.0 * 153 * 64 * 4);
  p.feature_map = FeatureMap::doubled;
  CHECK(kept(p) == 16.0 * 32 * 64 * 4);
  // Keys come in with 16 numbers however many features they become.
  const double operands = step(p).hbm_bytes() - state_traffic(p);
  p.feature_map = FeatureMap::taylor;
  CHECK(step(p).hbm_bytes() - state_traffic(p) == Approx(operands));
}

TEST_CASE("LIN-07 does log-linear attention keep a state per bit of the number of chunks?") {
  const StateParams p = state_of("LIN-07");
  const double one = 24.0 * 128 * 64 * 4;
  // A Fenwick tree built chunk by chunk: equal neighbours merge.
  std::vector<int> tree;
  for (Tokens chunk = 0; chunk <= 512; ++chunk) {
    const auto live = static_cast<double>(tree.size());
    CHECK(kept(p, chunk * p.chunk) == one * (live + 1));
    CHECK(kept(p, chunk * p.chunk + p.chunk - 1) == one * (live + 1));
    CHECK(live <= std::bit_width(static_cast<unsigned>(chunk)));
    tree.push_back(0);
    while (tree.size() > 1 && tree[tree.size() - 2] == tree.back()) tree.pop_back(), ++tree.back();
  }
  // Between chunks the work grows as the logarithm of their number: 1024 chunks against 16.
  StateParams single = p;
  single.levels = false;
  const auto between = [&](Tokens n) {
    const double inter = 4.0 * 24 * 128 * 64;  // of a single state per token
    return (prompt(p, n).tensor_flops - prompt(single, n).tensor_flops) / static_cast<double>(n) + inter;
  };
  CHECK(between(65536) / between(1024) == Approx(std::log2(1024.0) / std::log2(16.0)).epsilon(0.1));
  // A step reads what is alive on average over contexts around it.
  double alive = 0;
  for (std::uint64_t chunk = 65536; chunk < 2 * 65536; ++chunk) alive += std::popcount(chunk);
  alive /= 65536;
  const double reads = (state_traffic(p, 98304 * p.chunk) - state_traffic(p)) / one;
  CHECK(reads == Approx(alive).epsilon(0.1));
}

TEST_CASE("LIN-08 does a mixture of memories keep five states and move three?") {
  const StateParams p = state_of("LIN-08");
  const double one = 4.0 * 256 * 256 * 4;
  CHECK(kept(p) == 5 * one);
  CHECK(state_traffic(p) == 3 * 2 * one);
  StateParams single = p;
  single.memories = single.active_memories = 1;
  CHECK(prompt(p, 4096).flops() == Approx(3 * prompt(single, 4096).flops()));
}

TEST_CASE("LIN-09 does the delta rule cost 1.83 times linear attention in chunks of 64?") {
  StateParams p = state_of("LIN-09");
  StateParams additive = p;
  additive.rule = StateRule::additive;
  // d = 128, C = 64: 64 (6 + 4) 128 + 6 128^2 = 180 224 against 2 64 256 + 4 128^2 = 98 304 FLOPs.
  const double delta_flops = prompt(p, 64).tensor_flops / 64 / 16;
  CHECK(delta_flops == Approx(180224));
  CHECK(prompt(additive, 64).tensor_flops / 64 / 16 == Approx(98304));
  // With the C^2 / 3 of the triangular inverse 1.85.
  CHECK((delta_flops + 64.0 * 64 / 3) / 98304 == Approx(1.85).epsilon(0.003));
  CHECK(state_traffic(p) == state_traffic(additive));
  Executed head{128, 128};
  head.read_out(), head.add_outer(), head.read_out();  // what k reads, the correction, the output
  CHECK(step(p).flops() == 16 * head.operations);
}

TEST_CASE("LIN-10 is Qwen3-Next's state as large as its attention's cache at 1024 tokens?") {
  StateParams p = state_of("LIN-10");
  const double kv_per_token = 2.0 * 2 * 256 * 2;  // its attention: 2 heads of 256, keys and values in bf16
  CHECK(kept(p) == 2.0 * 1024 * 1024);
  CHECK(kept(p) / kv_per_token == 1024);
  // Its cache holds the convolution's last three inputs of q, k and v beside it.
  CHECK(kept_by_mixer(p, 2048, {}) == kept(p) + 3 * 8192 * 2);
  // DeltaProduct: n_h erasures and writes, one decay, one readout.
  for (const std::int64_t products : {1, 2, 3, 4}) {
    Executed head{128, 128};
    for (std::int64_t i = 0; i < products; ++i) head.read_out(), head.add_outer();
    head.read_out();
    p.householder = products;
    p.rule = StateRule::delta;
    CHECK(step(p).flops() == 32 * head.operations);
    head.decay();
    for (const auto rule : {StateRule::gated_delta, StateRule::channel_gated_delta}) {
      p.rule = rule;
      CHECK(step(p).flops() == 32 * head.operations);
    }
  }
  // Kimi Delta Attention in Kimi-Linear-48B: 20 layers of 32 heads of 128 x 128.
  p = state_of("LIN-10");
  p.rule = StateRule::channel_gated_delta, p.key_heads = 32;
  CHECK(20 * kept(p) == Approx(41.9e6).epsilon(2e-3));
}
