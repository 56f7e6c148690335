#pragma once

#include <cstdint>

#include "device/numeric.cuh"
#include "real_fft.hpp"

namespace orrery::kernels {

/// y_t = skip u_t + sum_(s <= t) filter_(t-s) u_s per channel (Hyena, Poli et al., 2023, section 3), rows
/// padded to twice their length so that the circular convolution is a causal one.
struct LongConvArgs {
  const bf16* u = nullptr;          ///< [seqs, channels, length]
  const Complex* filter = nullptr;  ///< spectrum of the filter padded with zeros, [channels, length + 1]
  const float* skip = nullptr;      ///< [channels]
  bf16* y = nullptr;                ///< as u
  float* padded = nullptr;          ///< workspace [seqs, channels, 2 length]
  Complex* spectrum = nullptr;      ///< workspace [seqs, channels, length + 1]
  std::int64_t seqs = 0, channels = 0, length = 0;  ///< length: a power of two, at least 8
};
/// `fft`: of 2 length points and seqs x channels rows.
void long_convolution(const LongConvArgs& args, const RealFft& fft, StreamRef stream);

}  // namespace orrery::kernels
