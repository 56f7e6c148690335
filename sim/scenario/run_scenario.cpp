#include "scenario/run_scenario.hpp"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <memory>

#include <fmt/format.h>
#include <unistd.h>

#include "report/confidence.hpp"
#include "report/details.hpp"
#include "report/metrics.hpp"
#include "report/report_page.hpp"
#include "scenario/headroom.hpp"
#include "scenario/parallelism.hpp"
#include "scenario/resimulate.hpp"
#include "scenario/run_details.hpp"
#include "workload/request_list.hpp"

namespace orrery {

namespace {

bool is_builtin(const std::string& trace) {
  return trace.rfind("builtin:", 0) == 0;
}

std::string workload_name(const WorkloadSpec& w) {
  if (w.list) return "recorded requests";
  if (w.trace.empty()) {
    if (w.prefix.groups > 0) return "shared prefixes";
    if (w.sessions.turns > 0) return "sessions";
    if (!w.input.distribution.empty()) return "a synthetic workload";
    return fmt::format("{} in / {} out", w.random_input_len, w.random_output_len);
  }
  return is_builtin(w.trace) ? w.trace.substr(8) : std::filesystem::path(w.trace).filename().string();
}

bool mixed(const Scenario& s) {
  return !s.pools.mixed_replicas.empty();
}

/// "h100+l40s", "tp1 + tp4"; GPUs and their mean price.
void describe_mixed(const Deployment& d, RunInfo& info) {
  double usd = 0;
  bool priced = true;
  info.gpu.clear(), info.parallelism.clear();
  const StepPricer* last = nullptr;
  for (const ReplicaConfig& replica : d.cluster.replicas) {
    const Shard& shard = replica.pricer->shard();
    info.gpus += shard.gpus();
    usd += replica.usd_per_hour.value_or(0), priced &= replica.usd_per_hour.has_value();
    if (replica.pricer.get() == last) continue;
    last = replica.pricer.get();
    const std::string& gpu = last->device().name;
    info.gpu += (info.gpu.empty() ? "" : "+") + gpu.substr(0, gpu.find('-'));
    info.parallelism += (info.parallelism.empty() ? "" : " + ") + name(shard);
  }
  info.usd_per_gpu_hour = priced ? std::optional(usd / info.gpus) : std::nullopt;
}

RunInfo describe(const Scenario& s, const Deployment& d) {
  RunInfo info;
  info.backend = d.engine.engine;
  info.engine = d.engine.id();
  info.model_id = s.model;
  info.gpu = d.device.name;
  info.workload = workload_name(s.workload);
  info.gpus_per_replica = d.lowering.shard.gpus();
  info.replicas = d.replicas();
  info.parallelism = name(d.lowering.shard);
  if (d.cluster.fleet && !d.cluster.fleet->remeshings.empty()) info.replicas = d.cluster.fleet->initial;
  if (d.cluster.handover) {
    for (const ReplicaConfig& replica : d.cluster.replicas) info.gpus += replica.gpus;
    info.parallelism += " prefill, " + name(d.cluster.replicas.back().pricer->shard()) + " decode";
  }
  if (s.workload.num_prompts > 0) info.num_prompts = s.workload.num_prompts;
  const bool own_times = !s.workload.trace.empty() || (s.workload.list && s.workload.list->timed);
  if (!own_times) {
    info.request_rate = s.workload.request_rate;
    info.burstiness = s.workload.burstiness;
  }
  if (s.workload.max_concurrency > 0) info.max_concurrency = s.workload.max_concurrency;
  info.max_num_seqs = d.settings.max_num_seqs;
  info.kv_capacity_tokens = d.kv.tokens() * d.cluster.replicas.front().engine_cores;
  if (!d.kv.keeps_everything()) {
    info.max_model_len = d.max_model_len;
    info.kv_max_concurrency = d.kv.concurrency(d.max_model_len);
  }
  info.usd_per_gpu_hour = s.gpu_hour_usd ? s.gpu_hour_usd : d.device.usd_per_hour;
  if (mixed(s)) describe_mixed(d, info);
  return info;
}

MetricsOptions metrics_options(const Scenario& s, const RunOptions& o, const Deployment& d) {
  MetricsOptions m;
  m.percentiles = o.percentiles;
  m.method = o.percentile_method;
  m.slo = parse_slo(s.slo);
  m.warmup = to_ps(Seconds(s.warmup_s));
  m.replicas = d.replicas();
  m.engine_cores = d.cluster.replicas.front().engine_cores;
  m.kv_block_size = d.kv.growing_block();
  return m;
}

/// The observers of one run, in the order they are told.
class Recorders {
 public:
  Recorders(const Scenario& s, const RunOptions& o, const Deployment& d, std::int64_t total)
      : metrics_(metrics_options(s, o, d)), replicas_(d.replicas()) {
    all_.push_back(&metrics_);
    if (mixed(s)) all_.push_back(&replicas_);
    if (d.cluster.handover) all_.push_back(&transfers_);
    if (d.cluster.fleet) all_.push_back(&fleet_);
    if (d.cluster.migration) all_.push_back(&migrations_);
    if (!o.out.empty()) open_files(o, d, parse_slo(s.slo));
    if (!o.out.empty() && o.report) {
      DetailsOptions options;
      options.warmup = to_ps(Seconds(s.warmup_s));
      details_ = add(std::make_unique<Details>(options));
    }
    if (o.progress) add(std::make_unique<Progress>(total));
    all_.insert(all_.end(), o.observers.begin(), o.observers.end());
  }

  std::span<Observer* const> all() const { return all_; }
  const Metrics& metrics() const { return metrics_; }
  const Transfers& transfers() const { return transfers_; }
  const FleetLog& fleet() const { return fleet_; }
  const Migrations& migrations() const { return migrations_; }
  const ReplicaCounts& replicas() const { return replicas_; }
  const Details* details() const { return details_; }  ///< null without a report
  std::string note() const { return timeline_ ? timeline_->note() : std::string(); }

 private:
  template <class T>
  T* add(std::unique_ptr<T> observer) {
    T* raw = observer.get();
    all_.push_back(raw);
    owned_.push_back(std::move(observer));
    return raw;
  }

  void open_files(const RunOptions& o, const Deployment& d, const Slo& slo) {
    const std::string folder = o.out + "/";
    if (o.requests_csv) add(std::make_unique<RequestsCsv>(folder + "requests.csv", slo));
    if (o.timeseries_csv) {
      TimeseriesOptions t;
      t.kv_block_size = d.kv.growing_block();
      t.engine_cores = d.cluster.replicas.front().engine_cores;
      t.fleet = d.cluster.fleet.has_value();
      add(std::make_unique<TimeseriesCsv>(folder + "timeseries.csv", t));
    }
    if (o.timeline == TimelineDetail::off) return;
    TimelineOptions t;
    t.detail = o.timeline;
    t.start = o.window_start;
    t.end = o.window_end;
    for (int i = 0; i < d.replicas(); ++i) t.replica_names.push_back(replica_name(d, i));
    timeline_ = add(std::make_unique<Timeline>(folder + "timeline.pftrace", t));
  }

  Metrics metrics_;
  Transfers transfers_;
  FleetLog fleet_;
  Migrations migrations_;
  ReplicaCounts replicas_;
  Timeline* timeline_ = nullptr;
  Details* details_ = nullptr;
  std::vector<std::unique_ptr<Observer>> owned_;
  std::vector<Observer*> all_;
};

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
  r.summary = recorders.metrics().summary(describe(scenario, d));
  r.summary.interrupted = r.simulation.interrupted;
  r.summary.evicted_blocks = r.simulation.evicted_blocks;
  r.summary.warnings.insert(r.summary.warnings.begin(), d.warnings.begin(), d.warnings.end());
  if (r.summary.completed == 0 && r.summary.excluded > 0)
    r.summary.warnings.push_back("every request that completed arrived during the warm-up");
  if (!live) {
    const TimeShares shares = difference(account(d), before);
    r.draft_share = draft_share(shares);
    add_confidence(r.summary, shares, *d.cost, d.engine.log_sigma);
    const bool alike = !cluster.handover && !cluster.fleet && !mixed(scenario);
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
  if (mixed(scenario)) r.devices = device_reports(d, r.simulation, recorders.replicas().totals());
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
