#include "scenario/recorders.hpp"

#include "scenario/mixed_replicas.hpp"
#include "scenario/pools.hpp"

namespace orrery {

namespace {

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

}  // namespace

Recorders::Recorders(const Scenario& s, const RunOptions& o, const Deployment& d, std::int64_t total)
    : metrics_(metrics_options(s, o, d)), replicas_(d.replicas()) {
  all_.push_back(&metrics_);
  if (has_mixed_replicas(s)) all_.push_back(&replicas_);
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

void Recorders::open_files(const RunOptions& o, const Deployment& d, const Slo& slo) {
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

}  // namespace orrery
