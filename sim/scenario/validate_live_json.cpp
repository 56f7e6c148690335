#include "scenario/validate_live.hpp"

namespace orrery {
namespace {

OrderedJson row_json(const LiveRow& r) {
  OrderedJson json;
  json["metric"] = r.row.key;
  json["measured"] = r.row.measured;
  json["spread"] = r.spread;
  json["predicted"] = r.row.predicted;
  json["error"] = r.row.error();
  json["aim"] = r.aim ? OrderedJson(*r.aim) : OrderedJson();
  json["met"] = r.aim ? OrderedJson(r.met()) : OrderedJson();
  return json;
}

OrderedJson group_json(const StepGroup& g) {
  constexpr const char* kinds[] = {"all", "decode", "mixed"};
  OrderedJson json;
  json["by"] = kinds[static_cast<int>(g.by)];
  json["name"] = g.name;
  json["steps"] = g.steps;
  json["share_of_time"] = g.share;
  json["measured_mean_ms"] = g.measured_mean_ms;
  json["spread"] = g.spread;
  json["predicted_mean_ms"] = g.predicted_mean_ms;
  json["error_of_mean"] = g.error_of_mean();
  json["median_error"] = g.median;
  json["median_abs_error"] = g.median_abs;
  json["p90_abs_error"] = g.p90_abs;
  return json;
}

}  // namespace

OrderedJson to_json(const LiveReport& report) {
  OrderedJson json;
  json["runs"] = report.runs;
  json["device"] = report.device;
  json["met"] = report.met();
  json["rows"] = OrderedJson::array();
  for (const auto& row : report.rows) json["rows"].push_back(row_json(row));
  json["steps"] = OrderedJson::array();
  for (const auto& group : report.steps) json["steps"].push_back(group_json(group));
  json["slices"] = OrderedJson::array();
  for (const auto& slice : report.slices) json["slices"].push_back(to_json(slice));
  json["overheads"] = {{"host_ms", report.overheads.host_ms},
                       {"gap_ms", report.overheads.gap_ms},
                       {"outside_device_ms", report.overheads.outside_device_ms}};
  json["notes"] = report.notes;
  json["warnings"] = report.warnings;
  json["predicted"] = to_json(report.predicted);
  return json;
}

}  // namespace orrery
