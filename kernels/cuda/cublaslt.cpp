#include <algorithm>
#include <array>
#include <limits>
#include <string>
#include <vector>

#include <cublasLt.h>

#include "gemm.hpp"

namespace orrery::kernels {

namespace {

constexpr std::size_t kWorkspaceBytes = std::size_t{32} << 20;  // what engines give it on Hopper
constexpr int kCandidates = 8;

void check_blas(cublasStatus_t status, const std::string& doing) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  throw DeviceError(doing + ": cuBLASLt says " + cublasLtGetStatusString(status), static_cast<int>(status),
                    status == CUBLAS_STATUS_ALLOC_FAILED, false);
}

template <class Handle, cublasStatus_t (*destroy)(Handle)>
struct Destroy {
  void operator()(Handle h) const noexcept { destroy(h); }
};
template <class Handle, cublasStatus_t (*destroy)(Handle)>
using Owned = std::unique_ptr<std::remove_pointer_t<Handle>, Destroy<Handle, destroy>>;
using Operation = Owned<cublasLtMatmulDesc_t, cublasLtMatmulDescDestroy>;
using Layout = Owned<cublasLtMatrixLayout_t, cublasLtMatrixLayoutDestroy>;
using Preference = Owned<cublasLtMatmulPreference_t, cublasLtMatmulPreferenceDestroy>;

struct Formats {
  cudaDataType_t in, out, scale;
  cublasComputeType_t compute;
};
Formats formats(DType format) {
  switch (format) {
    case DType::fp16:
      return {CUDA_R_16F, CUDA_R_16F, CUDA_R_32F, CUBLAS_COMPUTE_32F};
    case DType::fp8:
      return {CUDA_R_8F_E4M3, CUDA_R_16BF, CUDA_R_32F, CUBLAS_COMPUTE_32F};
    case DType::int8:
      return {CUDA_R_8I, CUDA_R_32I, CUDA_R_32I, CUBLAS_COMPUTE_32I};
    default:
      return {CUDA_R_16BF, CUDA_R_16BF, CUDA_R_32F, CUBLAS_COMPUTE_32F};
  }
}

template <class Value>
void set(const Operation& operation, cublasLtMatmulDescAttributes_t attribute, const Value& value) {
  check_blas(cublasLtMatmulDescSetAttribute(operation.get(), attribute, &value, sizeof value),
             "description of a GEMM");
}

Layout layout(cudaDataType_t type, std::int64_t rows, std::int64_t columns) {
  cublasLtMatrixLayout_t made = nullptr;
  check_blas(cublasLtMatrixLayoutCreate(&made, type, static_cast<std::uint64_t>(rows),
                                        static_cast<std::uint64_t>(columns), rows),
             "layout of a matrix");
  return Layout(made);
}

/// The library is column-major: y^T[n,m] = (W^T[k,n])^T x^T[k,m], where each of the three is the row-major
/// matrix read by columns. W is its A, x its B; fp8 and int8 allow this arrangement alone.
Operation describe(const GemmShape& shape) {
  const Formats f = formats(shape.format);
  cublasLtMatmulDesc_t made = nullptr;
  check_blas(cublasLtMatmulDescCreate(&made, f.compute, f.scale), "description of a GEMM");
  Operation operation(made);
  set(operation, CUBLASLT_MATMUL_DESC_TRANSA, CUBLAS_OP_T);
  set(operation, CUBLASLT_MATMUL_DESC_TRANSB, CUBLAS_OP_N);
  if (shape.scaling == GemmScaling::none) return operation;
  // Two-level accumulation belongs to block scales; elsewhere engines take the fast one.
  const std::int8_t fast = shape.scaling == GemmScaling::block128 ? 0 : 1;
  set(operation, CUBLASLT_MATMUL_DESC_FAST_ACCUM, fast);
#if CUBLAS_VERSION >= 120900
  std::int32_t w = CUBLASLT_MATMUL_MATRIX_SCALE_SCALAR_32F, x = w;
  if (shape.scaling == GemmScaling::row) w = x = CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F;
  if (shape.scaling == GemmScaling::block128) {
    w = CUBLASLT_MATMUL_MATRIX_SCALE_BLK128x128_32F, x = CUBLASLT_MATMUL_MATRIX_SCALE_VEC128_32F;
  }
  set(operation, CUBLASLT_MATMUL_DESC_A_SCALE_MODE, w);
  set(operation, CUBLASLT_MATMUL_DESC_B_SCALE_MODE, x);
#else
  if (shape.scaling != GemmScaling::tensor) {
    check_blas(CUBLAS_STATUS_NOT_SUPPORTED, "scales other than per tensor need cuBLASLt 12.9");
  }
#endif
  return operation;
}

}  // namespace

struct LtLibrary::Impl {
  cublasLtHandle_t handle = nullptr;
  DeviceArray<std::uint8_t> workspace{kWorkspaceBytes};

  Impl() { check_blas(cublasLtCreate(&handle), "start of the library"); }
  ~Impl() { cublasLtDestroy(handle); }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
};

LtLibrary::LtLibrary() : impl_(std::make_unique<Impl>()) {}
LtLibrary::~LtLibrary() = default;

struct LtGemm::Impl {
  LtLibrary::Impl* library;
  GemmShape shape;
  Operation operation;
  Layout w, x, y;
  std::vector<cublasLtMatmulHeuristicResult_t> candidates;
  std::size_t chosen = 0;

  Impl(LtLibrary::Impl& l, const GemmShape& s)
      : library(&l),
        shape(s),
        operation(describe(s)),
        w(layout(formats(s.format).in, s.k, s.n)),
        x(layout(formats(s.format).in, s.k, s.m)),
        y(layout(formats(s.format).out, s.n, s.m)) {
    point_scales(reinterpret_cast<const float*>(l.workspace.data()),
                 reinterpret_cast<const float*>(l.workspace.data()));  // some kernels want to see scales
    ask();
  }

  void point_scales(const float* x_scale, const float* w_scale) const {
    if (shape.scaling == GemmScaling::none) return;
    set(operation, CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, w_scale);
    set(operation, CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, x_scale);
  }

  void ask() {
    cublasLtMatmulPreference_t made = nullptr;
    check_blas(cublasLtMatmulPreferenceCreate(&made), "choice of a kernel");
    const Preference preference(made);
    const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t attribute, const auto& value) {
      check_blas(cublasLtMatmulPreferenceSetAttribute(made, attribute, &value, sizeof value),
                 "choice of a kernel");
    };
    prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, std::uint64_t{kWorkspaceBytes});
    for (const auto matrix :
         {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
          CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES}) {
      prefer(matrix, std::uint32_t{16});  // rows of a batch start anywhere, in whole 16 bytes
    }
    candidates.resize(kCandidates);
    int found = 0;
    const cublasStatus_t status =
        cublasLtMatmulAlgoGetHeuristic(library->handle, operation.get(), w.get(), x.get(), y.get(), y.get(),
                                       made, kCandidates, candidates.data(), &found);
    if (status == CUBLAS_STATUS_SUCCESS && found == 0) {
      check_blas(CUBLAS_STATUS_NOT_SUPPORTED, "choice of a kernel");
    }
    check_blas(status, "choice of a kernel");
    candidates.resize(static_cast<std::size_t>(found));
    const auto usable = [](const cublasLtMatmulHeuristicResult_t& c) {
      return c.state == CUBLAS_STATUS_SUCCESS;
    };
    std::erase_if(candidates, [&](const auto& c) { return !usable(c); });
    if (candidates.empty()) check_blas(CUBLAS_STATUS_NOT_SUPPORTED, "choice of a kernel");
  }

  cublasStatus_t run(const GemmOperands& o, std::size_t candidate, StreamRef stream) const {
    point_scales(o.x_scale, o.w_scale);
    const float one = 1, zero = 0;
    const std::int32_t integer_one = 1, integer_zero = 0;
    const bool integers = shape.format == DType::int8;
    const void* alpha = integers ? static_cast<const void*>(&integer_one) : &one;
    const void* beta = integers ? static_cast<const void*>(&integer_zero) : &zero;
    return cublasLtMatmul(library->handle, operation.get(), alpha, o.w, w.get(), o.x, x.get(), beta, o.y,
                          y.get(), o.y, y.get(), &candidates[candidate].algo, library->workspace.data(),
                          kWorkspaceBytes, stream);
  }
};

LtGemm::LtGemm(const LtLibrary& library, const GemmShape& shape)
    : impl_(std::make_unique<Impl>(library.impl(), shape)) {}
LtGemm::~LtGemm() = default;
LtGemm::LtGemm(LtGemm&&) noexcept = default;
LtGemm& LtGemm::operator=(LtGemm&&) noexcept = default;

void LtGemm::launch(const GemmOperands& operands, StreamRef stream) const {
  check_blas(impl_->run(operands, impl_->chosen, stream), "launch of a GEMM");
}

void LtGemm::tune(const GemmOperands& operands, StreamRef stream) {
  constexpr int repeats = 5;
  Event begin, end;
  double fastest = std::numeric_limits<double>::infinity();
  for (std::size_t i = 0; i < impl_->candidates.size(); ++i) {
    if (impl_->run(operands, i, stream) != CUBLAS_STATUS_SUCCESS) continue;  // warms up; some refuse when run
    begin.record(stream);
    for (int r = 0; r < repeats; ++r) static_cast<void>(impl_->run(operands, i, stream));
    end.record(stream);
    end.wait();
    const double seconds = end.seconds_since(begin);
    if (seconds < fastest) fastest = seconds, impl_->chosen = i;
  }
}

}  // namespace orrery::kernels
