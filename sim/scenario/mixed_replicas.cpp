#include "scenario/mixed_replicas.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "base/error.hpp"
#include "ops/equal_sequences.hpp"
#include "ops/shard.hpp"
#include "scenario/fleet.hpp"
#include "scenario/value_forms.hpp"

namespace orrery {

namespace {

/// Cuts off what follows the last `mark`.
std::string cut_after(std::string& text, char mark) {
  const auto at = text.rfind(mark);
  if (at == std::string::npos) return {};
  std::string rest = text.substr(at + 1);
  text.erase(at);
  return rest;
}

MixedReplicas parse_one(std::string text) {
  MixedReplicas out;
  if (const std::string usd = cut_after(text, '@'); !usd.empty()) out.usd_per_gpu_hour = parse_number(usd);
  if (const std::string n = cut_after(text, '='); !n.empty())
    out.replicas = static_cast<std::int32_t>(parse_integer(n, 1, 65536));
  if (const std::string tp = cut_after(text, '/'); !tp.empty())
    out.tensor_parallel_size = static_cast<std::int32_t>(parse_integer(tp, 1, 1024));
  out.gpu = text;
  if (out.gpu.empty() || out.usd_per_gpu_hour.value_or(0) < 0)
    throw ConfigError("expected devices such as h100-sxm=2@2.5,l40s/4=3, found '" + text + "'");
  return out;
}

/// What one kind would be by itself.
Scenario kind_scenario(const Scenario& s, const MixedReplicas& kind) {
  Scenario out = s;
  out.pools.mixed_replicas.clear();
  out.gpu = kind.gpu;
  out.replicas = kind.replicas;
  if (kind.tensor_parallel_size > 0) out.tensor_parallel_size = kind.tensor_parallel_size;
  if (kind.usd_per_gpu_hour) out.gpu_hour_usd = kind.usd_per_gpu_hour;
  return out;
}

}  // namespace

std::vector<MixedReplicas> parse_mixed_replicas(const std::string& text) {
  std::vector<MixedReplicas> out;
  for (std::size_t start = 0; start <= text.size();) {
    const auto end = std::min(text.find(',', start), text.size());
    out.push_back(parse_one(text.substr(start, end - start)));
    start = end + 1;
  }
  return out;
}

ServingRate serving_rate(StepPricer& pricer, double usd_per_gpu_hour) {
  constexpr Tokens kPrompt = 2048, kContext = 1024;
  constexpr std::int64_t kBatch = 32;
  const PrefillChunk prompt{kPrompt, 0};
  const Ps prefill = pricer.mixed({}, {&prompt, 1});
  const Ps decode = pricer.decode(equal_sequences(pricer.model().caps(), kBatch, kContext)).first;
  ServingRate rate;
  rate.prompt_token_s = to_seconds(prefill).value / static_cast<double>(kPrompt);
  rate.answer_token_s = to_seconds(decode).value / static_cast<double>(kBatch);
  rate.usd_per_hour = usd_per_gpu_hour * pricer.shard().gpus();
  return rate;
}

Deployment deploy_mixed(const Scenario& s) {
  if (s.pools.prefill_replicas > 0 || s.pools.decode_replicas > 0) {
    throw ConfigError("mixed_replicas: replicas that prefill for others are of one device each",
                      "--prefill-gpu and --decode-gpu, without --mixed-replicas", ExitCode::usage);
  }
  if (has_fleet(s)) {
    throw ConfigError("mixed_replicas: replicas of several devices do not come and go: it is not modelled",
                      "failures, drains and autoscaling without --mixed-replicas", ExitCode::usage);
  }
  if (s.migration.policy != "off") {
    throw ConfigError("mixed_replicas: sequences do not migrate between replicas of several devices",
                      "no --migration", ExitCode::usage);
  }
  Deployment all;
  for (const MixedReplicas& kind : parse_mixed_replicas(s.pools.mixed_replicas)) {
    Deployment d = deploy(kind_scenario(s, kind));
    if (all.cluster.replicas.empty()) {
      all = std::move(d);
      continue;
    }
    if (d.cluster.replicas.front().engine_cores != all.cluster.replicas.front().engine_cores) {
      throw ConfigError("mixed_replicas: all replicas need as many data-parallel ranks", "--replicas",
                        ExitCode::usage);
    }
    auto& replicas = all.cluster.replicas;
    replicas.insert(replicas.end(), d.cluster.replicas.begin(), d.cluster.replicas.end());
    for (const auto& warning : d.warnings) {
      if (std::find(all.warnings.begin(), all.warnings.end(), warning) == all.warnings.end())
        all.warnings.push_back(warning);
    }
  }
  return all;
}

std::vector<DeviceReport> device_reports(const Deployment& d, const SimulationResult& result,
                                         const std::vector<ReplicaTotals>& replicas) {
  std::vector<DeviceReport> out;
  const StepPricer* last = nullptr;
  for (std::size_t i = 0; i < replicas.size(); ++i) {
    const ReplicaConfig& replica = d.cluster.replicas[i];
    const Shard& shard = replica.pricer->shard();
    if (replica.pricer.get() != last) {
      out.emplace_back();
      out.back().gpu = replica.pricer->device().name, out.back().parallelism = name(shard);
      last = replica.pricer.get();
    }
    DeviceReport& report = out.back();
    ++report.replicas;
    report.gpus += shard.gpus();
    report.totals.add(replicas[i]);
    if (result.end > Ps(0)) report.utilisation += to_seconds(result.busy[i]) / to_seconds(result.end);
    if (replica.usd_per_hour) report.usd_per_hour = report.usd_per_hour.value_or(0) + *replica.usd_per_hour;
  }
  for (DeviceReport& report : out) report.utilisation /= report.replicas;
  return out;
}

OrderedJson to_json(const std::vector<DeviceReport>& reports) {
  auto json = OrderedJson::array();
  for (const DeviceReport& r : reports) {
    json.push_back({{"gpu", r.gpu},
                    {"parallelism", r.parallelism},
                    {"replicas", r.replicas},
                    {"gpus", r.gpus},
                    {"utilisation", r.utilisation},
                    {"completed", r.totals.completed},
                    {"input_tokens", r.totals.input_tokens},
                    {"output_tokens", r.totals.output_tokens}});
    if (r.usd_per_hour) json.back()["usd_per_hour"] = *r.usd_per_hour;
  }
  return json;
}

}  // namespace orrery
