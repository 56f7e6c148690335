#include "scenario/run_details.hpp"

#include <algorithm>
#include <cmath>

#include "ops/equal_sequences.hpp"
#include "report/render.hpp"
#include "scenario/step_table.hpp"

namespace orrery {

namespace {

/// Percentiles at which curves are drawn: evenly below p90, then ever closer to 100 as far as the requests
/// reach.
std::vector<double> curve_percentiles() {
  std::vector<double> out{0, 0.1, 0.5, 1};
  for (int p = 2; p < 90; p += 2) out.push_back(p);
  for (double rest = 10; rest > 0.005; rest *= 0.794328) out.push_back(100 - rest);  // ten per decade
  out.push_back(100);
  return out;
}

/// To four digits: a curve needs no more, and a page is sent around.
double drawn(double value) {
  if (value == 0 || !std::isfinite(value)) return value;
  const double unit = std::pow(10.0, std::floor(std::log10(std::abs(value))) - 4);
  return std::round(value / unit) * unit;
}

OrderedJson curves(const Metrics& metrics) {
  const auto percentiles = curve_percentiles();
  OrderedJson json;
  json["percentiles"] = OrderedJson::array();
  for (const double p : percentiles) json["percentiles"].push_back(std::round(p * 1e4) / 1e4);
  for (int i = 0; i < kMetricCount; ++i) {
    const auto metric = static_cast<Metric>(i);
    json[std::string(name(metric)) + "_ms"] = OrderedJson::array();
    for (const double value : metrics.curve(metric, percentiles))
      json[std::string(name(metric)) + "_ms"].push_back(drawn(value));
  }
  return json;
}

/// A step's kernels and the roofs over them. `pricer` is that of the replica which runs such steps.
OrderedJson step_json(const Deployment& d, const StepPricer& pricer, const BatchShape& shape) {
  const DeviceProfile& device = pricer.device();
  const StepTable table = step_table(pricer.explain(shape), device, d.topology);
  OrderedJson json = OrderedJson::parse(to_json(table).dump());
  json["gpu"] = device.name;
  json["dtype"] = name(table.ridge_dtype);
  json["peak_flop_per_s"] = device.tensor_peak(table.ridge_dtype);
  json["bandwidth_bytes_per_s"] = device.memory_bandwidth_bytes_per_s;
  return json;
}

OrderedJson steps(const Deployment& d, const TypicalSteps& t) {
  auto json = OrderedJson::array();
  const auto caps = d.model.caps();
  if (t.decode_seqs > 0) {
    const StepPricer& pricer = *d.cluster.replicas.back().pricer;
    OrderedJson step = step_json(d, pricer, equal_decodes(caps, t.decode_seqs, t.decode_context));
    step["kind"] = "decode";
    step["decode_seqs"] = t.decode_seqs, step["context"] = t.decode_context;
    json.push_back(step);
  }
  if (t.prefill_tokens > 0) {
    BatchShape shape = equal_decodes(caps, t.prefill_decodes, t.prefill_context);
    shape.chunks.push_back({t.prefill_tokens, t.prefill_past});
    OrderedJson step = step_json(d, *d.cluster.replicas.front().pricer, shape);
    step["kind"] = "prefill";
    step["prefill_tokens"] = t.prefill_tokens, step["past"] = t.prefill_past;
    step["decode_seqs"] = t.prefill_decodes, step["context"] = t.prefill_context;
    json.push_back(step);
  }
  return json;
}

}  // namespace

OrderedJson run_details(const Deployment& d, const Summary& summary, const Metrics& metrics,
                        const Details& details) {
  const Verdict verdict = judge(summary);
  OrderedJson json;
  json["schema_version"] = 1;
  json["verdict"] = {{"badge", verdict.badge}, {"text", verdict.text}, {"how", verdict.how}};
  json["curves"] = curves(metrics);
  json.update(details.json());
  json["steps"] = steps(d, details.typical());
  return json;
}

}  // namespace orrery
