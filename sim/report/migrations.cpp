#include "report/migrations.hpp"

#include <algorithm>

#include "base/quantile.hpp"

namespace orrery {

void Migrations::on_migration(const Migration& m) {
  sums_.bytes += m.bytes;
  if (!m.moved) {
    ++sums_.given_up;
    return;
  }
  ++sums_.moved;
  sums_.mean_stages += m.stages;
  sums_.mean_ms += to_ms(m.end - m.start);
  sums_.mean_pause_ms += to_ms(m.end - m.paused);
  pause_ms_.push_back(to_ms(m.end - m.paused));
}

MigrationSummary Migrations::summary() const {
  MigrationSummary out = sums_;
  if (out.moved == 0) return out;
  for (double* mean : {&out.mean_stages, &out.mean_ms, &out.mean_pause_ms})
    *mean /= static_cast<double>(out.moved);
  std::vector<double> sorted = pause_ms_;
  std::sort(sorted.begin(), sorted.end());
  out.p99_pause_ms = quantile_sorted(sorted, 0.99);
  return out;
}

OrderedJson to_json(const MigrationSummary& s) {
  return {{"moved", s.moved},
          {"given_up", s.given_up},
          {"bytes", s.bytes},
          {"mean_stages", s.mean_stages},
          {"mean_ms", s.mean_ms},
          {"mean_pause_ms", s.mean_pause_ms},
          {"p99_pause_ms", s.p99_pause_ms}};
}

}  // namespace orrery
