#include "report/transfers.hpp"

#include <algorithm>

#include "base/quantile.hpp"

namespace orrery {

void Transfers::on_kv_transfer(const KvTransfer& t) {
  ++sums_.count;
  sums_.bytes += t.bytes;
  sums_.mean_ms += to_ms(t.end - t.start);
  sums_.mean_exposed_ms += to_ms(t.exposed());
  sums_.mean_blocked_ms += to_ms(std::max(Ps(0), t.reserved - t.prefilled));
  exposed_ms_.push_back(to_ms(t.exposed()));
}

TransferSummary Transfers::summary() const {
  TransferSummary out = sums_;
  if (out.count == 0) return out;
  for (double* mean : {&out.mean_ms, &out.mean_exposed_ms, &out.mean_blocked_ms})
    *mean /= static_cast<double>(out.count);
  std::vector<double> sorted = exposed_ms_;
  std::sort(sorted.begin(), sorted.end());
  out.p50_exposed_ms = quantile_sorted(sorted, 0.5);
  out.p99_exposed_ms = quantile_sorted(sorted, 0.99);
  return out;
}

OrderedJson to_json(const TransferSummary& s) {
  return {{"count", s.count},
          {"bytes", s.bytes},
          {"mean_ms", s.mean_ms},
          {"mean_exposed_ms", s.mean_exposed_ms},
          {"p50_exposed_ms", s.p50_exposed_ms},
          {"p99_exposed_ms", s.p99_exposed_ms},
          {"mean_blocked_ms", s.mean_blocked_ms}};
}

}  // namespace orrery
