#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <set>

#include <fmt/format.h>

#include "base/json.hpp"
#include "calibration/speed_of_light.hpp"
#include "cmd_calibrate.hpp"
#include "cost/fit_file.hpp"
#include "hw/device_profile.hpp"
#include "options.hpp"

namespace orrery {

namespace {
namespace fs = std::filesystem;

/// One line per origin: the classes that rest on it, then its tables.
void print_sources(const FitFile& f, bool own) {
  std::set<std::string> classes;
  for (const auto& s : f.sources) {
    if (s.own == own) classes.insert(s.classes.begin(), s.classes.end());
  }
  const bool any =
      std::any_of(f.sources.begin(), f.sources.end(), [&](const auto& s) { return s.own == own; });
  if (!any) return;
  fmt::print("fitted from {}: {}\n", own ? "our own measurements" : "public tables",
             fmt::join(classes, ", "));
  for (const auto& s : f.sources) {
    if (s.own == own) fmt::print("  {:>6} rows  {} ({})\n", s.rows, s.file, s.source);
  }
}
void print_energy(const EnergyFit& e) {
  fmt::print("energy: {:.0f} W idle, {:.3g} pJ per DRAM byte", e.idle_w, 1e12 * e.dram_j_per_byte);
  for (std::size_t t = 0; t < e.tensor_j_per_flop.size(); ++t) {
    const double j = e.tensor_j_per_flop[t];
    if (j > 0) fmt::print(", {:.3g} pJ per {} FLOP", 1e12 * j, name(static_cast<DType>(t)));
  }
  if (e.vector_j_per_flop > 0) fmt::print(", {:.3g} pJ per vector FLOP", 1e12 * e.vector_j_per_flop);
  fmt::print("; off by {:.1f}% in the median, {:.1f}% at p90, on {} rows of {}\n", 100 * e.median_abs,
             100 * e.p90_abs, e.rows, e.source);
}
/// How near our kernels come to the datasheet, from this device's own rows.
void print_light(const DeviceProfile& device) {
  std::vector<MeasuredTable> tables;
  for (const auto& path : csv_files(device.folder + "/measured")) tables.push_back(read_measured_table(path));
  const auto rows = calibrate::fractions_of_light(tables, device, topology_for(device));
  if (rows.empty()) return;
  fmt::print("\n{:<28}{:<16}{:<22}{:>6}{:>16}{:>8}\n", "speed of light, %", "", "kernel", "rows",
             "large shapes", "best");
  for (const auto& r : rows) {
    fmt::print("{:<28}{:<16}{:<22}{:>6}{:>16.0f}{:>8.0f}\n", r.kernel_class, r.formats, r.variant, r.rows,
               100 * r.at_large, 100 * r.best);
  }
}
}  // namespace

void print_held_out(const FitFile& f) {
  fmt::print("{:<19}{:<11}{:<30}{:<8}{:>6}{:>9}{:>7}{:>7}  {}\n", "class", "", "region", "held", "n",
             "median %", "p90 %", "bias %", "target");
  for (const auto& h : f.held_out) {
    const std::string target = h.target_median > 0
                                   ? fmt::format("{:.0f} / {:.0f}", 100 * h.target_median, 100 * h.target_p90)
                                   : std::string();
    fmt::print("{:<19}{:<11}{:<30}{:<8}{:>6}{:>9.1f}{:>7.1f}{:>+7.1f}  {}\n", h.kernel_class, h.dtype,
               h.region, h.split, h.rows, 100 * h.median_abs, 100 * h.p90_abs, 100 * h.bias, target);
  }
}

int calibrate_show(const std::vector<std::string>& args) {
  std::string device_name;
  Options options("calibrate show",
                  "What a device's fit rests on and how far it is off on rows held out of it.");
  options.group("calibrate", "Calibration").positional("GPU", device_name, "a device with a fit.json");
  if (!options.parse(args)) return 0;
  const auto device = load_device(device_name);
  const std::string path = device.folder + "/fit.json";
  if (!fs::exists(path)) {
    throw ConfigError("'" + device.name + "' has no fit of its own",
                      "orrery calibrate fit makes one from measured rows", ExitCode::no_device);
  }
  if (options.output().json) {
    std::printf("%s\n", JsonDocument::load(path)->root().dump(2).c_str());
    return 0;
  }
  const auto fitted = FitFile::load(path);
  fmt::print("{}\n", fitted.device);
  print_sources(fitted, true);
  print_sources(fitted, false);
  for (const auto& line : describe(fitted.engine_kernel_factor)) fmt::print("{}\n", line);
  if (fitted.energy) print_energy(*fitted.energy);
  fmt::print("\n");
  print_held_out(fitted);
  print_light(device);
  return 0;
}

}  // namespace orrery
