#include "ops/expert_load.hpp"

#include <numeric>

#include <catch2/catch.hpp>

#include "ops/sampled_experts.hpp"

using namespace orrery;

namespace {
MoeParams mixture(int experts, int active, double zipf = 0) {
  MoeParams p;
  p.experts = experts, p.active = active, p.width = 64;
  if (zipf > 0) p.load = {LoadShape::zipf, zipf, {}};
  return p;
}
double sum(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0);
}
}  // namespace

TEST_CASE("are the experts that a batch hits those of a simulated batch?", "[ops]") {
  for (const double exponent : {0.0, 0.5, 1.0, 1.5}) {
    for (const int tokens : {1, 4, 32, 200}) {
      INFO("zipf " << exponent << ", " << tokens << " tokens");
      auto twin = SampledExperts::zipf(128, exponent, 7);
      const double sampled = twin.mean(400, tokens, 8, hit);
      CHECK(expected_distinct(expert_chances(mixture(128, 8, exponent)), tokens) ==
            Approx(sampled).epsilon(0.01));
    }
  }
}

TEST_CASE("do the chances of a token's choices sum to their number, none above one?", "[ops]") {
  for (const double exponent : {0.0, 0.7, 1.2, 3.0}) {
    const auto chances = expert_chances(mixture(64, 6, exponent));
    CHECK(sum(chances) == Approx(6).epsilon(1e-9));
    CHECK(chances.front() <= 1);
    CHECK(std::is_sorted(chances.rbegin(), chances.rend()));
  }
  // A histogram says how often each was chosen: kept in proportion, but for experts that all tokens choose.
  MoeParams measured = mixture(4, 2);
  measured.load = {LoadShape::histogram, 1, {30, 20, 10, 20}};
  CHECK(expert_chances(measured) == std::vector<double>{0.75, 0.5, 0.25, 0.5});
  measured.load.histogram = {900, 20, 40, 40};
  const auto capped = expert_chances(measured);
  CHECK(capped[0] == Approx(1));
  CHECK(capped[1] == Approx(0.2));
  CHECK(capped[3] == Approx(0.4));
}

TEST_CASE("does the busiest rank get as many rows as in simulated batches?", "[ops]") {
  struct Case {
    int experts, k, ranks, tokens;
    double zipf;
  };
  const std::vector<Case> cases{{8, 2, 8, 64, 0},     {256, 8, 8, 32, 0},   {256, 8, 64, 32, 0},
                                {256, 8, 64, 512, 0}, {64, 1, 8, 100, 0},   {128, 8, 4, 256, 0},
                                {64, 6, 8, 128, 0.5}, {128, 8, 8, 64, 1.0}, {256, 8, 32, 128, 0.8}};
  for (const auto& c : cases) {
    INFO(c.experts << " experts, top " << c.k << ", " << c.ranks << " ranks, " << c.tokens << " tokens, zipf "
                   << c.zipf);
    auto twin = SampledExperts::zipf(c.experts, c.zipf, 11);
    const double sampled =
        twin.mean(300, c.tokens, c.k, [&](const auto& rows) { return fullest(rows, c.ranks); });
    const auto placed = place_experts(expert_chances(mixture(c.experts, c.k, c.zipf)), c.ranks, {});
    CHECK(slowest_rows(placed, c.tokens) == Approx(sampled).epsilon(0.02));
  }
}

TEST_CASE("does the busiest rank's load grow with every token, also where its count becomes a normal one?",
          "[ops]") {
  // 128 experts, top 8, 8 ranks: means of 1 row per token, across the mean where counts become normal.
  const auto placed = place_experts(expert_chances(mixture(128, 8)), 8, {});
  double before = slowest_rows(placed, 150);
  for (int tokens = 151; tokens < 260; ++tokens) {
    const double rows = slowest_rows(placed, tokens);
    INFO(tokens);
    CHECK(rows > before + 0.9);
    CHECK(rows < before + 1.6);
    before = rows;
  }
  CHECK(slowest_rows(placed, 1e6) == Approx(1e6).epsilon(0.01));
  CHECK(slowest_rows(place_experts(expert_chances(mixture(128, 8)), 1, {}), 100) == 800);
}

TEST_CASE("is the share of rows within capacity the simulated one?", "[ops]") {
  for (const double exponent : {0.0, 0.6}) {
    for (const double factor : {1.0, 1.25, 2.0}) {
      const int tokens = 256, experts = 32, k = 2;
      const double capacity = std::ceil(factor * tokens * k / experts);
      auto twin = SampledExperts::zipf(experts, exponent, 3);
      const double kept = twin.mean(300, tokens, k, [&](const auto& rows) {
        double all = 0;
        for (const int r : rows) all += std::min<double>(r, capacity);
        return all / (tokens * k);
      });
      INFO("zipf " << exponent << ", factor " << factor);
      CHECK(kept_share(expert_chances(mixture(experts, k, exponent)), tokens, capacity) ==
            Approx(kept).epsilon(0.01));
    }
  }
  CHECK(kept_share({0.5, 0.5}, 10, 10) == Approx(1));
  CHECK(kept_share({1.0}, 10, 4) == Approx(0.4));
}

TEST_CASE("does padding to tiles add what it adds to simulated rows?", "[ops]") {
  for (const int tile : {16, 128}) {
    for (const int tokens : {8, 64, 512}) {
      auto twin = SampledExperts::uniform(64, 5);
      const double padded = twin.mean(300, tokens, 4, [&](const auto& rows) {
        double all = 0;
        for (const int r : rows) all += (r + tile - 1) / tile * tile;
        return all;
      });
      INFO("tile " << tile << ", " << tokens << " tokens");
      CHECK(padded_rows(expert_chances(mixture(64, 4)), tokens, tile) == Approx(padded).epsilon(0.02));
    }
  }
  CHECK(padded_rows({0.5, 0.5}, 100, 1) == 100);
}

TEST_CASE("do redundant experts even out ranks, each rank holding as many as the others?", "[ops]") {
  const auto chances = expert_chances(mixture(64, 4, 1.0));
  const double in_order = placement_imbalance(place_experts(chances, 8, {}));
  CHECK(in_order > 2);  // the first ranks have all the popular ones
  for (const int redundant : {0, 8, 16, 32}) {
    ExpertPlan plan;
    plan.balance = true, plan.redundant = redundant;
    const auto placed = place_experts(chances, 8, plan);
    double load = 0;
    for (const auto& rank : placed) {
      CHECK(rank.size() == (64 + static_cast<std::size_t>(redundant)) / 8);
      load += sum(rank);
    }
    CHECK(load == Approx(sum(chances)));
    INFO(redundant << " copies");
    // Without copies no placement does better than a rank of the most chosen expert alone.
    CHECK(placement_imbalance(placed) >= (redundant == 0 ? chances.front() / (4.0 / 8) : 1 - 1e-12));
    CHECK(placement_imbalance(placed) < (redundant == 0 ? in_order : 1.02));
  }
}

TEST_CASE("is a placement by load near the best of all placements?", "[ops]") {
  // All ways to put 8 experts on 2 ranks of 4. Longest-first is within 4/3 of the best (Graham, 1969).
  const std::vector<double> loads{0.9, 0.8, 0.55, 0.5, 0.45, 0.4, 0.25, 0.15};
  double best = 4;
  for (unsigned set = 0; set < 256; ++set) {
    double first = 0;
    int places = 0;
    for (unsigned e = 0; e < 8; ++e) {
      if ((set >> e & 1U) != 0) first += loads[e], ++places;
    }
    if (places == 4) best = std::min(best, std::max(first, 4 - first));
  }
  ExpertPlan plan;
  plan.balance = true;
  const double most = placement_imbalance(place_experts(loads, 2, plan)) * 2;
  CHECK(most >= best - 1e-12);
  CHECK(most <= best * 4 / 3);
}

TEST_CASE("do limited groups limit the ranks that a token reaches?", "[ops]") {
  MoeParams p = mixture(256, 8);
  p.groups = 8;
  std::mt19937_64 random(1);
  for (const int limit : {8, 4, 2}) {
    p.topk_groups = limit;
    for (const int parts : {4, 8, 32}) {
      double reached = 0;
      const int trials = 4000;
      for (int i = 0; i < trials; ++i) {  // groups without repetition, then experts of theirs
        std::vector<int> groups(8), members;
        std::iota(groups.begin(), groups.end(), 0);
        std::shuffle(groups.begin(), groups.end(), random);
        for (int g = 0; g < limit; ++g) {
          for (int e = 0; e < 32; ++e) members.push_back(groups[static_cast<std::size_t>(g)] * 32 + e);
        }
        std::shuffle(members.begin(), members.end(), random);
        std::vector<int> rows(256, 0);
        for (std::size_t e = 0; e < 8; ++e) ++rows[static_cast<std::size_t>(members[e])];
        for (int part = 0; part < parts; ++part) {
          const int size = 256 / parts;
          reached += std::accumulate(rows.begin() + part * size, rows.begin() + (part + 1) * size, 0) > 0;
        }
      }
      INFO(limit << " of 8 groups, " << parts << " parts");
      CHECK(expected_parts(p, parts) == Approx(reached / trials).epsilon(0.02));
    }
  }
}
