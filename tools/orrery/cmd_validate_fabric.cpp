#include <cstdio>

#include <fmt/format.h>

#include "cmd_validate.hpp"
#include "options.hpp"
#include "scenario/validate_fabric.hpp"

namespace orrery {
namespace {

std::string table(const std::vector<FabricRow>& rows, const std::string& fabric) {
  std::string out = fmt::format(" {:<15}{:>6}{:>9}{:>11}{:>12}{:>12}{:>8}\n", "collective", "ranks",
                                "servers", "MB", "priced us", fabric + " us", "ratio");
  for (const FabricRow& r : rows) {
    out += fmt::format(" {:<15}{:>6}{:>9}{:>11.3f}{:>12.1f}{:>12.1f}{:>8.2f}\n", name(r.kind), r.ranks,
                       r.servers, r.bytes / 1e6, r.priced_s * 1e6, r.run_s * 1e6, r.ratio());
  }
  return out;
}

}  // namespace

int run_validate_fabric(const std::vector<std::string>& args) {
  FabricValidation settings;
  Options options("validate fabric",
                  "Prices collectives as steps do (alpha-beta) and runs them as messages that share links.");
  options.group("fabric", "Cluster")
      .value("gpu", settings.gpu, "GPU", "device, whose servers are joined (default h100-sxm)")
      .value("network", settings.network, "NETWORK", "how (default rail-fat-tree)")
      .value("fabric", settings.fabric, "simgrid|uncontended", "how messages share links (default simgrid)");
  options.example("orrery validate fabric --gpu a100-sxm-80g");
  if (!options.parse(args)) return 0;
  const auto rows = validate_fabric(settings);
  const std::string text =
      options.output().json ? to_json(rows).dump(2) + "\n" : table(rows, settings.fabric);
  std::fputs(text.c_str(), stdout);
  return 0;
}

}  // namespace orrery
