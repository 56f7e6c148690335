#include "scenario/validate_replay.hpp"

namespace orrery {

namespace {

OrderedJson range(const std::optional<Interval>& interval) {
  if (!interval) return nullptr;
  return OrderedJson::array({interval->low, interval->high});
}

OrderedJson measured_json(const MeasuredRun& run) {
  OrderedJson json;
  json["file"] = run.path;
  json["kind"] = run.kind;
  if (!run.model.empty()) json["model_id"] = run.model;
  json["completed"] = run.completed;
  json["failed"] = run.failed;
  json["duration_s"] = run.duration_s;
  json["mean_input_tokens"] = run.load.mean_prompt_tokens;
  json["mean_output_tokens"] = run.load.mean_output_tokens;
  return json;
}

OrderedJson row_json(const ReplayRow& row) {
  OrderedJson json;
  json["metric"] = row.key;
  json["measured"] = row.measured;
  json["predicted"] = row.predicted;
  json["error"] = row.error();
  json["interval"] = range(row.interval);
  const auto inside = row.inside();
  json["inside"] = inside ? OrderedJson(*inside) : OrderedJson();
  return json;
}

}  // namespace

OrderedJson to_json(const ReplaySlice& slice) {
  constexpr const char* kinds[] = {"all", "quarter", "prompt"};
  OrderedJson json;
  json["by"] = kinds[static_cast<int>(slice.by)];
  json["name"] = slice.name;
  json["requests"] = slice.requests;
  for (std::size_t m = 0; m < kPairedMetrics.size(); ++m) {
    const auto& e = slice.errors[m];
    auto& out = json[std::string(name(kPairedMetrics[m]))];
    out["pairs"] = e.pairs;
    if (e.pairs == 0) continue;
    out["measured_mean_ms"] = e.measured_mean;
    out["predicted_mean_ms"] = e.predicted_mean;
    out["error_of_mean"] = e.error_of_mean();
    out["median_error"] = e.median;
    out["median_abs_error"] = e.median_abs;
    out["p90_abs_error"] = e.p90_abs;
  }
  return json;
}

OrderedJson to_json(const ReplayReport& report) {
  OrderedJson json;
  json["measured"] = measured_json(report.measured);
  json["arrivals"] = report.arrivals;
  json["interval_level"] = report.level;
  json["rows"] = OrderedJson::array();
  for (const auto& row : report.rows) json["rows"].push_back(row_json(row));
  json["slices"] = OrderedJson::array();
  for (const auto& slice : report.slices) json["slices"].push_back(to_json(slice));
  json["limits"] = OrderedJson::array();
  for (const auto& v : report.verdicts) {
    json["limits"].push_back(
        {{"limit", v.limit.text}, {"metric", v.limit.key}, {"error", v.error}, {"met", v.met}});
  }
  json["notes"] = report.notes;
  json["warnings"] = report.warnings;
  json["predicted"] = to_json(report.predicted);
  return json;
}

}  // namespace orrery
