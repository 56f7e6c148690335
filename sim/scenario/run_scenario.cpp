#include "scenario/run_scenario.hpp"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <memory>

#include <fmt/format.h>
#include <unistd.h>

#include "report/confidence.hpp"
#include "report/report_page.hpp"
#include "scenario/headroom.hpp"
#include "scenario/recorders.hpp"
#include "scenario/resimulate.hpp"
#include "scenario/run_details.hpp"
#include "scenario/run_info.hpp"
#include "workload/request_list.hpp"

namespace orrery {

namespace {

/// Replicas that come and go are idle, and cost, while they are there.
void bill(const FleetSummary& fleet, const Deployment& d, Summary& s) {
  double gpu_s = 0;
  for (std::size_t r = 0; r < fleet.billed_by_replica_s.size(); ++r) {
    const double there = fleet.billed_by_replica_s[r];
    gpu_s += there * d.cluster.replicas[r].pricer->shard().gpus();
    if (r < s.gpu.size()) s.gpu[r].idle_s = std::max(0.0, there - s.gpu[r].decode_s - s.gpu[r].prefill_s);
  }
  if (!s.info.usd_per_gpu_hour || s.total_output_tokens == 0) return;
  s.usd_per_million_output_tokens =
      *s.info.usd_per_gpu_hour * gpu_s / 3600 / static_cast<double>(s.total_output_tokens) * 1e6;
}

/// Where the servers would saturate under the requests that were completed.
std::optional<double> headroom(const Summary& s, const Deployment& d) {
  if (s.completed == 0) return std::nullopt;
  const auto n = static_cast<double>(s.completed);
  MeanRequest r;
  r.held_tokens = static_cast<double>(s.total_input_tokens) / n;
  r.prompt_tokens = std::max(1.0, static_cast<double>(s.total_input_tokens - s.cached_tokens) / n);
  r.output_tokens = static_cast<double>(s.total_output_tokens) / n;
  const auto& replica = d.cluster.replicas.front();
  const double rate = saturation_rate(*replica.pricer, replica.scheduler, replica.kv, r) * d.replicas();
  if (rate <= 0) return std::nullopt;
  return rate;
}

/// What a run added to its pricer's account: a - b.
TimeShares difference(TimeShares a, const TimeShares& b) {
  for (const auto& [name, seconds] : b.by_class) a.by_class[name] -= seconds;
  for (const auto& [key, seconds] : b.by_class_provenance) a.by_class_provenance[key] -= seconds;
  for (std::size_t i = 0; i < a.by_provenance.size(); ++i) a.by_provenance[i] -= b.by_provenance[i];
  a.host -= b.host, a.draft -= b.draft;
  return a;
}

/// What all pricers of a deployment have in their accounts.
TimeShares account(const Deployment& d) {
  std::vector<const StepPricer*> seen;
  TimeShares all;
  for (const ReplicaConfig& replica : d.cluster.replicas) {
    if (std::find(seen.begin(), seen.end(), replica.pricer.get()) != seen.end()) continue;
    seen.push_back(replica.pricer.get());
    const TimeShares shares = replica.pricer->shares();
    for (const auto& [name, seconds] : shares.by_class) all.by_class[name] += seconds;
    for (const auto& [key, seconds] : shares.by_class_provenance) all.by_class_provenance[key] += seconds;
    for (std::size_t i = 0; i < all.by_provenance.size(); ++i)
      all.by_provenance[i] += shares.by_provenance[i];
    all.host += shares.host, all.draft += shares.draft;
  }
  return all;
}

Manifest make_manifest(const Scenario& s, const RunOptions& o, const Deployment& d, const RunResult& r) {
  Manifest m;
  m.argv = o.argv;
  m.seed = s.seed;
  m.notes = r.notes;
  m.wall_s = r.wall_s;
  m.interrupted = r.simulation.interrupted;
  m.live = o.platform;
  for (const auto& v : resolved_values(s, &d)) {
    if (!v.value.is_null()) m.config.push_back({v.name, OrderedJson(v.value), v.origin});
  }
  for (const std::string& path : {s.workload.trace, s.workload.input.trace, s.workload.output.trace}) {
    if (!path.empty() && !is_builtin(path)) m.inputs.push_back(describe_input(path));
  }
  char host[256] = {};
  if (gethostname(host, sizeof host - 1) == 0) m.host = host;
  return m;
}

}  // namespace

RunResult run_deployed(const Deployment& d, const Scenario& scenario, const RunOptions& options) {
  const auto started = std::chrono::steady_clock::now();
  ClusterConfig cluster = d.cluster;
  cluster.stop = options.stop;
  cluster.seed = scenario.seed;
  for (ReplicaConfig& replica : cluster.replicas) replica.scheduler.seed = scenario.seed;
  const RequestSourcePtr source = make_source(workload_for(scenario, d), scenario.seed);
  std::unique_ptr<RunDirectory> directory;
  if (!options.out.empty()) directory = std::make_unique<RunDirectory>(options.out);
  Recorders recorders(scenario, options, d, source->total());
  const TimeShares before = account(d);

  RunResult r;
  const bool live = static_cast<bool>(options.engine);
  r.simulation =
      live ? options.engine(cluster, *source, recorders.all()) : simulate(cluster, *source, recorders.all());
  r.summary = recorders.metrics().summary(run_info(scenario, d));
  r.summary.interrupted = r.simulation.interrupted;
  r.summary.evicted_blocks = r.simulation.evicted_blocks;
  r.summary.warnings.insert(r.summary.warnings.begin(), d.warnings.begin(), d.warnings.end());
  if (r.summary.completed == 0 && r.summary.excluded > 0)
    r.summary.warnings.push_back("every request that completed arrived during the warm-up");
  if (!live) {
    const TimeShares shares = difference(account(d), before);
    r.draft_share = draft_share(shares);
    add_confidence(r.summary, shares, *d.cost, d.engine.log_sigma);
    const bool alike = !cluster.handover && !cluster.fleet && !has_mixed_replicas(scenario);
    if (options.resimulations > 0 && !r.simulation.interrupted && alike) {
      resimulate_intervals(r, d, scenario, shares, options.resimulations);
    }
    if (alike) r.saturation_rps = headroom(r.summary, d);
  }
  if (cluster.fleet) {
    r.fleet = recorders.fleet().summary();
    bill(*r.fleet, d, r.summary);
  }
  if (cluster.handover) r.pools = pools_report(d, r.simulation, recorders.transfers().summary());
  if (cluster.migration) r.migrations = recorders.migrations().summary();
  if (has_mixed_replicas(scenario))
    r.devices = device_reports(d, r.simulation, recorders.replicas().totals());
  r.offloading = offloading_report(d, r.simulation);
  r.notes = source->notes();
  r.speculation = d.speculation;
  r.offload = d.offload;
  if (const auto note = recorders.note(); !note.empty()) r.notes.push_back(note);
  r.wall_s = std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
  if (directory) {
    r.directory = directory->path();
    directory->write_json("summary.json", to_json(r));
    directory->write_json("manifest.json", to_json(make_manifest(scenario, options, d, r)));
    if (const Details* details = recorders.details()) {
      directory->write_json("details.json", run_details(d, r.summary, recorders.metrics(), *details));
      write_report(read_run_directory(directory->path()), directory->file("report.html"));
    }
  }
  return r;
}

RunResult run_scenario(const Scenario& scenario, const RunOptions& options) {
  return run_deployed(deploy(scenario), scenario, options);
}

OrderedJson to_json(const RunResult& r) {
  OrderedJson json = to_json(r.summary);
  if (!r.speculation.decoder.plain()) json["orrery"]["speculation"] = to_json(r.speculation, r.draft_share);
  if (!r.offload.policy.none()) json["orrery"]["offloading"] = describe(r.offload);
  if (r.pools) json["orrery"]["pools"] = to_json(*r.pools);
  if (r.fleet) json["orrery"]["fleet"] = to_json(*r.fleet);
  if (r.migrations) json["orrery"]["migrations"] = to_json(*r.migrations);
  if (!r.devices.empty()) json["orrery"]["devices"] = to_json(r.devices);
  if (r.offloading) json["orrery"]["kv_offloading"] = to_json(*r.offloading);
  if (r.saturation_rps) json["orrery"]["saturation_rps"] = *r.saturation_rps;
  json["orrery"]["steps"] = r.simulation.steps;
  return json;
}

Assignments read_manifest(const std::string& path) {
  const auto doc = JsonDocument::load(path);
  const Json& root = doc->root();
  const auto config = root.find("config");
  if (!root.is_object() || config == root.end() || !config->is_object()) {
    throw ConfigError("not a manifest: it has no \"config\"", "give the folder of an earlier run").at(path);
  }
  Assignments out;
  for (const auto& [name, entry] : config->items()) {
    const std::string origin = entry.value("origin", "");
    const bool decided = origin == "default" || origin.rfind("engine ", 0) == 0 ||
                         origin.rfind("config.json of ", 0) == 0 || origin == "computed from memory";
    if (decided && name != "engine") continue;  // the engine's version is pinned to the one that ran
    const Json& value = entry.at("value");
    out.push_back({name, value.is_string() ? value.get<std::string>() : value.dump(), origin, path,
                   doc->line_of(fmt::format("/config/{}", name))});
  }
  return out;
}

}  // namespace orrery
