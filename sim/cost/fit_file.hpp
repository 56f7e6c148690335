#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "cost/energy_fit.hpp"
#include "cost/engine_factor.hpp"
#include "cost/generic_fit.hpp"
#include "cost/kernel_cost_model.hpp"
#include "cost/kernel_forms.hpp"
#include "cost/surface.hpp"
#include "ops/dtype.hpp"

namespace orrery {

/// GEMM of one format of arithmetic and one of stored weights: axes m, n, k.
struct GemmFit {
  DType dtype = DType::bf16, weight_dtype = DType::bf16;
  GemmForm form;
  Surface surface;
  FitRange m, n, k;
  bool own = false;  ///< fitted on our own rows
};

/// A surface of attention residuals for one head size. Axes: prefill (keys, blocks, group), decode (streams,
/// length, group): group = query heads per KV head.
struct AttentionSurface {
  double head_dim = 128;
  Surface surface;
  FitRange x, y, group, kv_heads;
};
struct PrefillFit {
  DType kv_dtype = DType::bf16;
  PrefillForm form;
  std::vector<AttentionSurface> surfaces;  ///< ascending head_dim
  bool cached_tokens = false;              ///< rows with cached tokens before the chunk were fitted
  bool own = false;                        ///< fitted on our own rows
};
struct DecodeFit {
  DType kv_dtype = DType::bf16;
  DecodeForm form;
  std::vector<AttentionSurface> surfaces;
  /// Time with 8-bit KV over time with 16-bit KV, where no fit of 8-bit KV is at hand.
  double kv_fp8_time_factor = 1.0;
  std::string kv_fp8_source;
  bool own = false;  ///< fitted on our own rows
};

/// The fit of this format of the KV cache, else that of 16 bits, else the first.
template <class Fit>
const Fit& of_kv(const std::vector<Fit>& all, DType kv_dtype) {
  const Fit* best = &all.front();
  for (const auto& f : all) {
    if (f.kv_dtype == kv_dtype) return f;
    if (f.kv_dtype == DType::bf16) best = &f;
  }
  return *best;
}

/// A collective among `ranks`: (launch + bytes / rate) exp(surface(bytes)), the line in pieces where an
/// algorithm is known to change with size.
struct CollectiveFit {
  struct Piece {
    double from_bytes = 0, launch_s = 0, seconds_per_byte = 0;
  };
  std::string kernel_class;
  int ranks = 2;
  std::vector<Piece> pieces;  ///< ascending; the first from 0
  Surface surface;
  FitRange bytes;
  std::string scaled_from;  ///< the device whose rows these are; "" = this one

  double seconds(double payload) const;
};

/// Row-wise kernels: (launch + bytes / rate) exp(surface(bytes)), fitted on one well-vectorised kernel and
/// taken for all.
struct RowKernelFit {
  std::string kernel_class;
  double launch_s = 0, bytes_per_s = 0;
  Surface surface;
  FitRange bytes;
  std::string
      scaled_from;   ///< the device whose rows these are, its rate scaled by memory bandwidth; "" = this one
  bool own = false;  ///< fitted on our own rows
};

/// Errors on rows that were held out of the fit.
struct HeldOut {
  std::string kernel_class, dtype, region,
      split;  ///< split: "rows" (a random fifth) or "shapes" (whole shapes)
  std::int64_t rows = 0;
  double median_abs = 0, p90_abs = 0;        ///< of |predicted/measured - 1|
  double bias = 0;                           ///< median of log(predicted/measured)
  double target_median = 0, target_p90 = 0;  ///< 0 = none set
};

struct FitSource {
  std::string file, source;          ///< the table's name; where it was published, or how we measured it
  std::int64_t rows = 0;             ///< rows used
  bool own = false;                  ///< measured by ourselves
  std::vector<std::string> classes;  ///< kernel classes fitted on it
};

/// hwprofiles/<device>/fit.json: what calibration learnt about one device.
struct FitFile {
  std::string device;
  double sm_count = 0;
  std::vector<FitSource> sources;
  std::vector<GemmFit> gemm;
  std::vector<PrefillFit> prefill;  ///< one per format of the KV cache; 16 bits is "bf16"
  std::vector<DecodeFit> decode;
  std::vector<CollectiveFit> collectives;
  std::vector<RowKernelFit> row_kernels;
  std::vector<GenericFit> generic;           ///< classes and formats without a form of their own
  std::map<std::string, ClassError> errors;  ///< by kernel class, inside the fitted range
  std::vector<HeldOut> held_out;
  EngineKernelFactors engine_kernel_factor;  ///< of classes fitted on our own rows
  std::optional<EnergyFit> energy;           ///< where power was measured

  /// Errors: ConfigError with file and key.
  static FitFile load(const std::string& path);
  /// The text of a fit.json: stable order, numbers rounded to what the fit can tell.
  std::string to_json() const;
};

}  // namespace orrery
