#include <string>

#include <cufft.h>

#include "real_fft.hpp"

namespace orrery::kernels {

namespace {
void check_fft(cufftResult status, const char* doing) {
  if (status == CUFFT_SUCCESS) return;
  throw DeviceError(std::string(doing) + ": cuFFT error " + std::to_string(static_cast<int>(status)),
                    static_cast<int>(status), status == CUFFT_ALLOC_FAILED, false);
}

/// A plan for one direction.
class Plan {
 public:
  Plan(std::int64_t points, std::int64_t rows, cufftType type) {
    check_fft(cufftCreate(&handle_), "plan of a transform");
    long long size = points;
    std::size_t workspace = 0;
    const auto made =
        cufftMakePlanMany64(handle_, 1, &size, nullptr, 1, 0, nullptr, 1, 0, type, rows, &workspace);
    if (made != CUFFT_SUCCESS) cufftDestroy(handle_);
    check_fft(made, "plan of a transform");
  }
  ~Plan() { cufftDestroy(handle_); }
  Plan(const Plan&) = delete;
  Plan& operator=(const Plan&) = delete;
  cufftHandle on(StreamRef stream) const {
    check_fft(cufftSetStream(handle_, stream), "stream of a transform");
    return handle_;
  }

 private:
  cufftHandle handle_ = 0;
};
}  // namespace

struct RealFft::Impl {
  Plan forward, inverse;
};

RealFft::RealFft(std::int64_t points, std::int64_t rows)
    : impl_(new Impl{{points, rows, CUFFT_R2C}, {points, rows, CUFFT_C2R}}) {}
RealFft::~RealFft() = default;

void RealFft::forward(float* in, Complex* out, StreamRef stream) const {
  check_fft(cufftExecR2C(impl_->forward.on(stream), in, reinterpret_cast<cufftComplex*>(out)),
            "forward transform");
}
void RealFft::inverse(Complex* in, float* out, StreamRef stream) const {
  check_fft(cufftExecC2R(impl_->inverse.on(stream), reinterpret_cast<cufftComplex*>(in), out),
            "inverse transform");
}

}  // namespace orrery::kernels
