#include <complex>
#include <numbers>
#include <vector>

#include "real_fft.hpp"

// cuFFT's place in the emulator: a recursive transform of radix 2 in double precision.

namespace orrery::kernels {

namespace {
using Values = std::vector<std::complex<double>>;

/// sum_n x_n e^(sign 2 pi i n k / N) for N a power of two.
Values transform(const Values& x, double sign) {
  const std::size_t n = x.size();
  if (n == 1) return x;
  Values even, odd;
  for (std::size_t i = 0; i < n; i += 2) even.push_back(x[i]), odd.push_back(x[i + 1]);
  even = transform(even, sign), odd = transform(odd, sign);
  Values out(n);
  for (std::size_t k = 0; k < n / 2; ++k) {
    const double angle = sign * 2 * std::numbers::pi * static_cast<double>(k) / static_cast<double>(n);
    const auto turned = std::polar(1.0, angle) * odd[k];
    out[k] = even[k] + turned, out[k + n / 2] = even[k] - turned;
  }
  return out;
}
}  // namespace

struct RealFft::Impl {
  std::size_t points, rows;
};

RealFft::RealFft(std::int64_t points, std::int64_t rows)
    : impl_(new Impl{static_cast<std::size_t>(points), static_cast<std::size_t>(rows)}) {}
RealFft::~RealFft() = default;

void RealFft::forward(float* in, Complex* out, StreamRef) const {
  const std::size_t points = impl_->points, kept = points / 2 + 1;
  for (std::size_t row = 0; row < impl_->rows; ++row) {
    Values x;
    for (std::size_t i = 0; i < points; ++i) x.emplace_back(static_cast<double>(in[row * points + i]));
    const Values spectrum = transform(x, -1);
    for (std::size_t k = 0; k < kept; ++k) {
      out[row * kept + k] = {static_cast<float>(spectrum[k].real()), static_cast<float>(spectrum[k].imag())};
    }
  }
}

void RealFft::inverse(Complex* in, float* out, StreamRef) const {
  const std::size_t points = impl_->points, kept = points / 2 + 1;
  for (std::size_t row = 0; row < impl_->rows; ++row) {
    Values x(points);
    for (std::size_t k = 0; k < kept; ++k) {
      const Complex value = in[row * kept + k];
      x[k] = {static_cast<double>(value.re), static_cast<double>(value.im)};
      if (k != 0 && k != points / 2) x[points - k] = std::conj(x[k]);
      in[row * kept + k] = {0, 0};  // as the library may
    }
    const Values back = transform(x, 1);
    for (std::size_t i = 0; i < points; ++i) out[row * points + i] = static_cast<float>(back[i].real());
  }
}

}  // namespace orrery::kernels
