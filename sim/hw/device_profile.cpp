#include "hw/device_profile.hpp"

#include <algorithm>
#include <cctype>
#include <filesystem>

#include "base/data_dir.hpp"

namespace orrery {
namespace {

namespace fs = std::filesystem;

std::string canonical(std::string name) {
  std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) {
    return c == '_' || c == ' ' ? '-' : static_cast<char>(std::tolower(c));
  });
  return name;
}

fs::path profiles() {
  return fs::path(data_dir()) / "hwprofiles";
}

/// A figure that must not be negative, or must be above zero where the device could not run without it.
double checked(SourcedReader& sourced, JsonView& view, const std::string& key, bool positive) {
  const double v = sourced.number(view, key);
  if (v < 0 || (positive && v == 0)) {
    view.fail(key, std::string(positive ? "must be above zero" : "must not be negative") + ", found " +
                       sourced.figures().back().value);
  }
  return v;
}

void read_peaks(SourcedReader& sourced, JsonView& view, DeviceProfile& d) {
  JsonView peaks = view.object("dense_tensor_flops_per_s");
  for (int t = 0; t < kDTypeCount; ++t) {
    const std::string key(name(static_cast<DType>(t)));
    if (!peaks.has(key)) continue;
    const double v = sourced.number(peaks, key, "dense_tensor_flops_per_s.");
    if (v <= 0) peaks.fail(key, "must be above zero; leave the format out when the matrix units lack it");
    d.tensor_flops_per_s[static_cast<std::size_t>(t)] = v;
  }
  peaks.finish();
  if (d.tensor_peak(DType::bf16) <= 0) view.fail("dense_tensor_flops_per_s", "bf16 is required");
}

DeviceProfile read_device(const fs::path& folder) {
  JsonView view(JsonDocument::load((folder / "device.json").string()));
  DeviceProfile d;
  d.folder = folder.string();
  d.name = view.text("name");
  d.aliases = view.texts_or("aliases", {});
  d.vendor = view.text("vendor");
  d.architecture = view.text("architecture");
  SourcedReader sourced(view);
  read_peaks(sourced, view, d);
  d.vector_flops_per_s = checked(sourced, view, "vector_flops_per_s", true);
  d.memory_bandwidth_bytes_per_s = checked(sourced, view, "memory_bandwidth_bytes_per_s", true);
  d.memory_bytes = checked(sourced, view, "memory_bytes", true);
  d.l2_bytes = checked(sourced, view, "l2_bytes", true);
  d.sm_count = static_cast<int>(checked(sourced, view, "sm_count", true));
  d.nvlink_bytes_per_s = checked(sourced, view, "nvlink_bytes_per_s", false);
  d.pcie_bytes_per_s = checked(sourced, view, "pcie_bytes_per_s", true);
  d.tdp_watts = checked(sourced, view, "tdp_watts", true);
  d.idle_watts = sourced.number_or(view, "idle_watts", 0);
  if (view.has("usd_per_hour")) d.usd_per_hour = checked(sourced, view, "usd_per_hour", false);
  view.finish();
  d.figures = sourced.figures();
  return d;
}

bool has_device(const fs::path& folder) {
  std::error_code ignored;
  return fs::is_regular_file(folder / "device.json", ignored);
}

std::vector<fs::path> device_folders() {
  std::vector<fs::path> out;
  std::error_code failed;
  for (const auto& entry : fs::directory_iterator(profiles(), failed)) {
    if (has_device(entry.path())) out.push_back(entry.path());
  }
  if (failed)
    throw ConfigError("no device profiles: cannot read '" + profiles().string() + "'", "set ORRERY_DATA");
  std::sort(out.begin(), out.end());
  return out;
}

bool answers_to(const DeviceProfile& d, const std::string& wanted) {
  return canonical(d.name) == wanted ||
         std::any_of(d.aliases.begin(), d.aliases.end(),
                     [&](const auto& alias) { return canonical(alias) == wanted; });
}

Topology read_topology(const fs::path& file) {
  JsonView view(JsonDocument::load(file.string()));
  SourcedReader sourced(view);
  Topology t;
  t.name = view.text("name");
  t.device = view.text("device");
  t.host = view.text_or("host", "");
  t.gpus_per_node = static_cast<int>(view.integer("gpus_per_node"));
  if (t.gpus_per_node < 1) view.fail("gpus_per_node", "must be at least 1");
  if (view.has("gpu_link_bytes_per_s")) {
    t.gpu_link_bytes_per_s = checked(sourced, view, "gpu_link_bytes_per_s", true);
  }
  t.all_to_all = view.boolean_or("all_to_all", true);
  t.nic_bytes_per_s = checked(sourced, view, "nic_bytes_per_s", true);
  view.finish();
  return t;
}

}  // namespace

std::vector<DeviceProfile> list_devices() {
  std::vector<DeviceProfile> out;
  for (const auto& folder : device_folders()) out.push_back(read_device(folder));
  return out;
}

DeviceProfile load_device(const std::string& name_or_path) {
  if (has_device(name_or_path)) return read_device(name_or_path);
  const auto wanted = canonical(name_or_path);
  if (wanted.find('/') == std::string::npos && !wanted.empty() && has_device(profiles() / wanted)) {
    return read_device(profiles() / wanted);
  }
  std::vector<std::string> names, spellings;
  for (auto& d : list_devices()) {
    if (answers_to(d, wanted)) return d;
    names.push_back(d.name);
    spellings.push_back(d.name);
    spellings.insert(spellings.end(), d.aliases.begin(), d.aliases.end());
  }
  throw ConfigError("unknown GPU '" + name_or_path + "'",
                    suggestion(wanted, nearest(wanted, spellings).empty() ? names : spellings));
}

Topology topology_for(const DeviceProfile& device) {
  std::vector<fs::path> files;
  std::error_code absent;
  for (const auto& entry : fs::directory_iterator(profiles() / "nodes", absent)) {
    if (entry.path().extension() == ".json") files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  Topology chosen;
  for (const auto& file : files) {
    const Topology t = read_topology(file);
    if (t.device == device.name) {
      chosen = t;
      break;
    }
    if (t.device == "*") chosen = t;
  }
  if (chosen.name.empty()) chosen.name = "peers";
  if (chosen.gpu_link_bytes_per_s == 0) {
    const bool nvlink = device.nvlink_bytes_per_s > 0;
    chosen.gpu_link_bytes_per_s = nvlink ? device.nvlink_bytes_per_s : device.pcie_bytes_per_s;
    chosen.all_to_all = nvlink;
  }
  chosen.device = device.name;
  return chosen;
}

}  // namespace orrery
