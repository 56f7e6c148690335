#pragma once

#include "device/platform.cuh"

#if defined(__CUDACC__)
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>
#else
#include <algorithm>
#include <bit>
#endif

namespace orrery::kernels {

// Storage types, the same for device and host code. Arithmetic is in float: read with to_float, write with
// from_float.

struct bf16 {
  std::uint16_t bits;
};
struct fp16 {
  std::uint16_t bits;
};
/// E4M3 (OCP 8-bit floating point, 2023): 4 exponent bits of bias 7, no infinity, largest value 448.
struct fp8 {
  std::uint8_t bits;
};

ORRERY_HOST_DEVICE float bits_to_float(std::uint32_t bits) {
#if defined(__CUDA_ARCH__)
  return __uint_as_float(bits);
#else
  float f;
  memcpy(&f, &bits, sizeof f);
  return f;
#endif
}
ORRERY_HOST_DEVICE std::uint32_t float_to_bits(float f) {
#if defined(__CUDA_ARCH__)
  return __float_as_uint(f);
#else
  std::uint32_t bits;
  memcpy(&bits, &f, sizeof bits);
  return bits;
#endif
}

ORRERY_HOST_DEVICE float to_float(float x) {
  return x;
}
ORRERY_HOST_DEVICE float to_float(std::int8_t x) {
  return static_cast<float>(x);
}
ORRERY_HOST_DEVICE float to_float(bf16 x) {
  return bits_to_float(static_cast<std::uint32_t>(x.bits) << 16);
}
ORRERY_HOST_DEVICE float to_float(fp16 x) {
#if defined(__CUDA_ARCH__)
  return __half2float(__ushort_as_half(x.bits));
#else
  const std::uint32_t sign = static_cast<std::uint32_t>(x.bits & 0x8000U) << 16;
  const std::uint32_t exponent = x.bits >> 10 & 0x1fU, mantissa = x.bits & 0x3ffU;
  if (exponent == 0x1f) return bits_to_float(sign | 0x7f800000U | mantissa << 13);
  if (exponent != 0) return bits_to_float(sign | (exponent + 112) << 23 | mantissa << 13);
  const float tiny = static_cast<float>(mantissa) * 0x1p-24F;
  return sign != 0 ? -tiny : tiny;
#endif
}
ORRERY_HOST_DEVICE float to_float(fp8 x) {
#if defined(__CUDA_ARCH__)
  return __half2float(__half(__nv_cvt_fp8_to_halfraw(x.bits, __NV_E4M3)));
#else
  const std::uint32_t exponent = x.bits >> 3 & 0xfU, mantissa = x.bits & 7U;
  const std::uint32_t sign = static_cast<std::uint32_t>(x.bits & 0x80U) << 24;
  if (exponent == 0xf && mantissa == 7) return bits_to_float(sign | 0x7fc00000U);
  if (exponent != 0) return bits_to_float(sign | (exponent + 120) << 23 | mantissa << 20);
  const float tiny = static_cast<float>(mantissa) * 0x1p-9F;
  return sign != 0 ? -tiny : tiny;
#endif
}

namespace detail {
/// The float rounded to nearest even, its lowest `drop` mantissa bits cleared (a carry may raise the
/// exponent).
ORRERY_HOST_DEVICE std::uint32_t round_bits(std::uint32_t bits, int drop) {
  const std::uint32_t half = (1U << (drop - 1)) - 1U, odd = bits >> drop & 1U;
  return (bits + half + odd) >> drop << drop;
}
}  // namespace detail

template <class T>
ORRERY_HOST_DEVICE T from_float(float x);
template <>
ORRERY_HOST_DEVICE float from_float<float>(float x) {
  return x;
}
template <>
ORRERY_HOST_DEVICE bf16 from_float<bf16>(float x) {
#if defined(__CUDA_ARCH__)
  return {__bfloat16_as_ushort(__float2bfloat16_rn(x))};
#else
  if (x != x) return {0x7fff};
  return {static_cast<std::uint16_t>(detail::round_bits(float_to_bits(x), 16) >> 16)};
#endif
}
template <>
ORRERY_HOST_DEVICE fp16 from_float<fp16>(float x) {
#if defined(__CUDA_ARCH__)
  return {__half_as_ushort(__float2half_rn(x))};
#else
  const std::uint32_t bits = float_to_bits(x);
  const auto sign = static_cast<std::uint16_t>(bits >> 16 & 0x8000U);
  const float size = fabsf(x);
  if (x != x) return {0x7fff};
  if (size >= 65520.0F) return {static_cast<std::uint16_t>(sign | 0x7c00U)};
  if (size < 0x1p-14F)
    return {static_cast<std::uint16_t>(sign | static_cast<unsigned>(nearbyintf(size * 0x1p24F)))};
  const std::uint32_t rounded = detail::round_bits(float_to_bits(size), 13);
  return {static_cast<std::uint16_t>(sign | ((rounded >> 13) - (112U << 10)))};
#endif
}
/// Saturates at 448.
template <>
ORRERY_HOST_DEVICE fp8 from_float<fp8>(float x) {
#if defined(__CUDA_ARCH__)
  return {__nv_cvt_float_to_fp8(x, __NV_SATFINITE, __NV_E4M3)};
#else
  const auto sign = static_cast<std::uint8_t>(float_to_bits(x) >> 24 & 0x80U);
  const float size = fabsf(x);
  if (x != x) return {0x7f};
  if (size >= 448.0F) return {static_cast<std::uint8_t>(sign | 0x7eU)};
  if (size < 0x1p-6F)
    return {static_cast<std::uint8_t>(sign | static_cast<unsigned>(nearbyintf(size * 0x1p9F)))};
  const std::uint32_t rounded = detail::round_bits(float_to_bits(size), 20);
  return {static_cast<std::uint8_t>(sign | ((rounded >> 20) - (120U << 3)))};
#endif
}
/// Nearest, saturating at +-127.
template <>
ORRERY_HOST_DEVICE std::int8_t from_float<std::int8_t>(float x) {
  return static_cast<std::int8_t>(fminf(fmaxf(rintf(x), -127.0F), 127.0F));
}

/// `n` elements loaded or stored as one access (n * sizeof(T) is 2, 4, 8 or 16 bytes, the address aligned to
/// it).
template <class T, int n>
struct alignas(sizeof(T) * n) Pack {
  T v[n];
};
template <int n, class T>
ORRERY_HOST_DEVICE Pack<T, n> load_pack(const T* p) {
#if !defined(__CUDACC__)
  emulator::require_aligned(p, sizeof(Pack<T, n>));
#endif
  return *reinterpret_cast<const Pack<T, n>*>(p);
}
template <int n, class T>
ORRERY_HOST_DEVICE void store_pack(T* p, const Pack<T, n>& x) {
#if !defined(__CUDACC__)
  emulator::require_aligned(p, sizeof x);
#endif
  *reinterpret_cast<Pack<T, n>*>(p) = x;
}
/// Elements of T in 16 bytes.
template <class T>
inline constexpr int kPerLoad = 16 / static_cast<int>(sizeof(T));

/// Two values packed as a register of two bf16 (or fp16), `low` in the lower half: operands of tensor cores.
template <class T>
ORRERY_DEVICE std::uint32_t pack2(float low, float high) {
#if defined(__CUDA_ARCH__)
  std::uint32_t pair;  // one instruction for both, where two conversions would need three
  if constexpr (std::is_same_v<T, bf16>) {
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  } else {
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  }
  return pair;
#else
  return static_cast<std::uint32_t>(from_float<T>(low).bits) |
         static_cast<std::uint32_t>(from_float<T>(high).bits) << 16;
#endif
}

/// log2 of a power of two.
ORRERY_DEVICE int log2_of_power(int x) {
#if defined(__CUDA_ARCH__)
  return __ffs(x) - 1;
#else
  return __builtin_ctz(static_cast<unsigned>(x));
#endif
}

/// 2^x and e^x by the special-function unit (2 ulp and a little more).
ORRERY_DEVICE float fast_exp2(float x) {
#if defined(__CUDA_ARCH__)
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#else
  return exp2f(x);
#endif
}
ORRERY_DEVICE float fast_exp(float x) {
  return fast_exp2(x * 1.4426950408889634F);
}
ORRERY_DEVICE float sigmoid(float x) {
  return 1.0F / (1.0F + fast_exp(-x));
}
/// x sigmoid(x) (SiLU, swish).
ORRERY_DEVICE float silu(float x) {
  return x * sigmoid(x);
}

}  // namespace orrery::kernels
