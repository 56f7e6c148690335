#include "cost/fitted.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "base/registry.hpp"
#include "cost/alpha_beta.hpp"
#include "cost/roofline.hpp"
#include "ops/kernel_classes.hpp"

namespace orrery {

namespace {
Provenance known(bool inside) {
  return inside ? Provenance::interpolated : Provenance::extrapolated;
}

/// The surface fitted for the head size nearest in ratio.
const AttentionSurface& nearest_head(const std::vector<AttentionSurface>& all, double head_dim) {
  const AttentionSurface* best = &all.front();
  for (const auto& s : all) {
    if (std::max(s.head_dim, head_dim) * std::min(best->head_dim, head_dim) <
        std::max(best->head_dim, head_dim) * std::min(s.head_dim, head_dim)) {
      best = &s;
    }
  }
  return *best;
}

bool inside(const AttentionSurface& s, double head_dim, double x, double y, double group) {
  return s.head_dim == head_dim && s.x.holds(x) && s.y.holds(y) && s.group.holds(group);
}
}  // namespace

FittedModel::FittedModel(FitFile fit, DeviceProfile device, Topology topology, KernelCostModelPtr backing,
                         Kernels kernels)
    : fit_(std::move(fit)),
      device_(std::move(device)),
      topology_(std::move(topology)),
      backing_(std::move(backing)),
      kernels_(kernels),
      factors_(kernels == Kernels::of_engines ? EngineFactors(fit_.engine_kernel_factor) : EngineFactors()) {
  for (std::size_t i = 0; i < gemm_.size(); ++i) {
    for (std::size_t j = 0; j < gemm_[i].size(); ++j) {
      gemm_[i][j] = choose_gemm(static_cast<DType>(i), static_cast<DType>(j));
    }
  }
  // A node whose links are slower than those of the device's own (PCIe instead of NVLink) is another machine.
  links_as_fitted_ = topology_.gpu_link_bytes_per_s <= 0 || device_.nvlink_bytes_per_s <= 0 ||
                     topology_.gpu_link_bytes_per_s > 0.75 * device_.nvlink_bytes_per_s;
}

/// What was fitted in these formats; else fp16 runs as bf16 and int8 as fp8; other formats scale the fp8 fit,
/// if they have 8 bits or fewer and there is one, else the bf16 fit by the ratio of datasheet peaks.
FittedModel::GemmChoice FittedModel::choose_gemm(DType dtype, DType weight_dtype) const {
  const auto of = [&](DType arithmetic, DType weights) -> const GemmFit* {
    const auto at = std::find_if(fit_.gemm.begin(), fit_.gemm.end(), [&](const GemmFit& g) {
      return g.dtype == arithmetic && g.weight_dtype == weights;
    });
    return at == fit_.gemm.end() ? nullptr : &*at;
  };
  const auto sixteen = [](DType t) { return t == DType::fp16 ? DType::bf16 : t; };
  const DType canonical = bytes_per_element(dtype) <= 1 ? DType::fp8 : sixteen(dtype);
  GemmChoice c;
  c.fit = of(dtype, weight_dtype);
  if (c.fit == nullptr) c.fit = of(sixteen(dtype), sixteen(weight_dtype));
  c.exact = c.fit != nullptr;
  if (c.exact) {
    c.form = c.fit->form;
    c.element = bytes_per_element(dtype);
    return c;
  }
  c.fit = of(canonical, canonical);
  if (c.fit == nullptr) c.fit = of(DType::bf16, DType::bf16);
  if (c.fit == nullptr) return c;
  c.form = c.fit->form;
  c.element = bytes_per_element(c.fit->dtype);
  const double peak = device_.tensor_peak(dtype), fitted_peak = device_.tensor_peak(c.fit->dtype);
  const bool same_pace = c.fit->dtype == canonical && (dtype == DType::int8 || sixteen(dtype) == canonical);
  if (!same_pace && peak > 0 && fitted_peak > 0) {
    c.form.c[GemmForm::tensor] *= peak / fitted_peak;
    // A step of k holds as many bytes: more elements of a narrower format.
    c.form.c[GemmForm::step_latency] *= std::min(1.0, bytes_per_element(dtype) / c.element);
    c.element = bytes_per_element(dtype);
  }
  return c;
}

double FittedModel::speed_of_light(const KernelCall& call) const {
  const Work& w = call.work;
  double t = w.hbm_bytes() / device_.memory_bandwidth_bytes_per_s;
  const double peak = device_.tensor_peak(w.tensor_dtype);
  if (peak > 0) t = std::max(t, w.tensor_flops / peak);
  return t;
}

KernelTime FittedModel::gemm(const KernelCall& call) const {
  const GemmChoice& c =
      gemm_[static_cast<std::size_t>(call.dtype)][static_cast<std::size_t>(call.weight_dtype)];
  if (c.fit == nullptr) return backing_->price(call);
  const double m = call.dims[0], n = call.dims[1], k = call.dims[2];
  GemmBytes bytes{c.element, bytes_per_element(call.weight_dtype), 2};
  const std::array<double, 3> at{std::log2(m), std::log2(n), std::log2(k)};
  double t =
      c.form.seconds(m, n, k, bytes) * std::exp(c.fit->surface.at(at)) * engine_factor(call, c.fit->own);
  if (c.fit->own && kernels_ == Kernels::of_engines && quantises_input(call)) {
    t += price(input_quantisation(call)).time.value;
  }
  const bool seen = c.exact && c.fit->m.holds(m) && c.fit->n.holds(n) && c.fit->k.holds(k);
  return {Seconds(std::max(t, speed_of_light(call))), known(seen)};
}

KernelTime FittedModel::prefill(const KernelCall& call) const {
  if (fit_.prefill.empty()) return backing_->price(call);
  const PrefillFit& f = of_kv(fit_.prefill, call.weight_dtype);
  const auto& d = call.dims;
  const PrefillShape s{d[0], d[1], d[2], d[3], d[4], d[5], d[6], d[7]};
  const AttentionSurface& a = nearest_head(f.surfaces, s.head_dim);
  const double t = f.form.seconds(s) * std::exp(a.surface.at(s.log2_point())) * engine_factor(call, f.own);
  // Cached tokens before the chunk are in no public table.
  const bool seen = f.cached_tokens || s.kv_tokens <= s.new_tokens;
  return {Seconds(std::max(t, speed_of_light(call))),
          known(seen && inside(a, s.head_dim, 2 * s.keys_per_query(), s.blocks(), s.group()))};
}

KernelTime FittedModel::decode(const KernelCall& call) const {
  if (fit_.decode.empty()) return backing_->price(call);
  const DecodeFit& f = of_kv(fit_.decode, call.weight_dtype);
  const auto& d = call.dims;
  const DecodeShape s{d[0], d[1] / d[0], d[2], d[3], d[4]};
  const AttentionSurface& a = nearest_head(f.surfaces, s.head_dim);
  double t = f.form.seconds(s) * std::exp(a.surface.at(s.log2_point())) * engine_factor(call, f.own);
  const bool narrow = bytes_per_element(call.weight_dtype) < bytes_per_element(f.kv_dtype);
  if (narrow) t *= f.kv_fp8_time_factor;
  const bool other_format = f.kv_dtype != DType::bf16 && f.kv_dtype != call.weight_dtype;
  const bool seen = !narrow && !other_format && inside(a, s.head_dim, s.streams(), s.length, s.group());
  return {Seconds(std::max(t, speed_of_light(call))), known(seen)};
}

KernelTime FittedModel::collective(const KernelCall& call, const char* cls) const {
  if (!links_as_fitted_) return backing_->price(call);
  const double ranks = call.dims[0], bytes = call.dims[1];
  const CollectiveFit* best = nullptr;
  for (const auto& c : fit_.collectives) {
    if (c.kernel_class != cls) continue;
    if (best == nullptr || std::abs(c.ranks - ranks) < std::abs(best->ranks - ranks)) best = &c;
  }
  if (best == nullptr || ranks > topology_.gpus_per_node) return backing_->price(call);
  double t = best->seconds(bytes);
  // Other rank counts: a ring's share of the payload sent per rank, (n-1)/n (Patarasuk and Yuan, 2009).
  const double share = (1 - 1 / ranks) / (1 - 1.0 / best->ranks);
  t *= share;
  // Below the smallest size measured a collective costs what that size did.
  return {Seconds(t), known(ranks == best->ranks && bytes <= best->bytes.high && best->scaled_from.empty())};
}

KernelTime FittedModel::row_kernel(const KernelCall& call) const {
  for (const auto& r : fit_.row_kernels) {
    if (r.kernel_class != call.cls->name) continue;
    const double bytes = call.work.hbm_bytes();
    const double log2_bytes = std::log2(std::max(bytes, 1.0));
    const double t = (r.launch_s + bytes / r.bytes_per_s) * std::exp(r.surface.at({&log2_bytes, 1})) *
                     engine_factor(call, r.own);
    // One kernel stands for all of the class, and caches hold small tensors: no DRAM floor, and never more
    // than a guess.
    return {Seconds(t), Provenance::extrapolated};
  }
  return backing_->price(call);
}

KernelTime FittedModel::generic(const KernelCall& call, const GenericFit& fit) const {
  // Rows between ranks were timed inside a node over its links; further ranks lie behind others.
  if (is_exchange(*call.cls) && (!links_as_fitted_ || ranks_of(call) > fit.range_of("ranks").high)) {
    return backing_->price(call);
  }
  const bool exact = fit.made_for(call);
  const double peak = device_.tensor_peak(call.dtype), fitted_peak = device_.tensor_peak(fit.dtype);
  double ratio = !exact && peak > 0 && fitted_peak > 0 ? peak / fitted_peak : 1;
  if (!exact && bytes_per_element(call.weight_dtype) < bytes_per_element(call.dtype)) {
    ratio /= fit.weight_only_tensor_factor;
  }
  const double t = fit.seconds(call, ratio) * engine_factor(call, fit.own);
  const bool seen = exact && fit.holds(call.dims) && t >= fit.shortest_s && fit.scaled_from.empty();
  // Ours may have been timed on what a cache holds.
  const double least = seen && fit.own ? 0 : speed_of_light(call);
  return {Seconds(std::max(t, least)), known(seen)};
}

const GenericFit* FittedModel::generic_for(const KernelCall& call) const {
  const auto width = [](DType a, DType b) {
    return std::abs(std::log2(bytes_per_element(a) / bytes_per_element(b)));
  };
  const GenericFit* best = nullptr;
  double nearest = 0;
  for (const auto& g : fit_.generic) {
    if (g.cls() != call.cls) continue;
    if (g.made_for(call)) return &g;
    const double distance = width(g.dtype, call.dtype) + width(g.weight_dtype, call.weight_dtype);
    if (best != nullptr && distance >= nearest) continue;
    best = &g, nearest = distance;
  }
  return best;
}

KernelTime FittedModel::price(const KernelCall& call) const {
  const KernelClass* cls = call.cls;
  const GenericFit* fit = generic_for(call);
  if (fit != nullptr && fit->made_for(call)) return generic(call, *fit);
  if (cls == &kGemm) return gemm(call);
  if (cls == &kAttentionDecode) return decode(call);
  if (cls == &kAttentionPrefill) return prefill(call);
  if (cls == &kElementwise) return row_kernel(call);
  if (cls == &kAllReduceCustom) return collective(call, "all_reduce_custom");
  if (cls == &kAllReduceNccl) return collective(call, "all_reduce_nccl");
  if (cls == &kAllGather) return collective(call, "all_gather");
  if (cls == &kSendRecv) return collective(call, "send_recv");
  if (fit != nullptr) return generic(call, *fit);
  // Groups across nodes are no smaller ones within a node.
  if (cls->like == nullptr || (is_collective(*cls) && leaves_node(call, topology_)))
    return backing_->price(call);
  KernelCall as = call;
  as.cls = cls->like;
  return price(as);
}

ClassError FittedModel::error(const KernelClass& cls, Provenance provenance) const {
  if (provenance == Provenance::analytic) return backing_->error(cls, provenance);
  const auto at = fit_.errors.find(std::string(cls.name));
  if (at == fit_.errors.end() && cls.like != nullptr) return error(*cls.like, provenance);
  if (at == fit_.errors.end()) return backing_->error(cls, provenance);
  if (provenance != Provenance::extrapolated) return at->second;
  // Beyond the fitted range: twice the held-out error, and no better than a fifth.
  ClassError e = at->second;
  e.log_sigma = std::max(2 * e.log_sigma, 0.2);
  e.median_abs = std::max(2 * e.median_abs, 0.67 * e.log_sigma);
  e.p90_abs = std::max(2 * e.p90_abs, 1.65 * e.log_sigma);
  return e;
}

std::vector<std::string> FittedModel::sources() const {
  std::vector<std::string> lines;
  for (const auto& s : fit_.sources) {
    lines.push_back("fitted on " + std::to_string(s.rows) + " rows" + (s.own ? " of our own, " : " of ") +
                    s.file + ": " + s.source);
  }
  if (kernels_ == Kernels::of_engines) {
    for (auto& line : describe(fit_.engine_kernel_factor)) lines.push_back(std::move(line));
  }
  for (auto& line : backing_->sources()) lines.push_back(std::move(line));
  return lines;
}

KernelCostModelPtr make_fitted(const DeviceProfile& device, const Topology& topology, const std::string& fit,
                               Kernels kernels) {
  const std::string path = fit.empty() ? device.folder + "/fit.json" : fit;
  if (!std::filesystem::exists(path)) {
    throw ConfigError("no fitted kernel times for '" + device.name + "': " + path + " does not exist",
                      "use --cost-model analytic, or make one with `orrery calibrate fit`",
                      ExitCode::no_device);
  }
  return std::make_shared<FittedModel>(FitFile::load(path), device, topology, make_analytic(device, topology),
                                       kernels);
}

const Registration<CostModels> fitted{
    "fitted", "closed forms times efficiency surfaces, fitted on measured kernels (fit.json)",
    [](const DeviceProfile& d, const Topology& t, const std::string& fit) { return make_fitted(d, t, fit); }};

}  // namespace orrery
