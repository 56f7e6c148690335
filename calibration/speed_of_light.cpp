#include "calibration/speed_of_light.hpp"

#include <algorithm>
#include <map>
#include <tuple>

#include "base/quantile.hpp"
#include "cost/roofline.hpp"

namespace orrery::calibrate {

namespace {
struct Timed {
  double light_s = 0, fraction = 0;
};

std::string formats_of(const MeasuredRow& row) {
  std::string text(name(row.dtype));
  if (row.weight_dtype != row.dtype) text += " x " + std::string(name(row.weight_dtype));
  return text;
}

LightFraction summarise(std::vector<Timed> rows) {
  std::sort(rows.begin(), rows.end(), [](const Timed& a, const Timed& b) { return a.light_s > b.light_s; });
  LightFraction out;
  out.rows = static_cast<std::int64_t>(rows.size());
  std::vector<double> large;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (i <= rows.size() / 10) large.push_back(rows[i].fraction);
    out.best = std::max(out.best, rows[i].fraction);
  }
  std::sort(large.begin(), large.end());
  out.at_large = quantile_sorted(large, 0.5);
  return out;
}
}  // namespace

std::vector<LightFraction> fractions_of_light(const std::vector<MeasuredTable>& tables,
                                              const DeviceProfile& device, const Topology& topology) {
  const auto light = make_speed_of_light(device, topology);
  std::map<std::tuple<std::string, std::string, std::string>, std::vector<Timed>> groups;
  for (const auto& table : tables) {
    for (const auto& row : table.rows) {
      const double s = light->price(make_call(*table.cls, row.dims, row.dtype, row.weight_dtype)).time.value;
      if (s <= 0) continue;
      groups[{std::string(table.cls->name), formats_of(row), row.variant}].push_back({s, s / row.seconds});
    }
  }
  std::vector<LightFraction> out;
  for (auto& [key, rows] : groups) {
    out.push_back(summarise(std::move(rows)));
    std::tie(out.back().kernel_class, out.back().formats, out.back().variant) = key;
  }
  return out;
}

}  // namespace orrery::calibrate
