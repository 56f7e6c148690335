#include <algorithm>
#include <filesystem>

#include "base/data_dir.hpp"
#include "base/json.hpp"
#include "base/sourced.hpp"
#include "hw/cluster_topology.hpp"

namespace orrery {
namespace {

namespace fs = std::filesystem;

double positive(SourcedReader& sourced, JsonView& view, const std::string& key) {
  const double v = sourced.number(view, key);
  if (v <= 0) view.fail(key, "must be above zero, found " + sourced.figures().back().value);
  return v;
}

NetworkProfile read_network(const fs::path& file) {
  JsonView view(JsonDocument::load(file.string()));
  SourcedReader sourced(view);
  NetworkProfile n;
  n.name = view.text("name");
  n.rails = view.boolean_or("rails", true);
  n.servers_per_pod = static_cast<int>(view.integer("servers_per_pod"));
  if (n.servers_per_pod < 1) view.fail("servers_per_pod", "must be at least 1");
  n.spine_oversubscription = sourced.number(view, "spine_oversubscription");
  if (n.spine_oversubscription < 1) {
    view.fail("spine_oversubscription", "must be at least 1, found " + sourced.figures().back().value);
  }
  n.storage_bytes_per_s = positive(sourced, view, "storage_bytes_per_s");
  n.disk_read_bytes_per_s = positive(sourced, view, "disk_read_bytes_per_s");
  n.disk_write_bytes_per_s = positive(sourced, view, "disk_write_bytes_per_s");
  view.finish();
  return n;
}

}  // namespace

NetworkProfile load_network(const std::string& name_or_path) {
  std::error_code absent;
  if (fs::is_regular_file(name_or_path, absent)) return read_network(name_or_path);
  const fs::path folder = fs::path(data_dir()) / "hwprofiles" / "networks";
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder, absent)) {
    if (entry.path().extension() == ".json") names.push_back(entry.path().stem().string());
  }
  std::sort(names.begin(), names.end());
  if (std::find(names.begin(), names.end(), name_or_path) == names.end()) {
    throw ConfigError("unknown network '" + name_or_path + "'", suggestion(name_or_path, names));
  }
  return read_network(folder / (name_or_path + ".json"));
}

}  // namespace orrery
