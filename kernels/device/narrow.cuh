#pragma once

#include "device/numeric.cuh"

namespace orrery::kernels {

// From formats of 8 and 4 bits to pairs of bf16, as tensor cores take them, in a few integer instructions.

/// Two signed 4-bit integers (two's complement, -8..7), the element of even index in the lower half of the
/// byte.
struct int4x2 {
  std::uint8_t bits;
};

/// Elements of T in 16 bits.
template <class T>
inline constexpr int kPerUnit = 2 / static_cast<int>(sizeof(T));
template <>
inline constexpr int kPerUnit<int4x2> = 4;

/// Value of the element of even (0) or odd (1) index.
ORRERY_HOST_DEVICE float to_float(int4x2 x, int odd) {
  return static_cast<float>(static_cast<int>((x.bits >> 4 * odd & 0xfU) ^ 8U) - 8);
}

/// a b + c for two bf16 in a register, rounded once; subnormal numbers count.
ORRERY_DEVICE std::uint32_t fma_bf16x2(std::uint32_t a, std::uint32_t b, std::uint32_t c) {
#if defined(__CUDACC__)
  std::uint32_t d;
  asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
  return d;
#else
  const auto half = [](std::uint32_t pair, int i) {
    return to_float(bf16{static_cast<std::uint16_t>(pair >> 16 * i)});
  };
  const auto one = [&](int i) { return fmaf(half(a, i), half(b, i), half(c, i)); };
  return pack2<bf16>(one(0), one(1));
#endif
}

/// Byte i of the result is byte (selector >> 4i & 7) of the eight bytes b:a, a's the lower four.
ORRERY_DEVICE std::uint32_t byte_perm(std::uint32_t a, std::uint32_t b, std::uint32_t selector) {
#if defined(__CUDACC__)
  return __byte_perm(a, b, selector);
#else
  const std::uint64_t bytes = static_cast<std::uint64_t>(b) << 32 | a;
  std::uint32_t out = 0;
  for (int i = 0; i < 4; ++i) {
    out |= static_cast<std::uint32_t>(bytes >> 8 * (selector >> 4 * i & 7U) & 0xffU) << 8 * i;
  }
  return out;
#endif
}

/// A word is two units of 16 bits. pairs[i] = element i of the lower unit (lower half) and of the upper one,
/// in bf16, exactly. A scale is the caller's. NaN of fp8 becomes 480.
template <class T>
ORRERY_DEVICE void widen(std::uint32_t word, std::uint32_t (&pairs)[kPerUnit<T>]) {
  if constexpr (std::is_same_v<T, bf16>) {
    pairs[0] = word;
  } else if constexpr (std::is_same_v<T, fp8>) {
    // E4M3's exponent and mantissa, placed as bf16's lowest exponent bits and highest mantissa bits, read
    // 2^-120 of their value (bias 127 for 7), subnormal numbers too.
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const std::uint32_t x = i == 0 ? word << 8 : word;
      pairs[i] = fma_bf16x2((x & 0x80008000U) | (x >> 4 & 0x07f007f0U), 0x7b807b80U /* 2^120 */, 0x80008000U);
    }
  } else if constexpr (std::is_same_v<T, std::int8_t>) {
    // 2^23 + (x + 128) as a float's bits, less 2^23 + 128: an integer of at most 8 significant bits, whose
    // upper half is its bf16.
    const std::uint32_t x = word ^ 0x80808080U;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const auto byte = static_cast<std::uint32_t>(i);
      const float low = bits_to_float(byte_perm(x, 0x4b000000U, 0x7440U + byte)) - 8388736.0F;
      const float high = bits_to_float(byte_perm(x, 0x4b000000U, 0x7442U + byte)) - 8388736.0F;
      pairs[i] = byte_perm(float_to_bits(low), float_to_bits(high), 0x7632U);
    }
  } else {
    static_assert(std::is_same_v<T, int4x2>);
    // 128 + (x + 8) in bf16, less 136.
    const std::uint32_t x = word ^ 0x88888888U;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      pairs[i] = fma_bf16x2((x >> 4 * i & 0x000f000fU) | 0x43004300U, 0x3f803f80U, 0xc308c308U);
    }
  }
}

}  // namespace orrery::kernels
