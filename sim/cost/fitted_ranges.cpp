#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "cost/fitted.hpp"
#include "ops/kernel_classes.hpp"

namespace orrery {

namespace {

CalibratedRange::Quantity quantity(const char* name, const FitRange& range) {
  return {name, range.low, range.high};
}

CalibratedRange attention(const std::vector<AttentionSurface>& surfaces, double head_dim, const char* x,
                          const char* y) {
  const auto ratio = [&](const AttentionSurface& s) { return std::abs(std::log(s.head_dim / head_dim)); };
  const auto& s = *std::min_element(
      surfaces.begin(), surfaces.end(),
      [&](const AttentionSurface& a, const AttentionSurface& b) { return ratio(a) < ratio(b); });
  return {fmt::format("fitted head size {:.0f}", s.head_dim),
          {quantity(x, s.x), quantity(y, s.y), quantity("heads per KV head", s.group)}};
}

const CollectiveFit* nearest_ranks(const FitFile& fit, std::string_view cls, double ranks) {
  const CollectiveFit* best = nullptr;
  for (const CollectiveFit& c : fit.collectives) {
    if (c.kernel_class != cls) continue;
    if (best == nullptr || std::abs(c.ranks - ranks) < std::abs(best->ranks - ranks)) best = &c;
  }
  return best;
}

/// "fitted", or "fitted on h100-sxm," when the rows are another device's.
std::string fitted_on(const std::string& lender) {
  return lender.empty() ? "fitted" : "fitted on " + lender + ",";
}

std::vector<CalibratedRange> generic_range(const GenericFit& fit) {
  CalibratedRange range{fmt::format("fitted {}", name(fit.dtype)), {}};
  if (fit.weight_dtype != fit.dtype) range.rows += fmt::format(" x {}", name(fit.weight_dtype));
  for (std::size_t i = 0; i < fit.ranges.size(); ++i) {
    range.quantities.push_back({std::string(fit.cls()->dims[i]), fit.ranges[i].low, fit.ranges[i].high});
  }
  return {range};
}

}  // namespace

std::vector<CalibratedRange> FittedModel::ranges(const KernelCall& like) const {
  const KernelClass* cls = like.cls;
  if (const GenericFit* g = generic_for(like); g != nullptr && g->made_for(like)) return generic_range(*g);
  if (cls == &kGemm) {
    const GemmFit* f =
        gemm_[static_cast<std::size_t>(like.dtype)][static_cast<std::size_t>(like.weight_dtype)].fit;
    if (f == nullptr) return {};
    return {{fmt::format("fitted {}", name(f->dtype)),
             {quantity("m", f->m), quantity("n", f->n), quantity("k", f->k)}}};
  }
  if (cls == &kAttentionPrefill && !fit_.prefill.empty()) {
    return {attention(of_kv(fit_.prefill, like.weight_dtype).surfaces, like.dims[7], "prompt length",
                      "thread blocks")};
  }
  if (cls == &kAttentionDecode && !fit_.decode.empty()) {
    return {attention(of_kv(fit_.decode, like.weight_dtype).surfaces, like.dims[4], "KV streams", "length")};
  }
  if (const CollectiveFit* c = nearest_ranks(fit_, cls->name, like.dims[0])) {
    return {{fmt::format("{} {} ranks", fitted_on(c->scaled_from), c->ranks), {quantity("bytes", c->bytes)}}};
  }
  for (const RowKernelFit& r : fit_.row_kernels) {
    if (r.kernel_class == cls->name)
      return {
          {fmt::format("{} all row-wise kernels", fitted_on(r.scaled_from)), {quantity("bytes", r.bytes)}}};
  }
  const GenericFit* g = generic_for(like);
  if (g == nullptr && cls->like != nullptr) {
    KernelCall as = like;
    as.cls = cls->like;
    return ranges(as);
  }
  return g == nullptr ? std::vector<CalibratedRange>{} : generic_range(*g);
}

}  // namespace orrery
