#include "cost/engine_factor.hpp"

#include <fmt/format.h>

#include "base/registry.hpp"
#include "ops/kernel_classes.hpp"

namespace orrery {

EngineFactors::EngineFactors(const EngineKernelFactors& factors) {
  for (const auto& entry : Registry<KernelClasses>::entries()) {
    auto at = factors.find(entry.name);
    if (at == factors.end()) at = factors.find(std::string(error_class(*entry.make).name));
    if (at != factors.end()) factors_.emplace_back(entry.make, at->second.factor);
  }
}

double EngineFactors::of(const KernelClass* cls) const {
  for (const auto& [known, factor] : factors_) {
    if (known == cls) return factor;
  }
  return 1;
}

std::vector<std::string> describe(const EngineKernelFactors& factors) {
  std::vector<std::string> lines;
  for (const auto& [cls, f] : factors) {
    lines.push_back(
        fmt::format("engine kernel factor of {}: {:.3g} (p10 {:.3g}, p90 {:.3g} over {} shapes; {})", cls,
                    f.factor, f.p10, f.p90, f.rows, f.source));
  }
  return lines;
}

bool quantises_input(const KernelCall& call) {
  return &error_class(*call.cls) == &kGemm && call.dtype == DType::fp8;
}

KernelCall input_quantisation(const KernelCall& gemm) {
  const double m = gemm.dims[0], k = gemm.dims[2];
  const double bytes_per_row = k * (bytes_per_element(DType::bf16) + bytes_per_element(DType::fp8));
  return make_call(kElementwise, {m, bytes_per_row}, DType::bf16, DType::bf16);
}

}  // namespace orrery
