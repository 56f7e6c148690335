#include <fmt/format.h>

#include "scenario/coverage.hpp"

namespace orrery {

namespace {

OrderedJson provenance_json(const std::array<double, kProvenanceCount>& seconds) {
  OrderedJson out = OrderedJson::object();
  double all = 0;
  for (const double s : seconds) all += s;
  for (std::size_t p = 0; p < seconds.size(); ++p)
    out[std::string(name(static_cast<Provenance>(p)))] = all > 0 ? seconds[p] / all : 0.0;
  return out;
}

OrderedJson range_json(double low, double high) {
  return OrderedJson::array({low, high});
}

OrderedJson class_json(const Coverage& c, const ClassCoverage& k) {
  OrderedJson needed = OrderedJson::object(), ranges = OrderedJson::array();
  for (const auto& dim : k.needed) needed[std::string(dim.name)] = range_json(dim.low, dim.high);
  for (const CalibratedRange& r : k.ranges) {
    OrderedJson quantities = OrderedJson::object();
    for (const auto& q : r.quantities) quantities[q.name] = range_json(q.low, q.high);
    ranges.push_back({{"rows", r.rows}, {"range", quantities}});
  }
  return {
      {"class", k.cls->name}, {"share", c.share(k.seconds)}, {"provenance", provenance_json(k.by_provenance)},
      {"error", k.error},     {"formats", k.formats},        {"needed", needed},
      {"ranges", ranges}};
}

OrderedJson shape_json(const Coverage& c, const ShapeCell& s) {
  OrderedJson dims = OrderedJson::object(), range = OrderedJson::object();
  for (std::size_t d = 0; d < s.shape.size() && !s.cls->dims[d].empty(); ++d) {
    const std::string dim(s.cls->dims[d]);
    dims[dim] = s.shape[d];
    range[dim] = range_json(s.low[d], s.high[d]);
  }
  return {{"class", s.cls->name},
          {"dims", dims},
          {"range", range},
          {"dtype", name(s.dtype)},
          {"weight_dtype", name(s.weight_dtype)},
          {"share", c.share(s.seconds)},
          {"provenance", name(s.provenance)},
          {"error", s.error}};
}

}  // namespace

std::string shapes_csv(const Coverage& coverage, const std::vector<ShapeCell>& shapes,
                       const std::string& about) {
  std::string out = about.empty() ? "" : "# " + about + "\n";
  for (const ClassCoverage& k : coverage.classes) {
    std::string rows;
    for (const ShapeCell& s : shapes) {
      if (s.cls != k.cls) continue;
      for (std::size_t d = 0; d < k.needed.size(); ++d) rows += fmt::format("{},", s.shape[d]);
      rows += fmt::format("{},{},{:.4g}\n", name(s.dtype), name(s.weight_dtype), coverage.share(s.seconds));
    }
    if (rows.empty()) continue;
    out += fmt::format("# class: {}\n", k.cls->name);
    for (const auto& dim : k.needed) out += fmt::format("{},", dim.name);
    out += "dtype,weight_dtype,weight\n" + rows;
  }
  return out;
}

OrderedJson to_json(const Coverage& c, const std::vector<ShapeCell>& shapes) {
  OrderedJson classes = OrderedJson::array(), wanted = OrderedJson::array(), cells = OrderedJson::array();
  for (const ClassCoverage& k : c.classes) classes.push_back(class_json(c, k));
  for (const ShapeCell& s : shapes) wanted.push_back(shape_json(c, s));
  for (const ShapeCell& s : c.cells) cells.push_back(shape_json(c, s));
  return {{"steps", c.steps},
          {"step_seconds", c.step_seconds},
          {"kernel_seconds", c.kernel_seconds},
          {"calibrated_share", c.calibrated_share()},
          {"provenance", provenance_json(c.by_provenance)},
          {"classes", classes},
          {"wanted", wanted},
          {"cells", cells}};
}

}  // namespace orrery
