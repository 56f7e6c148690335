#include "cmd_calibrate.hpp"

#include <cstdio>
#include <filesystem>
#include <fstream>

#include <fmt/format.h>

#include "base/json.hpp"
#include "calibration/accuracy_page.hpp"
#include "calibration/fit.hpp"
#include "command.hpp"
#include "options.hpp"

namespace orrery {
namespace {

namespace fs = std::filesystem;

void write_file(const std::string& path, const std::string& text) {
  std::ofstream out(path);
  out << text;
  out.close();
  if (!out) throw ConfigError("cannot write '" + path + "'", "check that the folder exists and has room");
}

void print_held_out(const FitFile& f) {
  fmt::print("{:<19}{:<6}{:<30}{:<8}{:>6}{:>9}{:>7}{:>7}  {}\n", "class", "", "region", "held", "n",
             "median %", "p90 %", "bias %", "target");
  for (const auto& h : f.held_out) {
    const std::string target = h.target_median > 0
                                   ? fmt::format("{:.0f} / {:.0f}", 100 * h.target_median, 100 * h.target_p90)
                                   : std::string();
    fmt::print("{:<19}{:<6}{:<30}{:<8}{:>6}{:>9.1f}{:>7.1f}{:>+7.1f}  {}\n", h.kernel_class, h.dtype,
               h.region, h.split, h.rows, 100 * h.median_abs, 100 * h.p90_abs, 100 * h.bias, target);
  }
}

int fit(const std::vector<std::string>& args) {
  std::string device_name, out, lender;
  std::vector<std::string> rows;
  Options options("calibrate fit",
                  "Fit a device's kernel times on measured rows, and judge the fit on rows held out.");
  options.group("calibrate", "Calibration")
      .value("device", device_name, "GPU", "the device the rows were measured on")
      .value("rows", rows, "FILE", "a kernel table, or a folder of them; may be given several times")
      .value("borrow-from", lender, "GPU", "take the classes these rows lack from this device's fit, scaled")
      .value("out", out, "FILE", "where to write (default: fit.json in the device's folder)")
      .positionals("FILE", rows, "more kernel tables");
  options.example(
      "orrery calibrate fit --device h100-sxm --out fit.json h100_sxm_gemm.csv h100_sxm_nccl.csv");
  if (!options.parse(args)) return 0;
  if (device_name.empty())
    throw ConfigError("which device were the rows measured on?", "--device GPU", ExitCode::usage);
  if (rows.empty()) throw ConfigError("there is nothing to fit", "--rows FILE or DIR", ExitCode::usage);
  const auto device = load_device(device_name);
  const auto kernel_rows = calibrate::read_kernel_rows(rows);
  for (const auto& note : kernel_rows.notes) fmt::print(stderr, "note: {}\n", note);
  FitFile fitted = calibrate::fit(device, kernel_rows);
  if (!lender.empty()) {
    const auto from = load_device(lender);
    calibrate::borrow_missing(fitted, device, FitFile::load(from.folder + "/fit.json"), from);
  }
  if (out.empty()) out = device.folder + "/fit.json";
  const std::string text = fitted.to_json();
  write_file(out, text);
  if (options.output().json) {
    std::printf("%s", text.c_str());
    return 0;
  }
  if (!options.output().quiet) print_held_out(fitted);
  fmt::print("wrote {}\n", out);
  return 0;
}

int show(const std::vector<std::string>& args) {
  std::string device_name;
  Options options("calibrate show",
                  "What a device's fit rests on and how far it is off on rows held out of it.");
  options.group("calibrate", "Calibration").positional("GPU", device_name, "a device with a fit.json");
  if (!options.parse(args)) return 0;
  const auto device = load_device(device_name);
  const std::string path = device.folder + "/fit.json";
  if (!fs::exists(path)) {
    throw ConfigError("'" + device.name + "' has no fit: its times come from the datasheet",
                      "orrery calibrate fit makes one from measured rows", ExitCode::no_device);
  }
  if (options.output().json) {
    std::printf("%s\n", JsonDocument::load(path)->root().dump(2).c_str());
    return 0;
  }
  const auto fitted = FitFile::load(path);
  fmt::print("{}, fitted on\n", fitted.device);
  for (const auto& s : fitted.sources) fmt::print("  {:>6} rows  {}: {}\n", s.rows, s.file, s.source);
  fmt::print("\n");
  print_held_out(fitted);
  return 0;
}

int report(const std::vector<std::string>& args) {
  std::string out;
  Options options("calibrate report",
                  "The held-out errors of every fitted device as a page (docs/accuracy-kernels.md).");
  options.group("calibrate", "Calibration").value("out", out, "FILE", "write there instead of stdout");
  if (!options.parse(args)) return 0;
  std::vector<FitFile> fits;
  for (const auto& d : list_devices()) {
    if (fs::exists(d.folder + "/fit.json")) fits.push_back(FitFile::load(d.folder + "/fit.json"));
  }
  const std::string page = calibrate::accuracy_page(fits);
  if (out.empty()) {
    std::printf("%s", page.c_str());
  } else {
    write_file(out, page);
  }
  return 0;
}

int run(const std::vector<std::string>& args) {
  return dispatch("calibrate", "Kernel times: fit them on measured rows, and see how far off they are.",
                  {{"fit", "measured rows to fit.json, with held-out errors", fit},
                   {"show", "sources and held-out errors of one device's fit", show},
                   {"report", "held-out errors of all devices as a page", report},
                   {"coverage", "shapes a workload needs, and what is measured", calibrate_coverage}},
                  args);
}

const Registration<Commands> registered{"calibrate", "fit kernel times on measured rows, show their errors",
                                        run};

}  // namespace
}  // namespace orrery
