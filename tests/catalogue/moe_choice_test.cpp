#include <cmath>
#include <numeric>

#include "catalogue/moe_support.hpp"
#include "model/model_spec.hpp"
#include "ops/expert_load.hpp"
#include "ops/moe_experts.hpp"
#include "ops/sampled_experts.hpp"

using namespace orrery;
using namespace moe_rows;

namespace {

/// Rows of the busiest rank over the mean rank's.
double straggling(const MoeParams& p, std::int64_t tokens, int ep) {
  const auto rows = RoutedExperts(p, 1024).rows(static_cast<double>(tokens), split(ep, 1, ep));
  return rows.rows / (static_cast<double>(tokens) * p.mean_active() / ep);
}

/// Expected fullest of `bins` bins after `balls` balls, exactly: E[max] = sum over m of P(max > m), and P(max
/// <= m) = balls! / bins^balls times the coefficient of x^balls in (sum over j <= m of x^j / j!)^bins.
double fullest_bin(int balls, int bins) {
  const auto log_factorial = [](int n) { return std::lgamma(n + 1.0); };
  double expectation = 0, chance = 0;
  for (int m = 0; chance < 1 - 1e-12; ++m) {
    std::vector<double> ways(static_cast<std::size_t>(balls) + 1, 0.0);  // by balls in the bins so far
    ways[0] = 1;
    for (int b = 0; b < bins; ++b) {  // the bin gets j of the balls left, each with chance 1 / (bins left)
      std::vector<double> next(ways.size(), 0.0);
      const double p = 1.0 / (bins - b);
      for (int used = 0; used <= balls; ++used) {
        const int left = balls - used;
        for (int j = p < 1 ? 0 : left; j <= std::min(m, left); ++j) {
          const double rest = p < 1 ? (left - j) * std::log1p(-p) : 0;
          next[static_cast<std::size_t>(used + j)] +=
              ways[static_cast<std::size_t>(used)] *
              std::exp(log_factorial(left) - log_factorial(j) - log_factorial(left - j) + j * std::log(p) +
                       rest);
        }
      }
      ways = next;
    }
    chance = ways.back();
    expectation += 1 - chance;
  }
  return expectation;
}

}  // namespace

TEST_CASE("MOE-01 does a batch read the experts that its tokens hit, and multiply top_k each?",
          "[catalogue]") {
  // E (1 - (1 - k/E)^B): 8 (1 - (3/4)^4) = 5.47; 256 (1 - (31/32)^32) = 163.3.
  const MoeParams mixtral = moe("MOE-01");
  CHECK(expected_distinct(expert_chances(mixtral), 4) == Approx(5.47).margin(0.005));
  MoeParams fine = mixtral;
  fine.experts = 256, fine.active = 8;
  CHECK(expected_distinct(expert_chances(fine), 32) == Approx(163.3).margin(0.05));
  CHECK(expected_distinct(expert_chances(fine), 32) ==
        Approx(SampledExperts::uniform(256, 1).mean(500, 32, 8, hit)).epsilon(0.01));
  // Weights of 5.47 experts, three matrices of 4096 x 14336 in two bytes; FLOPs 2 n k 3 D F.
  const auto calls = lowered(mixtral, 4096, 4);
  CHECK(weights(calls, "experts") == Approx(5.46875 * 3 * 4096 * 14336 * 2));
  CHECK(flops(calls, "experts") == 2.0 * 4 * 2 * 3 * 4096 * 14336);
  CHECK(flops(calls, "router") == 2.0 * 4 * 4096 * 8);
  MoeParams three = mixtral;
  three.active = 3;
  CHECK(flops(lowered(three, 4096, 4), "experts") == 1.5 * flops(calls, "experts"));
}

TEST_CASE("MOE-02 does every expert take as many tokens as any other where experts choose?", "[catalogue]") {
  const MoeParams choosing = moe("MOE-02");
  for (const int ep : {1, 8, 64}) {
    CHECK(straggling(choosing, 4096, ep) == 1.0);
    MoeParams skewed = choosing;
    skewed.router = ExpertRouter::token, skewed.capacity_factor = 0;
    skewed.load = {LoadShape::zipf, 1.0, {}};
    if (ep > 1) CHECK(straggling(skewed, 4096, ep) > 1.5);
  }
  // Rows are cf n k / E for each expert whatever tokens prefer: FLOPs 2 E C 2 D F (no gate).
  CHECK(flops(lowered(choosing, 1024, 4096), "experts") == 2.0 * 64 * (4096 * 2 / 64) * 2 * 1024 * 8192);
  MoeParams roomy = choosing;
  roomy.capacity_factor = 2;
  CHECK(flops(lowered(roomy, 1024, 4096), "experts") == 2 * flops(lowered(choosing, 1024, 4096), "experts"));
}

TEST_CASE("MOE-03 is the busiest rank that of balls in bins, and the drop that of simulated tokens?",
          "[catalogue]") {
  MoeParams uniform = moe("MOE-03");
  uniform.load = {}, uniform.capacity_factor = 0, uniform.active = 1;
  struct Case {
    int balls, bins;
  };
  for (const auto& c : {Case{16, 8}, Case{64, 8}, Case{100, 32}, Case{256, 16}}) {
    uniform.experts = c.bins;
    INFO(c.balls << " tokens, " << c.bins << " ranks of one expert");
    const double rows = straggling(uniform, c.balls, c.bins) * c.balls / c.bins;
    CHECK(rows == Approx(fullest_bin(c.balls, c.bins)).epsilon(0.02));
  }
  // Capacity factor 1, Zipf 0.5: rows above the mean are dropped.
  const MoeParams row = moe("MOE-03");
  const int tokens = 512, capacity = tokens * row.active / row.experts;
  const double kept = SampledExperts::zipf(row.experts, row.load.exponent, 9)
                          .mean(200, tokens, row.active, [&](const auto& rows) {
                            double sum = 0;
                            for (const int r : rows) sum += std::min(r, capacity);
                            return sum / (tokens * row.active);
                          });
  MoeParams dropless = row;
  dropless.capacity_factor = 0;
  CHECK(flops(lowered(row, 1024, tokens), "experts") / flops(lowered(dropless, 1024, tokens), "experts") ==
        Approx(kept).epsilon(0.01));
  CHECK(kept < 0.85);
}

TEST_CASE("MOE-04 does hashing cost no router, and a balanced assignment leave no straggler?",
          "[catalogue]") {
  const MoeParams hash = moe("MOE-04");
  MoeParams scored = hash;
  scored.router = ExpertRouter::token;
  CHECK_FALSE(has(lowered(hash, 1024, 100), "router"));
  CHECK(flops(lowered(scored, 1024, 100), "router") == 2.0 * 100 * 1024 * 16);
  CHECK(parameters(scored, 1024) - parameters(hash, 1024) == 16.0 * 1024);
  CHECK(flops(lowered(hash, 1024, 100), "experts") == flops(lowered(scored, 1024, 100), "experts"));
  // BASE layers assign n / E tokens to each expert: experts choose, one token each time (k = 1, no slack).
  MoeParams base = hash;
  base.router = ExpertRouter::expert, base.capacity_factor = 1;
  CHECK(straggling(base, 1600, 16) == 1.0);
  CHECK(straggling(hash, 1600, 16) > 1.1);
}

TEST_CASE("MOE-05 does a varying number of experts cost what its mean does, and one number exactly itself?",
          "[catalogue]") {
  MoeParams varying = moe("MOE-05");
  MoeParams fixed = varying;
  fixed.active_shares = {}, fixed.active = 3;
  MoeParams degenerate = varying;
  degenerate.active_shares = {0, 0, 0, 1};
  const auto a = lowered(fixed, 1024, 37), b = lowered(degenerate, 1024, 37);
  REQUIRE(a.size() == b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    CHECK(a[i].dims == b[i].dims);
    CHECK(a[i].work.flops() == b[i].work.flops());
    CHECK(a[i].work.hbm_bytes() == b[i].work.hbm_bytes());
  }
  // 1, 2, 3 or 4 experts, a quarter of the tokens each: 2.5 on average.
  CHECK(flops(lowered(varying, 1024, 40), "experts") == Approx(2.0 * 40 * 2.5 * 3 * 1024 * 1024));
  // The union of a chunk's choices (BlockFFN's chunk-level sparsity), simulated.
  auto twin = SampledExperts::uniform(32, 4);
  const double hits = twin.mean(2000, 8, 1, [&](const auto&) {
    std::vector<int> rows(32, 0);
    for (int t = 0; t < 8; ++t) {
      for (const auto e : twin.draw(1 + t % 4)) ++rows[e];
    }
    return hit(rows);
  });
  CHECK(call_of(lowered(varying, 1024, 8), "experts_up").dims[4] == Approx(hits).epsilon(0.01));
}

TEST_CASE("MOE-06 has DeepSeek-V3 671.03 B parameters, of which a token multiplies 36.6 B?", "[catalogue]") {
  const MoeParams row = moe("MOE-06");
  const auto v3 = load_model("deepseek-v3");
  // 58 of its layers are this row.
  const auto at = std::find_if(v3.kinds.begin(), v3.kinds.end(), [](const LayerKind& kind) {
    return std::holds_alternative<MoeParams>(kind.ffn);
  });
  REQUIRE(at != v3.kinds.end());
  CHECK(at->count == 58);
  CHECK(std::get<MoeParams>(at->ffn) == row);
  // Counted without the layer that predicts a further token; with both embeddings 37.55 B are active.
  CHECK(v3.parameters() == Approx(671.03e9).epsilon(1e-4));
  CHECK(v3.active_parameters() + 129280.0 * 7168 == Approx(37.55e9).epsilon(1e-3));
  // Whatever the batch, the shared expert is read whole; the routed ones as they are hit.
  for (const int tokens : {1, 64}) {
    const auto calls = lowered(row, 7168, tokens);
    CHECK(weights(calls, "gate_up_proj") + weights(calls, "down_proj") == 3.0 * 7168 * 2048 * 2);
  }
  MoeParams without = row;
  without.shared_experts = 0;
  CHECK(parameters(row, 7168) - parameters(without, 7168) == 3.0 * 7168 * 2048);
}

TEST_CASE("MOE-07 does splitting experts keep what is multiplied, stored and read?", "[catalogue]") {
  const MoeParams fine = moe("MOE-07");
  MoeParams coarse = fine;  // m = 4: E / 4 experts of width 4 F, k / 4 of them
  coarse.experts /= 4, coarse.active /= 4, coarse.width *= 4;
  for (const int tokens : {1, 16, 300}) {
    const auto a = lowered(fine, 2048, tokens), b = lowered(coarse, 2048, tokens);
    CHECK(flops(a, "experts") == flops(b, "experts"));
    // As k / E is the same, so is the share of experts hit: four times as many of a fourth the size.
    CHECK(call_of(a, "experts_up").dims[4] == Approx(4 * call_of(b, "experts_up").dims[4]));
    CHECK(weights(a, "experts") == Approx(weights(b, "experts")));
  }
  CHECK(parameters(fine, 2048) - 64.0 * 2048 == parameters(coarse, 2048) - 16.0 * 2048);  // but for routers
  CHECK(flops(lowered(fine, 2048, 8), "router") == 4 * flops(lowered(coarse, 2048, 8), "router"));
}

TEST_CASE("MOE-07 does a grouped product's efficiency fall with fewer rows per expert, as measured?",
          "[catalogue]") {
  SKIP_UNTIL_MEASURED("grouped_gemm at equal FLOPs over 4 to 256 experts");
}

TEST_CASE("MOE-08 do choices that compute nothing halve the experts' work where they are half?",
          "[catalogue]") {
  const MoeParams longcat = moe("MOE-08");
  // LongCat-Flash: 12 of 768 choices, 256 of them zero experts: 8 experts compute on average.
  CHECK(longcat.mean_active() == Approx(8));
  MoeParams all = longcat;
  all.zero_experts = 0;
  for (const double idle : {0.1, 0.5}) {
    MoeParams some = longcat;
    some.zero_share = idle;
    const auto with = lowered(some, 6144, 256), without = lowered(all, 6144, 256);
    const double gain = flops(without, "experts") / flops(with, "experts");
    CHECK(gain == Approx(1 / (1 - idle)));
    CHECK(gain >= 1.1);  // MoE++ reports 1.1 to 2.1 times the experts' throughput
    CHECK(gain <= 2.1);
    CHECK(weights(with, "experts") < weights(without, "experts"));
    // The router scores them like the others.
    CHECK(flops(with, "router") == 2.0 * 256 * 6144 * 768);
  }
}
