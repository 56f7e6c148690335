#include "calibration/transfer.hpp"

#include <set>

#include "calibration/judge.hpp"

namespace orrery::calibrate {

TransferError judge_transfer(const DeviceProfile& from, const DeviceProfile& to, KernelRows rows) {
  const FitFile fit = FitFile::load(from.folder + "/fit.json");
  std::set<std::string> borrowed;
  for (const auto& r : fit.row_kernels) {
    if (r.scaled_from == to.name) borrowed.insert(r.kernel_class);
  }
  for (const auto& c : fit.collectives) {
    if (c.scaled_from == to.name) borrowed.insert(c.kernel_class);
  }
  std::set<std::string> scaled;
  for (const auto& g : fit.generic) {
    if (g.scaled_from != to.name) scaled.insert(g.kernel_class);
  }
  const auto from_there = [&](const auto& r) { return borrowed.contains(r.kernel_class); };
  std::erase_if(rows.row_kernels, from_there);
  std::erase_if(rows.collectives, from_there);
  std::erase_if(rows.generic,
                [&](const GenericRow& r) { return !scaled.contains(std::string(r.cls->name)); });
  std::erase_if(rows.layers,
                [&](const LayerRow& r) { return !scaled.contains(std::string(r.target->name)); });
  const Topology alone;  // no links of its own: collectives are priced as scaled
  auto judged = judge_all(to, rows, ScaledModel(from, to, alone));
  return {from.name, to.name, from.architecture == to.architecture, std::move(judged.regions),
          std::move(judged.errors)};
}

}  // namespace orrery::calibrate
