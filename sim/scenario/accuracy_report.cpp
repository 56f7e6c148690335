#include "scenario/accuracy_report.hpp"

#include <algorithm>
#include <cmath>

namespace orrery {

ServerErrors errors_of(const std::vector<const ServerRow*>& rows, ServerMetric metric) {
  ServerErrors out;
  std::vector<double> errors, sizes;
  std::int64_t inside = 0;
  for (const ServerRow* row : rows) {
    const auto error = row->error(metric);
    if (!error) continue;
    errors.push_back(*error);
    sizes.push_back(std::abs(*error));
    const auto& c = (*row)[metric];
    if (!c.interval) continue;
    ++out.with_interval;
    if (*c.measured >= c.interval->low && *c.measured <= c.interval->high) ++inside;
  }
  out.rows = static_cast<std::int64_t>(errors.size());
  if (errors.empty()) return out;
  std::sort(errors.begin(), errors.end());
  std::sort(sizes.begin(), sizes.end());
  out.bias = quantile_sorted(errors, 0.5);
  out.median_abs = quantile_sorted(sizes, 0.5);
  out.p90_abs = quantile_sorted(sizes, 0.9);
  if (out.with_interval > 0)
    out.covered = static_cast<double>(inside) / static_cast<double>(out.with_interval);
  return out;
}

OrderedJson to_json(const std::vector<ServerRow>& rows) {
  OrderedJson out = OrderedJson::array();
  for (const auto& row : rows) {
    OrderedJson json{{"set", row.set},      {"run", row.run},       {"hardware", row.hardware},
                     {"model", row.model},  {"engine", row.engine}, {"tp", row.tp},
                     {"isl", row.isl},      {"osl", row.osl},       {"load", row.load},
                     {"fitted", row.fitted}};
    if (!row.skipped.empty()) json["skipped"] = row.skipped;
    for (int m = 0; m < kServerMetricCount; ++m) {
      const auto metric = static_cast<ServerMetric>(m);
      const auto& c = row[metric];
      if (const auto error = row.error(metric)) {
        json[std::string(name(metric))] = {{"predicted", *c.predicted}, {"error", *error}};
        if (c.interval) json[std::string(name(metric))]["interval"] = {c.interval->low, c.interval->high};
      }
    }
    out.push_back(std::move(json));
  }
  return out;
}

}  // namespace orrery
