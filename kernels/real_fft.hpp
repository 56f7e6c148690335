#pragma once

#include <cstdint>
#include <memory>

#include "runtime/runtime.hpp"

namespace orrery::kernels {

struct alignas(8) Complex {
  float re, im;
};

/// Real transforms of `rows` rows of `points` numbers (a power of two) through cuFFT, without scaling: a
/// forward and an inverse one multiply by `points`. The emulator has loops in their place. Plans and their
/// workspaces are made by the constructor; executions can be captured into a graph.
class RealFft {
 public:
  /// Errors: DeviceError.
  RealFft(std::int64_t points, std::int64_t rows);
  ~RealFft();
  RealFft(const RealFft&) = delete;
  RealFft& operator=(const RealFft&) = delete;
  /// in [rows, points] to out [rows, points / 2 + 1]; two different buffers.
  void forward(float* in, Complex* out, StreamRef stream) const;
  /// The way back; `in` is destroyed.
  void inverse(Complex* in, float* out, StreamRef stream) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace orrery::kernels
