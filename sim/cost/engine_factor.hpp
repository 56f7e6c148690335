#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "ops/kernel_call.hpp"

namespace orrery {

/// How a real engine's kernel compares with ours of the same class: time of theirs over time of ours, the
/// median over shapes that both were timed at. Predictions speak of real engines, so times that rest on our
/// own rows are multiplied by it.
struct EngineKernelFactor {
  double factor = 1;
  std::string source;       ///< the published table compared with
  std::int64_t rows = 0;    ///< shapes compared
  double p10 = 1, p90 = 1;  ///< of the ratio over those shapes
};
using EngineKernelFactors = std::map<std::string, EngineKernelFactor>;  ///< by kernel class

/// Whose kernels a cost model speaks of.
enum class Kernels : std::uint8_t {
  of_engines,  ///< times engine kernel factor; fp8 GEMMs quantise their input
  as_timed,    ///< our kernels as they were timed, for judging a fit and predicting our own engine
};

/// The factors, found by class while pricing.
class EngineFactors {
 public:
  EngineFactors() = default;
  /// Classes that are not registered are ignored. The LM head is a GEMM and takes its factor.
  explicit EngineFactors(const EngineKernelFactors& factors);
  double of(const KernelClass* cls) const;

 private:
  std::vector<std::pair<const KernelClass*, double>> factors_;
};

/// "engine kernel factor of attention_decode: 0.82 (p10 0.75, p90 0.90 over 312 shapes; SOURCE)", one line
/// each.
std::vector<std::string> describe(const EngineKernelFactors& factors);

/// Engines count the quantisation of the input to an fp8 GEMM (Fusion::quant_in_fp8_gemm), which a GEMM timed
/// alone does not hold: a row-wise kernel that reads the input in 16 bits and writes it in 8. Whether `call`
/// is such a GEMM, and the kernel to add.
bool quantises_input(const KernelCall& call);
KernelCall input_quantisation(const KernelCall& gemm);

}  // namespace orrery
