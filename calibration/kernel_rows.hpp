#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "calibration/layer_rows.hpp"
#include "cost/fit_file.hpp"
#include "ops/kernel_call.hpp"

namespace orrery::calibrate {

/// One timed GEMM: y[m,n] = x[m,k] W[k,n].
struct GemmRow {
  DType dtype = DType::bf16;
  double m = 0, n = 0, k = 0, seconds = 0;
  std::optional<DType> stored{};  ///< format of W where it is not the arithmetic's
  bool own = false;               ///< measured by ourselves: the kernel alone, without quantising x

  DType weight_dtype() const { return stored.value_or(dtype); }
};

/// One timed attention. Prefill: `length` new tokens per sequence on average. Decode: `length` keys per
/// sequence on average, the new token's included. window 0 = none.
struct AttentionRow {
  double batch = 0, length = 0, heads = 0, kv_heads = 0, head_dim = 0, window = 0, seconds = 0;
  DType kv_dtype = DType::bf16;
  /// The dimensions of the kernel class where they were recorded, as ours are; else the batch is uniform and
  /// nothing is cached before a prompt.
  std::optional<KernelClass::Dims> dims{};
};

/// One timed collective. `bytes` in the sense of the kernel class: all_gather's payload is one rank's part.
struct CollectiveRow {
  std::string kernel_class;
  double ranks = 0, bytes = 0, seconds = 0;
};

/// One timed row-wise kernel: the bytes it must move.
struct RowKernelRow {
  std::string kernel_class;
  double bytes = 0, seconds = 0;
  bool own = false;  ///< measured by ourselves
};

/// One timed launch of a class, or in formats, that no form of its own is fitted to.
struct GenericRow {
  const KernelClass* cls = nullptr;
  KernelClass::Dims dims{};
  DType dtype = DType::bf16, weight_dtype = DType::bf16;
  double seconds = 0;
  bool own = false;  ///< measured by ourselves
};

/// Everything calibration knows of one device, several measurements of one shape reduced to their median.
struct KernelRows {
  std::vector<GemmRow> gemm;
  std::vector<AttentionRow> prefill, decode;
  std::vector<CollectiveRow> collectives;
  std::vector<RowKernelRow> row_kernels;
  std::vector<GenericRow> generic;
  std::vector<LayerRow> layers;
  std::vector<FitSource> sources;
  std::optional<EnergyFit> energy;  ///< from those of our own rows that tell their power
  std::vector<std::string> notes;   ///< what was left out, and why: for people
};

/// Reads kernel tables, telling them apart by their header: aiconfigurator's GEMM, attention, latent
/// attention, mixture of experts, DeepEP, NCCL and custom all-reduce tables, Vidur's MLP and send/recv
/// tables, and our own measured format (calibration/README.md). A folder means its *.csv files. Tables of
/// other kinds are skipped. Where both we and others measured a class in the same formats, ours alone are
/// taken, if they are enough to fit. Errors: ConfigError with file and line; rows of a dry run.
KernelRows read_kernel_rows(const std::vector<std::string>& files_or_folders);

}  // namespace orrery::calibrate
