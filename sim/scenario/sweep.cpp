#include "scenario/sweep.hpp"

#include <fstream>
#include <numeric>
#include <set>

#include <fmt/format.h>

#include "base/error.hpp"
#include "base/rng.hpp"
#include "scenario/run_scenario.hpp"

namespace orrery {

namespace {

constexpr const char* kOrigin = "orrery sweep";

/// `wanted` of [0, n), without repetition, ascending: Floyd's sampling (Bentley and Floyd, 1987).
std::vector<std::size_t> draw(std::size_t n, std::size_t wanted, std::uint64_t seed) {
  Rng rng(seed, "sweep");
  std::set<std::size_t> chosen;
  for (std::size_t j = n - wanted; j < n; ++j) {
    const auto i = static_cast<std::size_t>(rng.uniform_int(0, static_cast<std::int64_t>(j)));
    chosen.insert(chosen.count(i) ? j : i);
  }
  return {chosen.begin(), chosen.end()};
}

std::string csv_field(const std::string& text) {
  if (text.find_first_of(",\"\n") == std::string::npos) return text;
  std::string out = "\"";
  for (const char c : text) out += c == '"' ? std::string("\"\"") : std::string(1, c);
  return out + "\"";
}

/// The numbers of the summaries, in their order, that are not settings of an axis.
std::vector<std::string> number_columns(const SweepDesign& design, const std::vector<SweepResult>& results) {
  std::vector<std::string> out;
  std::set<std::string> seen;
  for (const Axis& axis : design.axes) seen.insert(axis.setting);
  for (const SweepResult& r : results) {
    if (r.status != "ok") continue;
    for (const auto& [name, value] : r.summary.items()) {
      if (value.is_number() && seen.insert(name).second) out.push_back(name);
    }
  }
  return out;
}

}  // namespace

std::string SweepPoint::key() const {
  std::string out;
  for (const Assignment& a : assignments) out += a.name + "=" + a.value + ";";
  return out;
}

std::vector<SweepPoint> sweep_points(const SweepDesign& design) {
  const std::size_t all = grid_size(design.axes);
  std::vector<std::size_t> chosen(all);
  std::iota(chosen.begin(), chosen.end(), std::size_t{0});
  if (design.random > 0 && design.random < all) chosen = draw(all, design.random, design.seed);
  std::vector<SweepPoint> out;
  for (const std::size_t i : chosen) {
    SweepPoint point;
    point.index = out.size();
    point.values = grid_point(design.axes, i);
    point.assignments = design.base;
    for (std::size_t a = 0; a < design.axes.size(); ++a)
      point.assignments.push_back({design.axes[a].setting, point.values[a], kOrigin, "", 0});
    out.push_back(std::move(point));
  }
  return out;
}

SweepResult run_point(const SweepPoint& point) {
  SweepResult out;
  try {
    out.summary = to_json(run_scenario(resolve(point.assignments)));
  } catch (const ConfigError& e) {
    out.status = "failed";
    out.error = e.what();
  }
  return out;
}

std::string to_line(const SweepPoint& point, const SweepResult& r) {
  OrderedJson line = {{"key", point.key()}, {"status", r.status}};
  if (r.attempts > 1) line["attempts"] = r.attempts;
  if (!r.error.empty()) line["error"] = r.error;
  if (!r.summary.is_null()) line["summary"] = r.summary;
  return line.dump(-1, ' ', false, OrderedJson::error_handler_t::replace) + "\n";
}

std::map<std::string, SweepResult> read_results(const std::string& path) {
  std::map<std::string, SweepResult> out;
  std::ifstream file(path);
  long number = 0;
  for (std::string line; std::getline(file, line);) {
    ++number;
    if (file.eof()) break;  // no end of line: it was being written when the sweep ended
    const OrderedJson json = OrderedJson::parse(line, nullptr, false);
    if (json.is_discarded() || !json.is_object() || !json.contains("key") || !json.contains("status")) {
      throw ConfigError("not a line of a sweep's results",
                        "give the folder of an earlier sweep, or an empty one")
          .at(path, number);
    }
    SweepResult r;
    r.status = json["status"].get<std::string>();
    r.error = json.value("error", "");
    r.attempts = json.value("attempts", 1);
    if (json.contains("summary")) r.summary = json["summary"];
    out[json["key"].get<std::string>()] = std::move(r);
  }
  return out;
}

std::string sweep_csv(const SweepDesign& design, const std::vector<SweepPoint>& points,
                      const std::vector<SweepResult>& results) {
  const std::vector<std::string> numbers = number_columns(design, results);
  std::string out = "point";
  for (const Axis& axis : design.axes) out += "," + axis.setting;
  out += ",status,error";
  for (const std::string& name : numbers) out += "," + name;
  out += "\n";
  for (std::size_t i = 0; i < points.size(); ++i) {
    const SweepResult& r = results[i];
    out += std::to_string(points[i].index);
    for (const std::string& value : points[i].values) out += "," + csv_field(value);
    out += "," + r.status + "," + csv_field(r.error);
    for (const std::string& name : numbers) {
      const auto it = r.summary.find(name);
      out += "," + (it != r.summary.end() && it->is_number() ? it->dump() : std::string());
    }
    out += "\n";
  }
  return out;
}

}  // namespace orrery
