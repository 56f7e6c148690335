#include "cmd_calibrate.hpp"

#include <cstdio>
#include <filesystem>
#include <fstream>

#include <fmt/format.h>

#include "calibration/accuracy_page.hpp"
#include "calibration/engine_factor.hpp"
#include "calibration/fit.hpp"
#include "calibration/fit_merge.hpp"
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

int fit(const std::vector<std::string>& args) {
  std::string device_name, out, lender;
  std::vector<std::string> engine_tables;
  bool update = false;
  std::vector<std::string> rows;
  Options options("calibrate fit",
                  "Fit a device's kernel times on measured rows, and judge the fit on rows held out.");
  options.group("calibrate", "Calibration")
      .value("device", device_name, "GPU", "the device the rows were measured on")
      .value("rows", rows, "FILE", "a kernel table, or a folder of them; may be given several times")
      .value("borrow-from", lender, "GPU", "take the classes these rows lack from this device's fit, scaled")
      .value("engine-tables", engine_tables, "FILE",
             "published tables of engines' kernels, to compare ours with (engine kernel factors)")
      .flag("update", update, "keep from the device's present fit the classes and formats these rows lack")
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
  if (!engine_tables.empty()) {
    fitted.engine_kernel_factor =
        calibrate::engine_factors(device, fitted, calibrate::read_kernel_rows(engine_tables));
  }
  const std::string present = device.folder + "/fit.json";
  if (update && fs::exists(present)) calibrate::keep_missing(fitted, FitFile::load(present));
  if (!lender.empty()) {
    const auto from = load_device(lender);
    calibrate::borrow_missing(fitted, device, FitFile::load(from.folder + "/fit.json"), from);
  }
  if (out.empty()) out = present;
  const std::string text = fitted.to_json();
  write_file(out, text);
  if (options.output().json) {
    std::printf("%s", text.c_str());
    return 0;
  }
  if (!options.output().quiet) {
    print_held_out(fitted);
    for (const auto& line : describe(fitted.engine_kernel_factor)) fmt::print("{}\n", line);
  }
  fmt::print("wrote {}\n", out);
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
  const std::string page = calibrate::accuracy_page(fits, load_transfer_errors());
  if (out.empty()) {
    std::printf("%s", page.c_str());
  } else {
    write_file(out, page);
  }
  return 0;
}

int run(const std::vector<std::string>& args) {
  return dispatch("calibrate", "Kernel times: fit them on measured rows, and see how far off they are.",
                  {{"collect", "time every kernel on this machine's GPU", calibrate_collect},
                   {"fit", "measured rows to fit.json, with held-out errors", fit},
                   {"show", "sources and held-out errors of one device's fit", calibrate_show},
                   {"transfer", "one device's fit scaled to another, and its errors", calibrate_transfer},
                   {"report", "held-out errors of all devices as a page", report},
                   {"coverage", "shapes a workload needs, and what is measured", calibrate_coverage}},
                  args);
}

const Registration<Commands> registered{"calibrate", "fit kernel times on measured rows, show their errors",
                                        run};

}  // namespace
}  // namespace orrery
