#include "dram_report.hpp"

#include <algorithm>
#include <map>

#include <fmt/format.h>

#include "base/quantile.hpp"

namespace orrery::profile {

void print_dram_report(const std::vector<CountedBytes>& rows) {
  std::map<std::string, std::vector<double>> ratios;
  for (const CountedBytes& row : rows) {
    if (row.work_bytes > 0) ratios[row.cls].push_back(row.dram_bytes / row.work_bytes);
  }
  if (ratios.empty()) return;
  fmt::print("DRAM bytes / counted bytes\n{:<26}{:>6}{:>9}{:>9}\n", "class", "cases", "median", "p90");
  for (auto& [cls, of_class] : ratios) {
    std::sort(of_class.begin(), of_class.end());
    fmt::print("{:<26}{:>6}{:>9.3f}{:>9.3f}\n", cls, of_class.size(), quantile_sorted(of_class, 0.5),
               quantile_sorted(of_class, 0.9));
  }
}

}  // namespace orrery::profile
