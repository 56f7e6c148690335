#include "scenario/fleet.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "base/error.hpp"
#include "scenario/meshes.hpp"
#include "scenario/placement.hpp"
#include "scenario/settings.hpp"
#include "scenario/value_forms.hpp"

namespace orrery {
namespace {

constexpr int kMostReplicas = 65536;

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> out;
  for (std::size_t start = 0; start <= text.size();) {
    const auto end = std::min(text.find(separator, start), text.size());
    if (end > start) out.push_back(text.substr(start, end - start));
    start = end + 1;
  }
  return out;
}

/// "1@60s": its two sides.
std::pair<std::string, std::string> halves(const std::string& text, char separator, const char* form) {
  const auto at = text.find(separator);
  if (at == std::string::npos || at == 0 || at + 1 == text.size())
    throw ConfigError(fmt::format("expected {}, found '{}'", form, text), {}, ExitCode::usage);
  return {text.substr(0, at), text.substr(at + 1)};
}

int parse_index(const std::string& text) {
  return static_cast<int>(parse_integer(text, 0, std::int64_t{kMostReplicas} * 64));
}

Ps ps_of(double seconds) {
  return to_ps(Seconds(seconds));
}

/// Replicas that lie on a GPU, or on a server's.
std::vector<int> replicas_on(const Deployment& d, const NamedOutage& outage) {
  if (outage.what == "replica") return {outage.index};
  const int node = d.topology.gpus_per_node;
  const int first = outage.what == "node" ? outage.index * node : outage.index;
  const int last = outage.what == "node" ? first + node : first + 1;
  std::vector<int> out;
  int gpus = 0;
  for (int r = 0; r < d.replicas(); ++r) {
    const ReplicaConfig& replica = d.cluster.replicas[static_cast<std::size_t>(r)];
    gpus = std::max(gpus, replica.first_gpu + replica.gpus);
    if (replica.first_gpu < last && replica.first_gpu + replica.gpus > first) out.push_back(r);
  }
  if (out.empty()) {
    const int most = outage.what == "node" ? (gpus + node - 1) / node : gpus;
    throw ConfigError(fmt::format("failures: no replica lies on {} {}", outage.what, outage.index),
                      fmt::format("{}=0 to {}={}", outage.what, outage.what, most - 1), ExitCode::usage);
  }
  return out;
}

/// How fast a replica's GPUs read weights when nobody else does; over links, where others might.
void choose_loading(const Scenario& s, Deployment& d, FleetConfig& fleet) {
  LoweringContext whole = d.lowering;
  whole.shard = {};
  fleet.cold_start.weights_bytes = d.model.weight_bytes(whole);
  const int gpus = place_replicas(d, 0);
  const NetworkProfile network = load_network(s.pools.network);
  if (s.fleet.weights_bandwidth) {
    fleet.cold_start.weights_bytes_per_s = *s.fleet.weights_bandwidth;
    return;
  }
  std::vector<std::string> unused;
  const std::string flows = choose_flows(s, unused);
  fleet.cold_start.weights_bytes_per_s = network.storage_bytes_per_s;
  if (flows != "simgrid") return;
  d.cluster.fabric = {
      std::make_shared<ClusterTopology>(std::vector<ServerGroup>{server_group(d, gpus)}, network), flows};
}

}  // namespace

std::vector<NamedOutage> parse_outages(const std::string& text) {
  constexpr const char* kForm = "replica=1@60s+30s (or gpu=, node=; from @, for +)";
  std::vector<NamedOutage> out;
  for (const std::string& one : split(text, ',')) {
    const auto [what, rest] = halves(one, '=', kForm);
    const auto [index, times] = halves(rest, '@', kForm);
    const auto [start, repair] = halves(times, '+', kForm);
    const std::vector<std::string> known{"replica", "gpu", "node"};
    if (std::find(known.begin(), known.end(), what) == known.end())
      throw ConfigError("'" + what + "' does not fail", suggestion(what, known), ExitCode::usage);
    out.push_back({what, parse_index(index), parse_duration_s(start), parse_duration_s(repair)});
  }
  return out;
}

std::vector<Drain> parse_drains(const std::string& text) {
  std::vector<Drain> out;
  for (const std::string& one : split(text, ',')) {
    const auto [replica, start] = halves(one, '@', "2@50s (a replica, and when)");
    out.push_back({parse_index(replica), ps_of(parse_duration_s(start))});
  }
  return out;
}

AutoscaleParams parse_autoscale(const std::string& text) {
  AutoscaleParams out;
  const auto replicas = [](const std::string& value) {
    return static_cast<int>(parse_integer(value, 1, kMostReplicas));
  };
  bool has_max = false;
  for (const auto& [key, value] : parse_named_spec("autoscale:" + text).fields) {
    if (key == "min") {
      out.min = replicas(value);
    } else if (key == "max") {
      out.max = replicas(value), has_max = true;
    } else if (key == "signal") {
      out.signal = parse_autoscale_signal(value);
    } else if (key == "target") {
      out.target = parse_number(value);
    } else if (key == "interval") {
      out.interval = ps_of(parse_duration_s(value));
    } else if (key == "cooldown") {
      out.cooldown = ps_of(parse_duration_s(value));
    } else {
      throw ConfigError("autoscaling has no '" + key + "'",
                        suggestion(key, {"min", "max", "signal", "target", "interval", "cooldown"}),
                        ExitCode::usage);
    }
  }
  if (!has_max || out.max < out.min)
    throw ConfigError(fmt::format("expected max of at least min ({}), found {}", out.min,
                                  has_max ? std::to_string(out.max) : "none"),
                      "min=1,max=8,signal=queue,target=4", ExitCode::usage);
  if (out.signal == AutoscaleParams::Signal::kv)
    throw ConfigError("the share of KV blocks in use is not watched yet", "signal=concurrency",
                      ExitCode::usage);
  if (out.target <= 0)
    throw ConfigError("expected a target above 0 for the signal", "signal=queue,target=4", ExitCode::usage);
  if (out.interval <= Ps(0))
    throw ConfigError("expected an interval above 0 s", "interval=15s", ExitCode::usage);
  return out;
}

bool has_fleet(const Scenario& s) {
  return !s.fleet.failures.empty() || !s.fleet.drain.empty() || !s.fleet.autoscale.empty() ||
         !s.fleet.meshes.empty() || s.fleet.mtbf_s > 0;
}

void deploy_fleet(const Scenario& s, Deployment& d) {
  FleetConfig fleet;
  if (!s.fleet.autoscale.empty()) {
    fleet.autoscale = parse_autoscale(s.fleet.autoscale);
    fleet.initial = std::clamp(d.replicas(), fleet.autoscale->min, fleet.autoscale->max);
    const ReplicaConfig replica = d.cluster.replicas.front();
    d.cluster.replicas.assign(static_cast<std::size_t>(fleet.autoscale->max), replica);
  }
  choose_loading(s, d, fleet);
  for (const NamedOutage& outage : parse_outages(s.fleet.failures)) {
    for (const int r : replicas_on(d, outage))
      fleet.outages.push_back({r, ps_of(outage.start_s), ps_of(outage.repair_s)});
  }
  if (!s.fleet.meshes.empty()) deploy_meshes(s, d, fleet);
  fleet.drains = parse_drains(s.fleet.drain);
  fleet.mtbf_s = s.fleet.mtbf_s, fleet.mttr_s = s.fleet.mttr_s;
  fleet.retry = s.fleet.retry == "resume"    ? RetryPolicy::resume
                : s.fleet.retry == "restart" ? RetryPolicy::restart
                                             : RetryPolicy::none;
  fleet.max_retries = s.fleet.max_retries;
  fleet.retry_delay = ps_of(s.fleet.retry_delay_s);
  fleet.cold_start.boot = ps_of(s.fleet.instance_boot_s);
  fleet.cold_start.image = ps_of(s.fleet.image_pull_s);
  fleet.cold_start.capture = ps_of(s.fleet.graph_capture_s);
  d.cluster.fleet = fleet;
}

}  // namespace orrery
