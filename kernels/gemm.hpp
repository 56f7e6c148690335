#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "ops/dtype.hpp"
#include "runtime/runtime.hpp"
#include "split_k.hpp"

namespace orrery::kernels {

// y[m,n] = x[m,k] W[n,k]^T, all row-major: activations by token, weights by output channel, as engines store
// them. bf16 and fp16 give their own format, fp8 (E4M3) gives bf16, int8 gives int32.

/// What one scale of an fp8 product covers; y = (scale of x) (scale of W) times the product.
enum class GemmScaling : std::uint8_t {
  none,      ///< bf16, fp16, int8: no scales
  tensor,    ///< one for x, one for W
  row,       ///< per token x_scale[m] and per output channel w_scale[n]
  block128,  ///< x_scale[ceil(k/128)][m], w_scale[ceil(n/128)][ceil(k/128) rounded up to 4] (DeepSeek-V3,
             ///< 2024, section 3.3.2; layouts of the cuBLAS manual, "128-element 1D and 128x128 2D block
             ///< scaling")
};

struct GemmShape {
  std::int64_t m = 0, n = 0, k = 0;
  DType format = DType::bf16;  ///< of x and W: bf16, fp16, fp8 or int8
  GemmScaling scaling = GemmScaling::none;

  auto operator<=>(const GemmShape&) const = default;
};
/// Numbers of scales of x and of W.
std::int64_t x_scales(const GemmShape& shape);
std::int64_t w_scales(const GemmShape& shape);

struct GemmOperands {
  const void* x = nullptr;
  const void* w = nullptr;
  void* y = nullptr;
  const float* x_scale = nullptr;  ///< 16-byte aligned
  const float* w_scale = nullptr;
};

/// cuBLASLt's handle and the workspace (32 MiB) its kernels share: launches that use one library object must
/// follow each other on one stream. Under the emulator, plain loops.
class LtLibrary {
 public:
  LtLibrary();  ///< Errors: DeviceError
  ~LtLibrary();
  LtLibrary(const LtLibrary&) = delete;
  LtLibrary& operator=(const LtLibrary&) = delete;

  struct Impl;
  Impl& impl() const { return *impl_; }

 private:
  std::unique_ptr<Impl> impl_;
};

/// A GEMM of one shape by cuBLASLt, its kernel chosen once: the first of the library's heuristics, as engines
/// take it, unless tuned.
class LtGemm {
 public:
  /// Errors: DeviceError, when the library offers no kernel for the shape on this device.
  LtGemm(const LtLibrary& library, const GemmShape& shape);
  ~LtGemm();
  LtGemm(LtGemm&&) noexcept;
  LtGemm& operator=(LtGemm&&) noexcept;

  /// Times the heuristics' candidates on these operands and keeps the fastest. Synchronises.
  void tune(const GemmOperands& operands, StreamRef stream);
  void launch(const GemmOperands& operands, StreamRef stream) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// What GEMMs of many shapes on one stream need: library, split-k workspace, plans made so far.
class GemmContext {
 public:
  GemmContext();
  const LtGemm& plan(const GemmShape& shape);  ///< made at the first call of a shape
  /// The same, and replaces the heuristics' choice by the fastest of their candidates. Synchronises.
  void tune(const GemmShape& shape, const GemmOperands& operands);
  const SplitK& split_k() const { return split_.ref(); }
  int sm_count() const { return sm_count_; }

 private:
  LtLibrary library_;
  SplitKWorkspace split_;
  int sm_count_;
  std::map<GemmShape, LtGemm> plans_;
};

/// Implementations by name, as in measured tables.
enum class GemmVariant : std::uint8_t { cublaslt, gemv, flat };
/// Why `variant` cannot compute this shape (formats, m, alignment); nullopt = it can.
std::optional<std::string> gemm_unsupported(GemmVariant variant, const GemmShape& shape);
/// What gemm() takes: gemv for m <= 2, flat for m <= 16, where their formats and alignments allow, else the
/// library.
GemmVariant gemm_variant(const GemmShape& shape);

/// By the variant named, or the one gemm_variant() chooses. The first call for a shape that goes to the
/// library makes a plan: call it once before capturing a graph.
void gemm(GemmContext& context, GemmVariant variant, const GemmShape& shape, const GemmOperands& operands,
          StreamRef stream);
void gemm(GemmContext& context, const GemmShape& shape, const GemmOperands& operands, StreamRef stream);

}  // namespace orrery::kernels
