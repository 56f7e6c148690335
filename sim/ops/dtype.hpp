#pragma once

#include <cstdint>
#include <string_view>

namespace orrery {

/// Number formats of elements, as engines name them; the scales beside them are WeightScales.
enum class DType : std::uint8_t { fp32, bf16, fp16, fp8, int8, int4, fp4 };
inline constexpr int kDTypeCount = 7;

/// Bytes per element. Scales of grouped formats are counted by the operator that stores them.
constexpr double bytes_per_element(DType t) {
  switch (t) {
    case DType::fp32:
      return 4.0;
    case DType::bf16:
    case DType::fp16:
      return 2.0;
    case DType::fp8:
    case DType::int8:
      return 1.0;
    case DType::int4:
    case DType::fp4:
      return 0.5;
  }
  return 0.0;
}

/// Bytes of an element of the KV cache, the scales of its format included: 16 bits per 64 elements of int8
/// and int4 (group 64; an fp32 scale per token and head of 128 is the same), 8 per 16 of fp4; one per tensor
/// of fp8.
constexpr double kv_bytes_per_element(DType t) {
  const double scales = t == DType::fp4 ? 1.0 / 16 : t == DType::int8 || t == DType::int4 ? 2.0 / 64 : 0.0;
  return bytes_per_element(t) + scales;
}

constexpr std::string_view name(DType t) {
  constexpr std::string_view names[] = {"fp32", "bf16", "fp16", "fp8", "int8", "int4", "fp4"};
  return names[static_cast<int>(t)];
}

/// Accepts names and common synonyms (bfloat16, float16, half, fp8_e4m3, ...). Errors: ConfigError.
DType parse_dtype(std::string_view text);

}  // namespace orrery
