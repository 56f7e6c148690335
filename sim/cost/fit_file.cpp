#include "cost/fit_file.hpp"

#include <algorithm>
#include <cmath>

#include "base/json.hpp"
#include "base/registry.hpp"
#include "ops/kernel_classes.hpp"

namespace orrery {

namespace {
constexpr std::int64_t kFormat = 1;

template <std::size_t N>
void read_coefficients(JsonView v, const std::array<const char*, N>& names, std::array<double, N>& out) {
  for (std::size_t i = 0; i < N; ++i) {
    out[i] = v.number(names[i]);
    if (out[i] < 0) v.fail(names[i], "a coefficient is negative");
  }
  v.finish();
}

FitRange read_range(JsonView& v, const std::string& key) {
  const auto both = v.numbers(key);
  if (both.size() != 2 || both[0] > both[1]) v.fail(key, "a range is [low, high]");
  return {both[0], both[1]};
}

Surface read_surface(JsonView v) {
  std::vector<SurfaceAxis> axes;
  std::size_t size = 1;
  for (auto& a : v.objects("axes")) {
    SurfaceAxis axis{a.text("name"), {}};
    for (const double node : a.numbers("nodes")) {
      if (!(node > 0) || (!axis.log2_nodes.empty() && std::log2(node) <= axis.log2_nodes.back())) {
        a.fail("nodes", "nodes are positive and ascend");
      }
      axis.log2_nodes.push_back(std::log2(node));
    }
    size *= axis.log2_nodes.size();
    a.finish();
    axes.push_back(std::move(axis));
  }
  auto values = v.numbers("log_correction");
  if (axes.empty() || axes.size() > Surface::kMaxAxes) v.fail("axes", "a surface has 1 to 4 axes");
  if (size != values.size() || size == 0) v.fail("log_correction", "one value per node is needed");
  v.finish();
  return {std::move(axes), std::move(values)};
}

std::vector<AttentionSurface> read_attention(JsonView& v) {
  std::vector<AttentionSurface> out;
  for (auto& s : v.objects("surfaces")) {
    out.push_back({s.number("head_dim"), read_surface(s.object("surface")), read_range(s, "range_x"),
                   read_range(s, "range_y"), read_range(s, "range_group"), read_range(s, "range_kv_heads")});
    s.finish();
  }
  if (out.empty()) v.fail("surfaces", "no head size is fitted");
  return out;
}

void read_kernels(JsonView& v, FitFile& f) {
  for (auto& g : v.objects("gemm")) {
    GemmFit fit;
    fit.dtype = parse_dtype(g.text("dtype"));
    fit.weight_dtype = parse_dtype(g.text_or("weight_dtype", std::string(name(fit.dtype))));
    read_coefficients(g.object("coefficients"), GemmForm::kNames, fit.form.c);
    fit.form.sm_count = f.sm_count;
    fit.surface = read_surface(g.object("surface"));
    fit.m = read_range(g, "range_m"), fit.n = read_range(g, "range_n"), fit.k = read_range(g, "range_k");
    fit.own = g.boolean_or("own", false);
    g.finish();
    f.gemm.push_back(std::move(fit));
  }
  for (auto& p : v.objects("attention_prefill")) {
    PrefillFit fit;
    fit.kv_dtype = parse_dtype(p.text_or("kv_dtype", "bf16"));
    fit.cached_tokens = p.boolean_or("cached_tokens", false);
    read_coefficients(p.object("coefficients"), PrefillForm::kNames, fit.form.c);
    fit.form.sm_count = f.sm_count;
    fit.surfaces = read_attention(p);
    fit.own = p.boolean_or("own", false);
    p.finish();
    f.prefill.push_back(std::move(fit));
  }
  for (auto& d : v.objects("attention_decode")) {
    DecodeFit fit;
    fit.kv_dtype = parse_dtype(d.text_or("kv_dtype", "bf16"));
    read_coefficients(d.object("coefficients"), DecodeForm::kNames, fit.form.c);
    fit.form.sm_count = f.sm_count;
    fit.surfaces = read_attention(d);
    fit.kv_fp8_time_factor = d.number_or("kv_fp8_time_factor", 1.0);
    fit.kv_fp8_source = d.text_or("kv_fp8_source", "");
    fit.own = d.boolean_or("own", false);
    d.finish();
    f.decode.push_back(std::move(fit));
  }
}

void read_lines(JsonView& v, FitFile& f) {
  for (auto& c : v.objects("collectives")) {
    CollectiveFit fit{c.text("class"),
                      static_cast<int>(c.integer("ranks")),
                      {},
                      {},
                      read_range(c, "range_bytes"),
                      c.text_or("scaled_from", "")};
    if (auto s = c.object_if("surface")) fit.surface = read_surface(*s);
    for (auto& piece : c.objects("pieces")) {
      fit.pieces.push_back(
          {piece.number("from_bytes"), piece.number("launch_s"), piece.number("seconds_per_byte")});
      piece.finish();
    }
    if (fit.pieces.empty()) c.fail("pieces", "a collective has at least one piece");
    c.finish();
    f.collectives.push_back(std::move(fit));
  }
  for (auto& r : v.objects("row_kernels")) {
    f.row_kernels.push_back({r.text("class"), r.number("launch_s"), r.number("bytes_per_s"),
                             read_surface(r.object("surface")), read_range(r, "range_bytes"),
                             r.text_or("scaled_from", ""), r.boolean_or("own", false)});
    r.finish();
  }
}

void read_generic(JsonView& v, FitFile& f) {
  if (!v.has("generic")) return;
  for (auto& g : v.objects("generic")) {
    GenericFit fit;
    fit.kernel_class = g.text("class");
    fit.dtype = parse_dtype(g.text("dtype"));
    fit.weight_dtype = parse_dtype(g.text("weight_dtype"));
    read_coefficients(g.object("coefficients"), GenericForm::kNames, fit.form.c);
    if (auto s = g.object_if("surface")) fit.surface = read_surface(*s);
    fit.shortest_s = g.number_or("shortest_s", 0);
    fit.weight_only_tensor_factor = g.number_or("weight_only_tensor_factor", 1);
    fit.weight_only_source = g.text_or("weight_only_source", "");
    if (fit.weight_only_tensor_factor <= 0) g.fail("weight_only_tensor_factor", "a factor is above 0");
    fit.own = g.boolean_or("own", false);
    fit.scaled_from = g.text_or("scaled_from", "");
    for (auto& r : g.objects("ranges")) {
      r.ignore("dim");  // for readers; the order is the class's
      fit.ranges.push_back(read_range(r, "range"));
      r.finish();
    }
    g.finish();
    fit.bind(*Registry<KernelClasses>::find(fit.kernel_class).make);
    f.generic.push_back(std::move(fit));
  }
}

void read_engine_factors(JsonView& v, FitFile& f) {
  auto factors = v.object_if("engine_kernel_factor");
  if (!factors) return;
  for (const auto& cls : factors->keys()) {
    auto e = factors->object(cls);
    EngineKernelFactor factor{e.number("factor"), e.text("source"), e.integer("rows"), e.number("p10"),
                              e.number("p90")};
    if (factor.factor <= 0) e.fail("factor", "a factor is above 0");
    e.finish();
    f.engine_kernel_factor[cls] = std::move(factor);
  }
}

void read_energy(JsonView& v, FitFile& f) {
  auto e = v.object_if("energy");
  if (!e) return;
  EnergyFit fit;
  fit.idle_w = e->number("idle_w");
  fit.dram_j_per_byte = e->number("dram_j_per_byte");
  fit.vector_j_per_flop = e->number("vector_j_per_flop");
  auto tensor = e->object("tensor_j_per_flop");
  for (const auto& key : tensor.keys()) {
    fit.tensor_j_per_flop[static_cast<std::size_t>(parse_dtype(key))] = tensor.number(key);
  }
  tensor.finish();
  fit.rows = e->integer("rows");
  fit.median_abs = e->number("median_abs");
  fit.p90_abs = e->number("p90_abs");
  fit.source = e->text("source");
  e->finish();
  f.energy = std::move(fit);
}

void read_quality(JsonView& v, FitFile& f) {
  for (auto& s : v.objects("sources")) {
    f.sources.push_back({s.text("file"), s.text("source"), s.integer("rows"), s.boolean_or("own", false),
                         s.texts_or("classes", {})});
    s.finish();
  }
  auto errors = v.object("errors");
  for (const auto& cls : errors.keys()) {
    auto e = errors.object(cls);
    f.errors[cls] = {e.number("median_abs"), e.number("p90_abs"), e.number("log_sigma")};
    e.finish();
  }
  for (auto& h : v.objects("held_out")) {
    f.held_out.push_back({h.text("class"), h.text("dtype"), h.text("region"), h.text("split"),
                          h.integer("rows"), h.number("median_abs"), h.number("p90_abs"), h.number("bias"),
                          h.number_or("target_median", 0), h.number_or("target_p90", 0)});
    h.finish();
  }
}
}  // namespace

double CollectiveFit::seconds(double payload) const {
  const Piece* piece = &pieces.front();
  for (const Piece& p : pieces) {
    if (p.from_bytes <= payload) piece = &p;
  }
  const double line = piece->launch_s + payload * piece->seconds_per_byte;
  if (surface.empty()) return line;
  const double log2_bytes = std::log2(std::max(payload, 1.0));
  return line * std::exp(surface.at({&log2_bytes, 1}));
}

FitFile FitFile::load(const std::string& path) {
  JsonView v(JsonDocument::load(path));
  if (v.integer("format") != kFormat) {
    v.fail("format", "this file's format is not the one this version reads",
           "fit it again: orrery calibrate fit");
  }
  FitFile f;
  f.device = v.text("device");
  f.sm_count = v.number("sm_count");
  v.ignore("split");  // prose for readers
  read_quality(v, f);
  read_kernels(v, f);
  read_lines(v, f);
  read_generic(v, f);
  read_engine_factors(v, f);
  read_energy(v, f);
  v.finish();
  return f;
}

}  // namespace orrery
