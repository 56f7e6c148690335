#pragma once

#include "device/narrow.cuh"
#include "ops/dtype.hpp"

namespace orrery::kernels {

/// A paged KV cache of one layer on the device (Kwon et al., vLLM, 2023, section 4.1) and the block table of
/// the batch that reads it. K and V each lie as [block][block_size][kv_heads][head_dim], rows of head_dim
/// elements without gaps. The formats and their storage types:
///   bf16  bf16
///   fp8   fp8 (E4M3), times one scale per tensor
///   int8  std::int8_t, times a scale per token and head
///   int4  int4x2, times a scale per token and head
struct PagedKv {
  void* k = nullptr;
  void* v = nullptr;
  float* k_scales = nullptr;  ///< int8 and int4: [block][block_size][kv_heads]
  float* v_scales = nullptr;
  float k_scale = 1, v_scale = 1;             ///< fp8: value = scale x element
  const std::int32_t* block_table = nullptr;  ///< [seqs][table_stride]: block of each block_size tokens
  int table_stride = 0, block_size = 16, kv_heads = 0, head_dim = 0;
  DType format = DType::bf16;
};

/// Calls f with a value of the format's storage type. False when K and V cannot have this format.
template <class F>
bool with_kv_type(DType format, F&& f) {
  if (format == DType::bf16) return f(bf16{}), true;
  if (format == DType::fp8) return f(fp8{}), true;
  if (format == DType::int8) return f(std::int8_t{}), true;
  if (format == DType::int4) return f(int4x2{}), true;
  return false;
}
/// Whether every token and head has a scale of its own.
template <class T>
inline constexpr bool kScaledPerToken = std::is_same_v<T, std::int8_t> || std::is_same_v<T, int4x2>;
/// Elements in 16 bytes, and bytes of `n` elements.
template <class T>
inline constexpr int kKvPerLoad = 8 * kPerUnit<T>;
template <class T>
constexpr ORRERY_HOST_DEVICE int kv_bytes(int n) {
  return 2 * n / kPerUnit<T>;
}
/// The element a scale is chosen for: scale = largest |x| / kKvLargest.
template <class T>
inline constexpr float kKvLargest = 448.0F;
template <>
inline constexpr float kKvLargest<std::int8_t> = 127.0F;
template <>
inline constexpr float kKvLargest<int4x2> = 7.0F;

/// Where token `position` of sequence `seq` lies: its number among the cache's tokens, block x block_size +
/// offset.
ORRERY_HOST_DEVICE std::int64_t kv_token(const PagedKv& kv, int seq, int position) {
  const std::int64_t entry = static_cast<std::int64_t>(seq) * kv.table_stride + position / kv.block_size;
  return static_cast<std::int64_t>(kv.block_table[entry]) * kv.block_size + position % kv.block_size;
}
/// Number of the row of a token and KV head: its scale is k_scales[row].
ORRERY_HOST_DEVICE std::size_t kv_row(const PagedKv& kv, std::int64_t token, int head) {
  return static_cast<std::size_t>(token * kv.kv_heads + head);
}
/// First element of a row; `base` is kv.k or kv.v.
template <class T>
ORRERY_HOST_DEVICE T* kv_address(const PagedKv& kv, void* base, std::size_t row) {
  return static_cast<T*>(base) + row * static_cast<std::size_t>(kv_bytes<T>(kv.head_dim)) / sizeof(T);
}

/// 16 bytes (aligned) as floats, without scale.
template <class T>
ORRERY_HOST_DEVICE void load_kv_pack(const T* p, float (&out)[kKvPerLoad<T>]) {
  const auto pack = load_pack<kPerLoad<T>>(p);
  if constexpr (std::is_same_v<T, int4x2>) {
    for (int i = 0; i < kKvPerLoad<T>; ++i) out[i] = to_float(pack.v[i / 2], i % 2);
  } else {
    for (int i = 0; i < kKvPerLoad<T>; ++i) out[i] = to_float(pack.v[i]);
  }
}
/// Floats times `inverse_scale`, rounded to the format, to 16 bytes.
template <class T>
ORRERY_HOST_DEVICE void store_kv_pack(T* p, const float (&x)[kKvPerLoad<T>], float inverse_scale) {
  Pack<T, kPerLoad<T>> pack;
  if constexpr (std::is_same_v<T, int4x2>) {
    const auto nibble = [&](int i) {
      const float limited = fminf(fmaxf(rintf(x[i] * inverse_scale), -7.0F), 7.0F);
      return static_cast<unsigned>(static_cast<int>(limited)) & 0xfU;
    };
    for (int i = 0; i < kPerLoad<T>; ++i) {
      pack.v[i].bits = static_cast<std::uint8_t>(nibble(2 * i) | nibble(2 * i + 1) << 4);
    }
  } else {
    for (int i = 0; i < kPerLoad<T>; ++i) pack.v[i] = from_float<T>(x[i] * inverse_scale);
  }
  store_pack(p, pack);
}

}  // namespace orrery::kernels
