#include "scenario/validate_fabric.hpp"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <sstream>

#include <catch2/catch.hpp>

#include "base/error.hpp"
#include "support/reference_data.hpp"

using namespace orrery;

namespace {
std::vector<FabricRow> rows_or_none(const FabricValidation& settings) {
  try {
    return validate_fabric(settings);
  } catch (const ConfigError& e) {
    WARN("skipped: " << e.what());
    return {};
  }
}
}  // namespace

TEST_CASE("do priced collectives agree with their messages where bandwidth counts?") {
  FabricValidation settings;
  settings.bytes = {256e6};
  for (const FabricRow& r : rows_or_none(settings)) {
    INFO(name(r.kind) << " of " << r.ranks);
    CHECK(r.ratio() > 0.8);
    CHECK(r.ratio() < 1.25);
  }
}

TEST_CASE("does a lone message on the fabric take what NCCL's send/recv takes?") {
  // Two GPUs of one DGX H100, and one GPU on each of two servers; large messages, where latency is little.
  REQUIRE_REFERENCE_DATA(folder);
  std::ifstream table(folder + "/kernels/vidur_h100_dgx_send_recv.csv");
  std::string line;
  std::getline(table, line);
  std::vector<double> errors;
  Fabric fabric(
      ClusterTopology({{topology_for(load_device("h100-sxm")), 6.4e10, 16}}, load_network("rail-fat-tree")),
      "uncontended");
  Ps now{0};
  while (std::getline(table, line)) {
    std::vector<std::string> cells;
    std::stringstream in(line);
    for (std::string cell; std::getline(in, cell, ',');) cells.push_back(cell);
    const double bytes = std::stod(cells[8]), measured_s = std::stod(cells[4]) / 1e3;
    if (bytes < 3e7 || cells[7] != "2") continue;
    const int stride = cells[10] == "1" ? 8 : 1;
    const Ps took = run_collective(fabric, CollectiveKind::send_recv, 2, stride, bytes, now);
    now += took;
    errors.push_back(std::abs(to_seconds(took).value / measured_s - 1));
  }
  std::sort(errors.begin(), errors.end());
  CHECK(errors.size() > 100);
  CHECK(errors[errors.size() / 2] < 0.08);
  CHECK(errors.back() < 0.2);
}
