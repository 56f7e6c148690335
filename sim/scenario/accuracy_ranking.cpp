#include "scenario/accuracy_ranking.hpp"

#include <map>
#include <tuple>
#include <utility>

#include <fmt/format.h>

namespace orrery {

namespace {

struct Point {
  int tp = 1;
  double users = 0, measured = 0, predicted = 0;  ///< TPOT in ms
};

/// Closed loops of one server by everything but split and load.
std::map<std::string, std::vector<Point>> series_of(const std::vector<ServerRow>& rows) {
  std::map<std::string, std::vector<Point>> out;
  for (const ServerRow& row : rows) {
    const ServerRow::Compared& tpot = row[ServerMetric::tpot];
    if (!row.skipped.empty() || !tpot.measured || !tpot.predicted ||
        row.load.find(" users") == std::string::npos)
      continue;
    const std::string key = fmt::format("{}/{}/{}/{}/{}/{}-{}", row.set, row.hardware, row.model,
                                        row.precision, row.engine, row.isl, row.osl);
    out[key].push_back({row.tp, row.load_value, *tpot.measured, *tpot.predicted});
  }
  return out;
}

/// +1 for a pair in the same order, -1 for one that is not.
int agreement(double measured, double predicted) {
  return (measured > 0) == (predicted > 0) ? 1 : -1;
}

double per_gpu(const Point& p, double tpot) {
  return p.users / (tpot * p.tp);
}

/// The point with the most tokens per GPU among those whose TPOT keeps the limit.
const Point* best(const std::vector<Point>& points, double limit, double Point::*tpot) {
  const Point* out = nullptr;
  for (const Point& p : points) {
    if (p.*tpot <= limit && (!out || per_gpu(p, p.*tpot) > per_gpu(*out, *out.*tpot))) out = &p;
  }
  return out;
}

}  // namespace

SplitRanking rank_splits(const std::vector<ServerRow>& rows) {
  constexpr double kLimits[] = {5, 10, 15, 20, 30, 50};  // ms: from an agent's to a reader's
  SplitRanking out;
  int tpot = 0, per = 0;
  for (const auto& [key, points] : series_of(rows)) {
    bool several = false;
    for (std::size_t i = 0; i < points.size(); ++i) {
      for (std::size_t j = 0; j < i; ++j) {
        const Point &a = points[i], &b = points[j];
        several = several || a.tp != b.tp;
        if (a.tp == b.tp || a.users != b.users) continue;
        ++out.pairs;
        tpot += agreement(a.measured - b.measured, a.predicted - b.predicted);
        per += agreement(per_gpu(a, a.measured) - per_gpu(b, b.measured),
                         per_gpu(a, a.predicted) - per_gpu(b, b.predicted));
      }
    }
    for (const double limit : kLimits) {
      const Point* right = several ? best(points, limit, &Point::measured) : nullptr;
      const Point* chosen = several ? best(points, limit, &Point::predicted) : nullptr;
      if (!right || !chosen) continue;
      ++out.choices;
      out.same_split += right->tp == chosen->tp;
      out.kept_throughput += per_gpu(*chosen, chosen->measured) / per_gpu(*right, right->measured);
    }
  }
  if (out.pairs > 0) out.tau_tpot = tpot / static_cast<double>(out.pairs);
  if (out.pairs > 0) out.tau_per_gpu = per / static_cast<double>(out.pairs);
  if (out.choices > 0) {
    out.same_split /= static_cast<double>(out.choices);
    out.kept_throughput /= static_cast<double>(out.choices);
  }
  return out;
}

std::string ranking_section(const std::vector<ServerRow>& rows) {
  const SplitRanking r = rank_splits(rows);
  if (r.pairs == 0) return {};
  return fmt::format(
      "## Does it choose the right split?\n\n"
      "Closed loops that were measured with several tensor-parallel sizes. Of {} pairs of sizes under the "
      "same load,\n"
      "predicted and measured order agree with Kendall's tau {:.3f} by TPOT and {:.3f} by tokens per second "
      "and GPU.\n"
      "Given a limit on TPOT (5 to 50 ms), the size and load with the most tokens per GPU: in {} questions "
      "the same size\n"
      "is chosen in {:.0f} %, and what is chosen reaches {:.1f} % of the best tokens per GPU that was "
      "measured within the limit.\n\n",
      r.pairs, r.tau_tpot, r.tau_per_gpu, r.choices, 100 * r.same_split, 100 * r.kept_throughput);
}

}  // namespace orrery
