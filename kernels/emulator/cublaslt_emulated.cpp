#include <vector>

#include "device/numeric.cuh"
#include "gemm.hpp"

// cuBLASLt's place in the emulator: plain loops that read and write the same layouts.

namespace orrery::kernels {

struct LtLibrary::Impl {};
LtLibrary::LtLibrary() : impl_(std::make_unique<Impl>()) {}
LtLibrary::~LtLibrary() = default;

namespace {

template <class T>
std::vector<float> read(const void* matrix, std::int64_t count) {
  const T* const values = static_cast<const T*>(matrix);
  std::vector<float> out(static_cast<std::size_t>(count));
  for (std::int64_t i = 0; i < count; ++i) out[static_cast<std::size_t>(i)] = to_float(values[i]);
  return out;
}
std::vector<float> read(DType format, const void* matrix, std::int64_t count) {
  switch (format) {
    case DType::fp16:
      return read<fp16>(matrix, count);
    case DType::fp8:
      return read<fp8>(matrix, count);
    case DType::int8:
      return read<std::int8_t>(matrix, count);
    default:
      return read<bf16>(matrix, count);
  }
}

void write(DType format, void* matrix, std::int64_t i, float value) {
  if (format == DType::int8) {
    static_cast<std::int32_t*>(matrix)[i] = static_cast<std::int32_t>(value);
  } else if (format == DType::fp16) {
    static_cast<fp16*>(matrix)[i] = from_float<fp16>(value);
  } else {
    static_cast<bf16*>(matrix)[i] = from_float<bf16>(value);
  }
}

/// Product of the two scales of output (row, column) for the 128 elements of k in `block`.
float scale(const GemmShape& s, const GemmOperands& o, std::int64_t row, std::int64_t column,
            std::int64_t block) {
  switch (s.scaling) {
    case GemmScaling::tensor:
      return o.x_scale[0] * o.w_scale[0];
    case GemmScaling::row:
      return o.x_scale[row] * o.w_scale[column];
    case GemmScaling::block128:
      return o.x_scale[block * s.m + row] *
             o.w_scale[column / 128 * (ceil_div<std::int64_t>(s.k, 512) * 4) + block];
    default:
      return 1;
  }
}

}  // namespace

struct LtGemm::Impl {
  GemmShape shape;
};
LtGemm::LtGemm(const LtLibrary&, const GemmShape& shape) : impl_(std::make_unique<Impl>(Impl{shape})) {}
LtGemm::~LtGemm() = default;
LtGemm::LtGemm(LtGemm&&) noexcept = default;
LtGemm& LtGemm::operator=(LtGemm&&) noexcept = default;

void LtGemm::tune(const GemmOperands&, StreamRef) {}

void LtGemm::launch(const GemmOperands& o, StreamRef) const {
  const GemmShape& s = impl_->shape;
  const auto x = read(s.format, o.x, s.m * s.k), w = read(s.format, o.w, s.n * s.k);
  for (std::int64_t row = 0; row < s.m; ++row) {
    for (std::int64_t column = 0; column < s.n; ++column) {
      float sum = 0;
      for (std::int64_t first = 0; first < s.k; first += 128) {
        float part = 0;
        for (std::int64_t k = first; k < std::min(first + 128, s.k); ++k) {
          part += x[static_cast<std::size_t>(row * s.k + k)] * w[static_cast<std::size_t>(column * s.k + k)];
        }
        sum += part * scale(s, o, row, column, first / 128);
      }
      write(s.format, o.y, row * s.n + column, sum);
    }
  }
}

}  // namespace orrery::kernels
