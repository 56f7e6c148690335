#include "hw/host_profile.hpp"

#include <algorithm>
#include <filesystem>

#include "base/data_dir.hpp"
#include "base/error.hpp"

namespace orrery {
namespace {

namespace fs = std::filesystem;

fs::path hosts() {
  return fs::path(data_dir()) / "hwprofiles" / "hosts";
}

double positive(SourcedReader& sourced, JsonView& view, const std::string& key) {
  const double v = sourced.number(view, key);
  if (v <= 0) view.fail(key, "must be above zero, found " + sourced.figures().back().value);
  return v;
}

HostProfile read_host(const fs::path& file) {
  JsonView view(JsonDocument::load(file.string()));
  HostProfile h;
  h.name = view.text("name");
  SourcedReader sourced(view);
  h.cores = static_cast<int>(positive(sourced, view, "cores"));
  h.flops_per_s = positive(sourced, view, "flops_per_s");
  h.memory_bandwidth_bytes_per_s = positive(sourced, view, "memory_bandwidth_bytes_per_s");
  h.memory_bytes = positive(sourced, view, "memory_bytes");
  if (view.has("disk_bytes")) {
    h.disk_bytes = positive(sourced, view, "disk_bytes");
    h.disk_read_bytes_per_s = positive(sourced, view, "disk_read_bytes_per_s");
    h.disk_write_bytes_per_s = positive(sourced, view, "disk_write_bytes_per_s");
  }
  view.finish();
  h.figures = sourced.figures();
  return h;
}

}  // namespace

std::vector<std::string> list_hosts() {
  std::vector<std::string> names;
  std::error_code absent;
  for (const auto& entry : fs::directory_iterator(hosts(), absent)) {
    if (entry.path().extension() == ".json") names.push_back(entry.path().stem().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

HostProfile load_host(const std::string& name_or_path) {
  const fs::path given(name_or_path);
  if (given.extension() == ".json") return read_host(given);
  const auto names = list_hosts();
  if (std::find(names.begin(), names.end(), name_or_path) != names.end())
    return read_host(hosts() / (name_or_path + ".json"));
  throw ConfigError("unknown host '" + name_or_path + "'", suggestion(name_or_path, names), ExitCode::usage);
}

}  // namespace orrery
