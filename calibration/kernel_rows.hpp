#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "ops/dtype.hpp"

namespace orrery::calibrate {

/// One timed GEMM: y[m,n] = x[m,k] W[k,n].
struct GemmRow {
  DType dtype = DType::bf16;
  double m = 0, n = 0, k = 0, seconds = 0;
};

/// One timed attention over a uniform batch. Prefill: `length` new tokens per sequence, none cached. Decode:
/// `length` keys per sequence, the new token's included. window 0 = none.
struct AttentionRow {
  double batch = 0, length = 0, heads = 0, kv_heads = 0, head_dim = 0, window = 0, seconds = 0;
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
};

struct Source {
  std::string file, source;  ///< table name; the text of its first comment, where it was published
  std::int64_t rows = 0;     ///< rows taken
};

/// Everything calibration knows of one device, several measurements of one shape reduced to their median.
struct KernelRows {
  std::vector<GemmRow> gemm;
  std::vector<AttentionRow> prefill, decode;
  std::vector<CollectiveRow> collectives;
  std::vector<RowKernelRow> row_kernels;
  std::vector<Source> sources;
};

/// Reads kernel tables, telling them apart by their header: aiconfigurator's GEMM, attention, NCCL and custom
/// all-reduce tables, Vidur's MLP and send/recv tables, and our own measured format (calibration/README.md).
/// A folder means its
/// *.csv files. Tables of other kinds (MoE, MLA, ...) are skipped.
/// Errors: ConfigError with file and line.
KernelRows read_kernel_rows(const std::vector<std::string>& files_or_folders);

}  // namespace orrery::calibrate
