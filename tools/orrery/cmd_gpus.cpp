#include <algorithm>
#include <cstdio>
#include <filesystem>

#include <fmt/format.h>

#include "command.hpp"
#include "cost/kernel_cost_model.hpp"
#include "cost/measured.hpp"
#include "cost/scaled.hpp"
#include "hw/device_profile.hpp"
#include "options.hpp"

namespace orrery {
namespace {

/// "measured" where kernels of this device were timed by us, "fitted" where a fit of somebody's rows is all,
/// "scaled from X" where they are another device's by the ratio of the datasheets, else "datasheet": a
/// roofline.
std::string calibration(const DeviceProfile& d) {
  namespace fs = std::filesystem;
  std::error_code ignored;
  if (has_measured_rows(d.folder + "/measured")) return "measured";
  if (fs::exists(fs::path(d.folder) / "fit.json", ignored)) return "fitted";
  const auto from = nearest_fitted(d);
  return from ? "scaled from " + from->name : std::string("datasheet");
}

std::string tera(double per_second) {
  return per_second > 0 ? fmt::format("{:.0f}", per_second * 1e-12) : std::string("-");
}

std::string shortest_alias(const DeviceProfile& d) {
  const auto shorter = [](const auto& a, const auto& b) { return a.size() < b.size(); };
  const auto found = std::min_element(d.aliases.begin(), d.aliases.end(), shorter);
  return found == d.aliases.end() ? "" : *found;
}

Json summary(const DeviceProfile& d) {
  Json peaks = Json::object();
  for (int t = 0; t < kDTypeCount; ++t) {
    const auto dtype = static_cast<DType>(t);
    if (d.tensor_peak(dtype) > 0) peaks[std::string(name(dtype))] = d.tensor_peak(dtype);
  }
  return {{"name", d.name},
          {"aliases", d.aliases},
          {"vendor", d.vendor},
          {"architecture", d.architecture},
          {"memory_bytes", d.memory_bytes},
          {"memory_bandwidth_bytes_per_s", d.memory_bandwidth_bytes_per_s},
          {"dense_tensor_flops_per_s", peaks},
          {"vector_flops_per_s", d.vector_flops_per_s},
          {"nvlink_bytes_per_s", d.nvlink_bytes_per_s},
          {"tdp_watts", d.tdp_watts},
          {"calibration", calibration(d)}};
}

int list(const std::vector<std::string>& args) {
  Options options("gpus list",
                  "The devices Orrery knows: memory, dense peaks and how well their kernels are known.");
  if (!options.parse(args)) return 0;
  const auto devices = list_devices();
  if (options.output().json) {
    Json all = Json::array();
    for (const auto& d : devices) all.push_back(summary(d));
    std::printf("%s\n", all.dump(2).c_str());
    return 0;
  }
  fmt::print("{:<15}{:<10}{:>8}{:>8}{:>8}{:>8}{:>8}{:>7}  {}\n", "", "", "memory", "mem bw", "bf16", "fp8",
             "link", "power", "");
  fmt::print("{:<15}{:<10}{:>8}{:>8}{:>8}{:>8}{:>8}{:>7}  {}\n", "gpu", "alias", "GiB", "TB/s", "TFLOP/s",
             "TFLOP/s", "GB/s", "W", "kernel times");
  for (const auto& d : devices) {
    const double link = d.nvlink_bytes_per_s > 0 ? d.nvlink_bytes_per_s : d.pcie_bytes_per_s;
    fmt::print("{:<15}{:<10}{:>8.1f}{:>8.2f}{:>8}{:>8}{:>8.0f}{:>7.0f}  {}\n", d.name, shortest_alias(d),
               d.memory_bytes / kGiB, d.memory_bandwidth_bytes_per_s * 1e-12,
               tera(d.tensor_peak(DType::bf16)), tera(d.tensor_peak(DType::fp8)), link * 1e-9, d.tdp_watts,
               calibration(d));
  }
  return 0;
}

/// A number as people read it: 3.35e+12, 132, 79.11 GiB where the key says bytes of capacity.
std::string readable(const SourcedFigure& f) {
  if (f.key == "memory_bytes" || f.key == "l2_bytes") {
    const double bytes = Json::parse(f.value).get<double>();
    return bytes >= kGiB ? fmt::format("{:.2f} GiB", bytes / kGiB)
                         : fmt::format("{:.0f} MiB", bytes / (1024.0 * 1024.0));
  }
  return fmt::format("{:.6g}", Json::parse(f.value).get<double>());
}

void print_figures(const DeviceProfile& d) {
  std::vector<std::string> sources;
  for (const auto& f : d.figures) {
    auto known = std::find(sources.begin(), sources.end(), f.source);
    if (known == sources.end()) known = sources.insert(sources.end(), f.source);
    fmt::print("  {:<32}{:>12}  [{}]{}\n", f.key, readable(f), known - sources.begin() + 1,
               f.note.empty() ? "" : " " + f.note);
  }
  fmt::print("\n");
  for (std::size_t i = 0; i < sources.size(); ++i) fmt::print("  [{}] {}\n", i + 1, sources[i]);
}

void print_device(const DeviceProfile& d, const Topology& node,
                  const std::vector<std::string>& cost_sources) {
  fmt::print("{} ({} {}), also called {}\n\n", d.name, d.vendor, d.architecture,
             d.aliases.empty() ? "nothing else" : fmt::format("{}", fmt::join(d.aliases, ", ")));
  print_figures(d);
  fmt::print("\nnode          {}: {} GPUs, {:.0f} GB/s each way per GPU{}, {:.1f} GB/s to other nodes\n",
             node.name, node.gpus_per_node, node.gpu_link_bytes_per_s * 1e-9,
             node.all_to_all ? ", all to all" : "", node.nic_bytes_per_s * 1e-9);
  fmt::print("kernel times  {}\n", calibration(d));
  for (const auto& line : cost_sources) fmt::print("  {}\n", line);
}

int show(const std::vector<std::string>& args) {
  std::string wanted;
  Options options("gpus show",
                  "Every figure of a device with its source, and what its kernel times rest on.");
  options.group("device", "Device").positional("GPU", wanted, "name, alias, or path of a device folder");
  options.example("orrery gpus show h100");
  if (!options.parse(args)) return 0;
  const auto d = load_device(wanted);
  const auto node = topology_for(d);
  const auto cost_sources = best_cost_model(d, node)->sources();
  if (!options.output().json) {
    print_device(d, node, cost_sources);
    return 0;
  }
  Json out = summary(d);
  out["folder"] = d.folder;
  for (const auto& f : d.figures) {
    out["figures"][f.key] = {{"value", Json::parse(f.value)}, {"source", f.source}, {"note", f.note}};
  }
  out["node"] = {{"name", node.name},
                 {"gpus_per_node", node.gpus_per_node},
                 {"gpu_link_bytes_per_s", node.gpu_link_bytes_per_s},
                 {"all_to_all", node.all_to_all},
                 {"nic_bytes_per_s", node.nic_bytes_per_s}};
  out["cost_sources"] = cost_sources;
  std::printf("%s\n", out.dump(2).c_str());
  return 0;
}

int run(const std::vector<std::string>& args) {
  if (std::all_of(args.begin(), args.end(), is_output_flag)) return list(args);
  return dispatch("gpus", "The devices Orrery knows.",
                  {{"list", "memory, dense peaks and calibration of every device", list},
                   {"show", "every figure of one device with its source", show}},
                  args);
}

const Registration<Commands> registered{"gpus", "list the devices, or show one with its sources", run};

}  // namespace
}  // namespace orrery
