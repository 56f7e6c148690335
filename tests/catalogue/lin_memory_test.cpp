// LIN-22 to LIN-28: memories trained at test time, and the forms a recurrence is computed in.

#include <functional>
#include <map>
#include <random>
#include <vector>

#include "catalogue/lin_support.hpp"

using namespace orrery;
using namespace lin;

TEST_CASE("LIN-22 is a mini-batch of one the delta rule and one of everything linear attention?") {
  StateParams p = state_of("LIN-22");
  const double heads = 32, d = 64;
  CHECK(prompt_schedule(p, 4096).depth == 4096 / 16);
  CHECK(kept(p) == heads * (d * d + d) * 4);
  p.chunk = 1;
  CHECK(prompt_schedule(p, 4096).depth == 4096);
  StateParams delta = p;
  delta.rule = StateRule::delta;
  CHECK(prompt(p, 512).tensor_flops / 512 == Approx(step(delta).flops()).epsilon(0.05));
  // b = n: 6 d^2 + 4 n d, linear attention in one chunk of n and 2 d^2 for the gradient.
  const Tokens n = 1024;
  p.chunk = n;
  CHECK(prompt_schedule(p, n).depth == 1);
  StateParams additive = p;
  additive.rule = StateRule::additive;
  CHECK(prompt(p, n).tensor_flops / n ==
        Approx(prompt(additive, n).tensor_flops / n + heads * 2 * d * d).epsilon(1e-12));
  // TTT-MLP: two layers of [d, 4 d] and [4 d, d], biases 4 d and d.
  StateParams mlp = state_of("LIN-22");
  mlp.depth = 2, mlp.expansion = 4;
  CHECK(kept(mlp) == heads * (8 * d * d + 5 * d) * 4);
  const double factor = prompt(mlp, 1024).tensor_flops / prompt(state_of("LIN-22"), 1024).tensor_flops;
  CHECK(factor == Approx(8).epsilon(0.2));
}

TEST_CASE("LIN-23 does momentum double the state, and do large chunks use the matrix units better?") {
  StateParams p = state_of("LIN-23");
  StateParams plain = p;
  plain.momentum = false;
  CHECK(kept(p) == 2 * kept(plain));
  CHECK(kept(plain) == (2.0 * 1024 * 2048 + 2048 + 1024) * 4);
  double last = 0;
  for (p.chunk = 16; p.chunk <= 1 << 20; p.chunk *= 4) {
    const double intensity = prompt(p, 1 << 20).tensor_flops / prompt(p, 1 << 20).hbm_bytes();
    CHECK(intensity > last);
    last = intensity;
  }
}

TEST_CASE("LIN-24 does an iteration of MesaNet cost 2 d_k^2?") {
  StateParams p = state_of("LIN-24");
  p.value_dim = 256;
  const double dk = 128, dv = 256;
  CHECK(kept(p) == 16 * (dk * dk + dk * dv) * 4);
  for (const std::int64_t k : {0, 1, 7, 30}) {
    p.iterations = k;
    CHECK(step(p).flops() == Approx(16 * ((2.0 * static_cast<double>(k) + 5) * dk * dk + 5 * dk * dv)));
  }
  p.iterations = 10;
  const double ten = prompt(p, 4096).flops();
  p.iterations = 30;
  CHECK(prompt(p, 4096).flops() > 1.5 * ten);
}

namespace {
/// One row by hand, of sizes h, dk, dv (matrix states) or channels f and state n: numbers kept, operations of
/// one token, operations of the matrix units per prompt token (none: the step's on the ordinary ones).
struct Hand {
  double numbers = 0, step = 0, matrix = 0;
};
using Sizes = StateParams;
double number(std::int64_t n) {
  return static_cast<double>(n);
}
Hand additive(const Sizes& p, double per_number, double keys, bool normaliser = false) {
  const double h = number(p.heads), dv = number(p.value_dim), c = number(p.chunk), z = normaliser ? keys : 0;
  return {h * (keys * dv + z), h * (per_number * keys * dv + 4 * z),
          2 * c * keys * number(p.key_heads) + h * (2 * c * dv + 4 * keys * dv)};
}
Hand delta(const Sizes& p, double per_number) {
  const double h = number(p.heads), g = number(p.key_heads), dk = number(p.key_dim), dv = number(p.value_dim);
  const double c = number(p.chunk);
  return {h * dk * dv, h * per_number * dk * dv,
          4 * c * dk * g + h * (2 * c * dv + 2 * c * (dk + dv) + 6 * dk * dv)};
}
Hand square(const Sizes& p, double per_number, double per_channel = 0) {
  const double h = number(p.heads), d = number(p.key_dim);
  return {h * d * d, h * (per_number * d * d + per_channel * d), 0};
}
Hand channels(const Sizes& p, double numbers, double operations) {
  return {number(p.channels) * numbers, number(p.channels) * operations, 0};
}
Hand times(Hand hand, double kept, double active) {
  return {hand.numbers * kept, hand.step * active, hand.matrix * active};
}
Hand slots(const Sizes& p) {
  const double h = number(p.heads), g = number(p.key_heads), dk = number(p.key_dim), dv = number(p.value_dim);
  const double m = number(p.slots), c = number(p.chunk);
  return {h * m * (dk + dv), h * (5 * m * (dk + dv) + 5 * m),
          2 * c * dk * g + h * (2 * c * m + 4 * dk * m + 2 * c * m + 2 * c * dv + 4 * m * dv)};
}
Hand training(const Sizes& p) {  // two layers of [d, e d] and [e d, d] with momentum
  const double h = number(p.heads), d = number(p.key_dim), e = number(p.expansion) * d, c = number(p.chunk);
  const double numbers = 2 * d * e + e + d;
  const auto flops = [&](double b) { return h * (2 * 7 * d * e + 4 * b * (d + e)); };
  return {2 * h * numbers, flops(1) + 3 * h * numbers, flops(c)};
}
Hand mesa(const Sizes& p) {
  const double h = number(p.heads), g = number(p.key_heads), dk = number(p.key_dim), dv = number(p.value_dim);
  const double k = number(p.iterations), c = number(p.chunk);
  return {h * (dk * dk + dk * dv), h * ((2 * k + 5) * dk * dk + 5 * dk * dv),
          4 * c * dk * g +
              h * (2 * c * dk + 4 * dk * dk + 2 * c * dv + 4 * dk * dv + k * (2 * dk * dk + 4 * c * dk))};
}
const std::map<std::string, std::function<Hand(const Sizes&)>>& table() {
  static const std::map<std::string, std::function<Hand(const Sizes&)>> rows{
      {"LIN-01", [](const Sizes& p) { return additive(p, 4, number(p.key_dim), true); }},
      {"LIN-02", [](const Sizes& p) { return additive(p, 5, number(p.key_dim)); }},
      {"LIN-03", [](const Sizes& p) { return additive(p, 5, number(p.key_dim)); }},
      {"LIN-04", [](const Sizes& p) { return additive(p, 5, number(p.key_dim)); }},
      {"LIN-05", slots},
      {"LIN-06",
       [](const Sizes& p) { return additive(p, 4, number(1 + p.key_dim + p.key_dim * p.key_dim), true); }},
      {"LIN-07", [](const Sizes& p) { return additive(p, 5, number(p.key_dim)); }},  // within the first chunk
      {"LIN-08", [](const Sizes& p) { return times(delta(p, 7), 5, 3); }},
      {"LIN-09", [](const Sizes& p) { return delta(p, 6); }},
      {"LIN-10", [](const Sizes& p) { return delta(p, 7); }},
      {"LIN-11", [](const Sizes& p) { return channels(p, 3, 23); }},
      {"LIN-12", [](const Sizes& p) { return square(p, 5, 4); }},
      {"LIN-13", [](const Sizes& p) { return square(p, 9); }},
      {"LIN-14", [](const Sizes& p) { return channels(p, 1, 3 + 2 * 4); }},
      {"LIN-15", [](const Sizes& p) { return additive(p, 5, number(p.key_dim)); }},
      {"LIN-16",
       [](const Sizes& p) {
         Hand hand = square(p, 8, 20);
         hand.numbers = 4 * number(p.heads * p.key_dim);
         return hand;
       }},
      {"LIN-17", [](const Sizes& p) { return channels(p, 1, 3 + 3 * 4); }},
      {"LIN-18", [](const Sizes& p) { return channels(p, number(p.state), 7 * number(p.state)); }},
      {"LIN-19", [](const Sizes& p) { return channels(p, number(p.state), 9 * number(p.state)); }},
      {"LIN-20", [](const Sizes& p) { return additive(p, 5, number(p.key_dim)); }},
      {"LIN-21", [](const Sizes& p) { return channels(p, number(p.state), 9 * number(p.state)); }},
      {"LIN-22",
       [](const Sizes& p) {
         const double h = number(p.heads), d = number(p.key_dim), b = number(p.chunk);
         return Hand{h * (d * d + d), h * (6 * d * d + 4 * d), h * (6 * d * d + 4 * b * d)};
       }},
      {"LIN-23", training},
      {"LIN-24", mesa},
      {"LIN-25", [](const Sizes& p) { return additive(p, 5, number(p.key_dim)); }},
      {"LIN-26", [](const Sizes& p) { return channels(p, 1, 3 + 2 * 4); }},
      {"LIN-27", [](const Sizes& p) { return additive(p, 5, number(p.key_dim)); }},
      {"LIN-28",
       [](const Sizes& p) {
         Hand hand = delta(p, 7);
         hand.matrix = 0;
         return hand;
       }},
      {"LIN-29", [](const Sizes& p) { return additive(p, 4, 2 * number(p.features), true); }},
      {"LIN-30", [](const Sizes& p) { return additive(p, 5, number(p.key_dim)); }},
      {"LIN-32", [](const Sizes& p) { return channels(p, 0, 2 * 50); }},  // a filter over 50 inputs
      {"LIN-33", [](const Sizes& p) { return channels(p, 3, 23); }},
      {"LIN-34", [](const Sizes& p) { return additive(p, 4, number(p.key_dim)); }},
      {"LIN-35", [](const Sizes& p) { return additive(p, 4, number(p.key_dim), true); }}};
  return rows;
}
/// The row with random sizes in the place of its own.
Sizes resized(Sizes p, std::mt19937& random) {
  const auto pick = [&](std::int64_t low, std::int64_t high) {
    return std::uniform_int_distribution<std::int64_t>(low, high)(random);
  };
  p.projections.clear(), p.conv = {}, p.token_shift = {};
  p.chunk = 16 * pick(4, 16);
  if (p.channels > 0) {
    p.channels = 64 * pick(1, 40);
    if (p.state > 0) p.state = 8 * pick(1, 16);
    return p;
  }
  const bool square = p.rule == StateRule::dplr || p.rule == StateRule::wkv6 || p.rule == StateRule::serial ||
                      p.rule == StateRule::gradient;
  p.key_heads = pick(1, 8), p.heads = p.key_heads * pick(1, 4);
  if (square) p.key_heads = p.heads;
  p.key_dim = 4 * pick(2, 32), p.value_dim = square ? p.key_dim : 4 * pick(2, 32);
  if (p.slots > 0) p.slots = 8 * pick(1, 16);
  if (p.iterations > 0) p.iterations = pick(1, 30);
  if (p.features > 0) p.features = pick(1, 64);
  return p;
}
}  // namespace

TEST_CASE("LIN-25 is every row a value of one struct that equals a table written by hand?") {
  int rows = 0;
  for (const auto& method : load_methods()) {
    if (method.id.rfind("LIN-", 0) != 0) continue;
    ++rows;
    if (!method.blocks.contains("state")) {
      CHECK(method.id == "LIN-31");  // attention over fewer keys: the pattern of an attention
      continue;
    }
    INFO(method.id);
    const auto hand = table().find(method.id);
    REQUIRE(hand != table().end());
    std::mt19937 random(25);
    for (int i = 0; i < 3; ++i) {
      const StateParams p = resized(state_of(method.id), random);
      const Hand expected = hand->second(p);
      CHECK(state_elements(p, 50, 1) == Approx(expected.numbers).epsilon(1e-9));
      CHECK(step(p, 3, 50).flops() == Approx(3 * expected.step).epsilon(1e-9));
      const double matrix = p.rule == StateRule::lti ? 0 : prompt(p, p.chunk).tensor_flops;
      CHECK(matrix == Approx(number(p.chunk) * expected.matrix).epsilon(1e-9).margin(1e-9));
      if (p.prompt_algorithm() == StateAlgorithm::scan)
        CHECK(prompt(p, 1000).vector_flops == Approx(1000 * expected.step).epsilon(1e-9));
    }
  }
  CHECK(rows == 35);
}

TEST_CASE("LIN-26 does a parallel scan combine at most 2 n times in 2 log2 n levels?") {
  // h = a h + b over random data by Blelloch's tree without its padding, and one by one.
  struct Affine {
    double a, b;
  };
  const StateParams p = state_of("LIN-26");
  std::mt19937 random(26);
  std::uniform_real_distribution<double> value(0.5, 1);
  for (const int n : {1, 2, 3, 7, 8, 100, 1000, 1024, 1025, 4097}) {
    std::vector<Affine> x;
    for (int i = 0; i < n; ++i) x.push_back({value(random), value(random)});
    std::vector<double> expected;
    double h = 0;
    for (const auto& step : x) expected.push_back(h = step.a * h + step.b);
    double combinations = 0, levels = 0;
    const auto combine = [&](int left, int right) {
      auto& r = x[static_cast<std::size_t>(right)];
      const auto& l = x[static_cast<std::size_t>(left)];
      r = {l.a * r.a, r.a * l.b + r.b};
      ++combinations;
    };
    int half = 1;
    for (; 2 * half <= n; half *= 2) {
      for (int i = 2 * half - 1; i < n; i += 2 * half) combine(i - half, i);
      ++levels;
    }
    for (half /= 2; half >= 1; half /= 2) {
      if (3 * half - 1 < n) ++levels;
      for (int i = 3 * half - 1; i < n; i += 2 * half) combine(i - half, i);
    }
    for (int i = 0; i < n; ++i)
      REQUIRE(x[static_cast<std::size_t>(i)].b == Approx(expected[static_cast<std::size_t>(i)]));
    INFO(n << " tokens");
    CHECK(prompt_schedule(p, n).combinations == combinations);
    CHECK(prompt_schedule(p, n).depth == levels);
    CHECK(combinations <= 2 * n);
    CHECK(levels <= 2 * std::ceil(std::log2(std::max(n, 2))));
  }
}

TEST_CASE("LIN-27 do larger chunks trade fewer states against more products?") {
  StateParams p = state_of("LIN-27");
  // 2 C (d_k + d_v) + 4 d_k d_v per token and head; ceil(n / C) states one after another.
  for (p.chunk = 16; p.chunk <= 512; p.chunk *= 2) {
    const auto c = static_cast<double>(p.chunk);
    REQUIRE(prompt(p, 4096).tensor_flops / 4096 / 16 == Approx(2 * c * 256 + 4.0 * 128 * 128));
    REQUIRE(prompt_schedule(p, 4096).depth == 4096 / c);
  }
  SKIP_UNTIL_MEASURED("linear_attention over chunks of 16 to 512");
}

TEST_CASE("LIN-28 is a chunk of one token the recurrence?") {
  for (const auto rule :
       {StateRule::additive, StateRule::scalar_decay, StateRule::vector_gate, StateRule::delta,
        StateRule::gated_delta, StateRule::channel_gated_delta, StateRule::ssd}) {
    INFO(enum_names(rule)[static_cast<std::size_t>(rule)]);
    StateParams p = state_of("LIN-28");
    p.rule = rule, p.key_dim = 256;
    CHECK(p.prompt_algorithm() == StateAlgorithm::recurrent);
    const Tokens n = 1000;
    const Work steps = prompt(p, n, DType::fp32);
    // n steps on n tokens, the state in and out of memory at each.
    REQUIRE(prompt_calls(p, n).size() == 1);
    CHECK(prompt_calls(p, n).front().repeat == n);
    CHECK(steps.flops() == Approx(n * step(p).flops()));
    CHECK(steps.hbm_bytes() > 2 * n * kept(p));
    StateParams ones = p;
    ones.algorithm = StateAlgorithm::chunk, ones.chunk = 1;
    const Work chunks = prompt(ones, n, DType::fp32);
    // Per token and head 2 (d_k + d_v) of scores on one token and the like stand beside d_k d_v terms.
    CHECK(chunks.flops() == Approx(steps.flops()).epsilon(0.02));
    CHECK(chunks.hbm_bytes() == Approx(steps.hbm_bytes()).epsilon(0.02));
  }
}
