#include <cmath>
#include <string>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/registry.hpp"
#include "cost/fit_file.hpp"
#include "ops/kernel_classes.hpp"

namespace orrery {

namespace {
using Ordered = nlohmann::ordered_json;

/// Six significant digits: more than a fit can tell, few enough to read and to compare.
double rounded(double x) {
  return std::stod(fmt::format("{:.6g}", x));
}

template <std::size_t N>
Ordered coefficients(const std::array<const char*, N>& names, const std::array<double, N>& values) {
  Ordered o;
  for (std::size_t i = 0; i < N; ++i) o[names[i]] = rounded(values[i]);
  return o;
}

Ordered range(const FitRange& r) {
  return {rounded(r.low), rounded(r.high)};
}

Ordered surface(const Surface& s) {
  Ordered o;
  for (const auto& axis : s.axes()) {
    Ordered nodes = Ordered::array();
    for (const double l : axis.log2_nodes) nodes.push_back(rounded(std::exp2(l)));
    o["axes"].push_back({{"name", axis.name}, {"nodes", nodes}});
  }
  Ordered values = Ordered::array();
  for (const double x : s.values()) values.push_back(std::round(x * 1e3) / 1e3);
  o["log_correction"] = values;
  return o;
}

Ordered attention(const std::vector<AttentionSurface>& surfaces) {
  Ordered all = Ordered::array();
  for (const auto& s : surfaces) {
    all.push_back({{"head_dim", s.head_dim},
                   {"range_x", range(s.x)},
                   {"range_y", range(s.y)},
                   {"range_group", range(s.group)},
                   {"range_kv_heads", range(s.kv_heads)},
                   {"surface", surface(s.surface)}});
  }
  return all;
}

/// Objects indented, arrays of numbers on few lines.
void write(const Ordered& value, int depth, std::string& out) {
  const std::string pad(static_cast<std::size_t>(depth) * 1, ' ');
  const bool flat =
      !value.is_structured() || value.empty() || (value.is_array() && !value.front().is_structured());
  if (flat) {
    out += value.dump();
    return;
  }
  const bool object = value.is_object();
  out += object ? "{" : "[";
  const char* separator = "\n";
  for (const auto& item : value.items()) {
    out += separator + pad + " ";
    if (object) out += Ordered(item.key()).dump() + ": ";
    write(item.value(), depth + 1, out);
    separator = ",\n";
  }
  out += "\n" + pad + (object ? "}" : "]");
}

void add_quality(const FitFile& f, Ordered& o) {
  o["sources"] = Ordered::array();
  for (const auto& s : f.sources)
    o["sources"].push_back(
        {{"file", s.file}, {"source", s.source}, {"rows", s.rows}, {"own", s.own}, {"classes", s.classes}});
  o["errors"] = Ordered::object();
  for (const auto& [cls, e] : f.errors) {
    o["errors"][cls] = {{"median_abs", rounded(e.median_abs)},
                        {"p90_abs", rounded(e.p90_abs)},
                        {"log_sigma", rounded(e.log_sigma)}};
  }
  o["held_out"] = Ordered::array();
  for (const auto& h : f.held_out) {
    Ordered row{{"class", h.kernel_class},
                {"dtype", h.dtype},
                {"region", h.region},
                {"split", h.split},
                {"rows", h.rows},
                {"median_abs", rounded(h.median_abs)},
                {"p90_abs", rounded(h.p90_abs)},
                {"bias", rounded(h.bias)}};
    if (h.target_median > 0) row["target_median"] = h.target_median, row["target_p90"] = h.target_p90;
    o["held_out"].push_back(row);
  }
}

void add_kernels(const FitFile& f, Ordered& o) {
  o["gemm"] = Ordered::array();
  for (const auto& g : f.gemm) {
    o["gemm"].push_back({{"dtype", std::string(name(g.dtype))},
                         {"weight_dtype", std::string(name(g.weight_dtype))},
                         {"coefficients", coefficients(GemmForm::kNames, g.form.c)},
                         {"range_m", range(g.m)},
                         {"range_n", range(g.n)},
                         {"range_k", range(g.k)},
                         {"own", g.own},
                         {"surface", surface(g.surface)}});
  }
  o["attention_prefill"] = Ordered::array();
  for (const auto& p : f.prefill) {
    o["attention_prefill"].push_back({{"kv_dtype", std::string(name(p.kv_dtype))},
                                      {"cached_tokens", p.cached_tokens},
                                      {"own", p.own},
                                      {"coefficients", coefficients(PrefillForm::kNames, p.form.c)},
                                      {"surfaces", attention(p.surfaces)}});
  }
  o["attention_decode"] = Ordered::array();
  for (const auto& d : f.decode) {
    o["attention_decode"].push_back({{"kv_dtype", std::string(name(d.kv_dtype))},
                                     {"coefficients", coefficients(DecodeForm::kNames, d.form.c)},
                                     {"kv_fp8_time_factor", d.kv_fp8_time_factor},
                                     {"kv_fp8_source", d.kv_fp8_source},
                                     {"own", d.own},
                                     {"surfaces", attention(d.surfaces)}});
  }
  o["collectives"] = Ordered::array();
  for (const auto& c : f.collectives) {
    Ordered pieces = Ordered::array();
    for (const auto& p : c.pieces) {
      pieces.push_back({{"from_bytes", rounded(p.from_bytes)},
                        {"launch_s", rounded(p.launch_s)},
                        {"seconds_per_byte", rounded(p.seconds_per_byte)}});
    }
    o["collectives"].push_back({{"class", c.kernel_class},
                                {"ranks", c.ranks},
                                {"scaled_from", c.scaled_from},
                                {"range_bytes", range(c.bytes)},
                                {"pieces", pieces}});
    if (!c.surface.empty()) o["collectives"].back()["surface"] = surface(c.surface);
  }
  o["row_kernels"] = Ordered::array();
  for (const auto& r : f.row_kernels) {
    o["row_kernels"].push_back({{"class", r.kernel_class},
                                {"launch_s", rounded(r.launch_s)},
                                {"bytes_per_s", rounded(r.bytes_per_s)},
                                {"scaled_from", r.scaled_from},
                                {"own", r.own},
                                {"range_bytes", range(r.bytes)},
                                {"surface", surface(r.surface)}});
  }
}

void add_generic(const FitFile& f, Ordered& o) {
  o["generic"] = Ordered::array();
  for (const auto& g : f.generic) {
    const auto& dims = Registry<KernelClasses>::find(g.kernel_class).make->dims;
    Ordered ranges = Ordered::array();
    for (std::size_t i = 0; i < g.ranges.size(); ++i) {
      ranges.push_back({{"dim", std::string(dims[i])}, {"range", {g.ranges[i].low, g.ranges[i].high}}});
    }
    o["generic"].push_back({{"class", g.kernel_class},
                            {"dtype", std::string(name(g.dtype))},
                            {"weight_dtype", std::string(name(g.weight_dtype))},
                            {"coefficients", coefficients(GenericForm::kNames, g.form.c)},
                            {"ranges", ranges}});
    if (g.shortest_s > 0) o["generic"].back()["shortest_s"] = rounded(g.shortest_s);
    if (g.weight_only_tensor_factor != 1) {
      o["generic"].back()["weight_only_tensor_factor"] = rounded(g.weight_only_tensor_factor);
      o["generic"].back()["weight_only_source"] = g.weight_only_source;
    }
    if (g.own) o["generic"].back()["own"] = true;
    if (!g.scaled_from.empty()) o["generic"].back()["scaled_from"] = g.scaled_from;
    if (!g.surface.empty()) o["generic"].back()["surface"] = surface(g.surface);
  }
}

void add_engine_factors(const FitFile& f, Ordered& o) {
  o["engine_kernel_factor"] = Ordered::object();
  for (const auto& [cls, e] : f.engine_kernel_factor) {
    o["engine_kernel_factor"][cls] = {{"factor", rounded(e.factor)},
                                      {"source", e.source},
                                      {"rows", e.rows},
                                      {"p10", rounded(e.p10)},
                                      {"p90", rounded(e.p90)}};
  }
}

void add_energy(const FitFile& f, Ordered& o) {
  if (!f.energy) return;
  Ordered tensor = Ordered::object();
  for (std::size_t t = 0; t < f.energy->tensor_j_per_flop.size(); ++t) {
    const double j = f.energy->tensor_j_per_flop[t];
    if (j > 0) tensor[std::string(name(static_cast<DType>(t)))] = rounded(j);
  }
  o["energy"] = {{"idle_w", rounded(f.energy->idle_w)},
                 {"dram_j_per_byte", rounded(f.energy->dram_j_per_byte)},
                 {"vector_j_per_flop", rounded(f.energy->vector_j_per_flop)},
                 {"tensor_j_per_flop", tensor},
                 {"rows", f.energy->rows},
                 {"median_abs", rounded(f.energy->median_abs)},
                 {"p90_abs", rounded(f.energy->p90_abs)},
                 {"source", f.energy->source}};
}
}  // namespace

std::string FitFile::to_json() const {
  Ordered o;
  o["format"] = 1;
  o["device"] = device;
  o["sm_count"] = sm_count;
  o["split"] =
      "coefficients are fitted on neither a random fifth of the rows nor any row of some whole shapes; "
      "held_out is "
      "their error";
  add_quality(*this, o);
  add_kernels(*this, o);
  add_generic(*this, o);
  add_engine_factors(*this, o);
  add_energy(*this, o);
  std::string text;
  write(o, 0, text);
  return text + "\n";
}

}  // namespace orrery
