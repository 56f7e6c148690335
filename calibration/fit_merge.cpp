#include "calibration/fit_merge.hpp"

#include <algorithm>
#include <set>
#include <tuple>

#include "cost/scaled.hpp"

namespace orrery::calibrate {

namespace {
const std::string& class_of(const CollectiveFit& f) {
  return f.kernel_class;
}
const std::string& class_of(const RowKernelFit& f) {
  return f.kernel_class;
}
const std::string& class_of(const GenericFit& f) {
  return f.kernel_class;
}
std::string class_of(const GemmFit&) {
  return "gemm";
}
std::string class_of(const PrefillFit&) {
  return "attention_prefill";
}
std::string class_of(const DecodeFit&) {
  return "attention_decode";
}

auto key(const CollectiveFit& f) {
  return std::pair(f.kernel_class, f.ranks);
}
auto key(const RowKernelFit& f) {
  return f.kernel_class;
}
auto key(const GenericFit& f) {
  return std::tuple(f.kernel_class, f.dtype, f.weight_dtype);
}
auto key(const GemmFit& f) {
  return std::pair(f.dtype, f.weight_dtype);
}
auto key(const PrefillFit& f) {
  return f.kv_dtype;
}
auto key(const DecodeFit& f) {
  return f.kv_dtype;
}

template <class Fit>
void keep(std::vector<Fit>& to, const std::vector<Fit>& earlier, std::set<std::string>& kept) {
  const std::size_t own = to.size();
  for (const Fit& f : earlier) {
    const auto end = to.begin() + static_cast<std::ptrdiff_t>(own);
    if (std::any_of(to.begin(), end, [&](const Fit& have) { return key(have) == key(f); })) continue;
    to.push_back(f);
    kept.insert(class_of(f));
  }
}
}  // namespace

void borrow_missing(FitFile& to, const DeviceProfile& to_device, const FitFile& from,
                    const DeviceProfile& from_device) {
  const auto lacks = [](const auto& fits, const std::string& cls) {
    return std::none_of(fits.begin(), fits.end(), [&](const auto& f) { return f.kernel_class == cls; });
  };
  const double faster = to_device.memory_bandwidth_bytes_per_s / from_device.memory_bandwidth_bytes_per_s;
  const auto own_rows = to.row_kernels;
  for (auto r : from.row_kernels) {
    if (!lacks(own_rows, r.kernel_class) || !r.scaled_from.empty()) continue;
    r.bytes_per_s *= faster;
    r.scaled_from = from.device;
    to.row_kernels.push_back(r);
  }
  const auto own_collectives = to.collectives;
  for (auto c : from.collectives) {
    if (!lacks(own_collectives, c.kernel_class) || !c.scaled_from.empty()) continue;
    c.scaled_from = from.device;
    to.collectives.push_back(c);
  }
  const auto own_generic = to.generic;
  for (auto g : scaled_fit(from, from_device, to_device).generic) {
    if (!lacks(own_generic, g.kernel_class) || !g.scaled_from.empty()) continue;
    g.scaled_from = from.device;
    to.generic.push_back(g);
  }
  for (const auto& [cls, error] : from.errors) {
    if (!to.errors.contains(cls)) to.errors[cls] = error;  // widened when priced: extrapolated
  }
}

void keep_missing(FitFile& to, const FitFile& earlier) {
  std::set<std::string> kept;
  keep(to.gemm, earlier.gemm, kept);
  keep(to.prefill, earlier.prefill, kept);
  keep(to.decode, earlier.decode, kept);
  keep(to.collectives, earlier.collectives, kept);
  keep(to.row_kernels, earlier.row_kernels, kept);
  keep(to.generic, earlier.generic, kept);
  to.engine_kernel_factor.insert(earlier.engine_kernel_factor.begin(), earlier.engine_kernel_factor.end());
  if (!to.energy) to.energy = earlier.energy;
  std::set<std::pair<std::string, std::string>> judged;
  for (const auto& h : to.held_out) judged.insert({h.kernel_class, h.dtype});
  for (const auto& h : earlier.held_out) {
    if (kept.contains(h.kernel_class) && !judged.contains({h.kernel_class, h.dtype}))
      to.held_out.push_back(h);
  }
  for (const auto& s : earlier.sources) {
    const auto rests = [&](const std::string& cls) { return kept.contains(cls); };
    if (std::any_of(s.classes.begin(), s.classes.end(), rests)) to.sources.push_back(s);
  }
  for (const auto& [cls, error] : earlier.errors) {
    if (!kept.contains(cls)) continue;
    const auto [at, added] = to.errors.emplace(cls, error);
    if (!added && error.log_sigma > at->second.log_sigma) at->second = error;
  }
}

}  // namespace orrery::calibrate
