#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <tuple>

#include <fmt/format.h>

#include "calibration/kernel_rows.hpp"
#include "calibration/transfer.hpp"
#include "cmd_calibrate.hpp"
#include "cost/scaled.hpp"
#include "options.hpp"

namespace orrery {

namespace {
/// Replaces this pair's entry in the file of transfers, or adds it.
void record(const TransferError& t) {
  auto all = load_transfer_errors();
  std::erase_if(all, [&](const TransferError& e) { return e.from == t.from && e.to == t.to; });
  all.push_back(t);
  std::sort(all.begin(), all.end(), [](const TransferError& a, const TransferError& b) {
    return std::tie(a.from, a.to) < std::tie(b.from, b.to);
  });
  std::ofstream out(transfer_file());
  out << to_json(all);
  out.close();
  if (!out) throw ConfigError("cannot write '" + transfer_file() + "'", "check that the folder is writable");
}
}  // namespace

int calibrate_transfer(const std::vector<std::string>& args) {
  std::string from_name, to_name;
  std::vector<std::string> rows;
  bool keep = false;
  Options options("calibrate transfer",
                  "How far one device's fit, scaled by datasheet ratios, is off on another one's tables.");
  options.group("calibrate", "Calibration")
      .value("from", from_name, "GPU", "the device whose fit is scaled")
      .value("to", to_name, "GPU", "the device whose tables judge it")
      .value("rows", rows, "FILE", "kernel tables of that device, or a folder of them")
      .flag("record", keep,
            "write the errors to hwprofiles/transfer.json: the error bars of unmeasured devices")
      .positionals("FILE", rows, "more kernel tables");
  options.example("orrery calibrate transfer --from h200-sxm --to h100-sxm --rows h100_sxm_gemm.csv");
  if (!options.parse(args)) return 0;
  if (from_name.empty() || to_name.empty())
    throw ConfigError("a transfer has two devices", "--from GPU --to GPU", ExitCode::usage);
  if (rows.empty())
    throw ConfigError("there is nothing to compare with", "--rows FILE or DIR", ExitCode::usage);
  const auto from = load_device(from_name), to = load_device(to_name);
  if (!std::filesystem::exists(from.folder + "/fit.json")) {
    throw ConfigError("'" + from.name + "' has no fit to scale", "orrery calibrate fit", ExitCode::no_device);
  }
  auto kernel_rows = calibrate::read_kernel_rows(rows);
  if (kernel_rows.sources.empty()) {
    throw ConfigError("none of these files is a kernel table of '" + to.name + "' to compare with",
                      "calibration/README.md lists the columns of each kind");
  }
  const TransferError t = calibrate::judge_transfer(from, to, std::move(kernel_rows));
  if (keep) record(t);
  if (options.output().json) {
    std::printf("%s", to_json({t}).c_str());
    return 0;
  }
  fmt::print("{}, predicted from the fit of {}\n\n", t.to, t.from);
  FitFile as_fit;
  as_fit.held_out = t.regions;
  print_held_out(as_fit);
  return 0;
}

}  // namespace orrery
