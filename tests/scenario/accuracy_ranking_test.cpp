#include "scenario/accuracy_ranking.hpp"

#include <catch2/catch.hpp>

using namespace orrery;

namespace {

ServerRow at(int tp, double users, double measured, double predicted) {
  ServerRow r;
  r.set = std::string("s");
  r.tp = tp, r.load_value = users;
  r.load = std::to_string(static_cast<int>(users)) + " users";
  r[ServerMetric::tpot].measured = measured, r[ServerMetric::tpot].predicted = predicted;
  return r;
}

}  // namespace

TEST_CASE("does a ranking of splits count pairs in the wrong order, and what a wrong choice costs?") {
  // Measured, TP 2 halves TPOT at 8 users; predicted, it does nothing. At 64 users both agree.
  const std::vector<ServerRow> rows = {at(1, 8, 16, 16), at(2, 8, 7, 17), at(1, 64, 40, 40),
                                       at(2, 64, 25, 25)};
  const SplitRanking r = rank_splits(rows);
  CHECK(r.pairs == 2);
  CHECK(r.tau_tpot == 0);     // one pair of two
  CHECK(r.tau_per_gpu == 0);  // 8/16 against 8/14: the first pair again
  // Limits of 10 and 15 ms: nothing is predicted to keep them. 20: TP 1 (0.5 per GPU) for TP 2 (0.571).
  // 30: both choose TP 2 with 64 users; 50: both TP 1 with 64.
  CHECK(r.choices == 3);
  CHECK(r.same_split == Approx(2.0 / 3));
  CHECK(r.kept_throughput == Approx((0.875 + 1 + 1) / 3));
  CHECK(rank_splits({at(1, 8, 16, 16), at(1, 64, 40, 40)}).pairs == 0);
  CHECK(ranking_section({}).empty());
}
