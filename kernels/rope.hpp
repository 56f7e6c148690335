#pragma once

#include "kv_layout.hpp"
#include "runtime/runtime.hpp"

namespace orrery::kernels {

/// Rows of [q heads | k heads | v heads] of head_dim each, as the qkv projection writes them.
struct QkvRows {
  bf16* data = nullptr;  ///< [tokens, (heads + 2 kv_heads) head_dim]
  std::int64_t tokens = 0;
  int heads = 0, kv_heads = 0, head_dim = 0;  ///< head_dim: 64, 128 or 256
  int row() const { return (heads + 2 * kv_heads) * head_dim; }
};

/// Rotates q and k in place; then, with `kv`, writes k and v into the cache at `slots`.
struct RopeArgs {
  QkvRows qkv;
  const std::int32_t* positions = nullptr;  ///< [tokens] on the device
  const float* angles = nullptr;            ///< [positions][head_dim / 2] pairs (cos, sin): rope_angles()
  const PagedKv* kv = nullptr;              ///< on the host; nullptr: nothing is written. bf16 or fp8 only
  const std::int64_t* slots = nullptr;      ///< [tokens] on the device: block x block_size + offset
};
void rope(const RopeArgs& args, StreamRef stream);

/// k and v of each row into the cache at `slots`, in any of its formats (int8, int4: the scale of each head
/// is found first).
void kv_write(const QkvRows& qkv, const PagedKv& kv, const std::int64_t* slots, StreamRef stream);

/// cos and sin of position x base^(-2i / head_dim), i < head_dim / 2, for positions 0..n-1.
std::vector<float> rope_angles(std::int64_t positions, int head_dim, double base);

}  // namespace orrery::kernels
