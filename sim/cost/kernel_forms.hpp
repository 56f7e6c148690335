#pragma once

#include <array>
#include <cstddef>

namespace orrery {

// Closed forms of kernel time in seconds, each a handful of physical coefficients. Calibration fits the
// coefficients, the fitted cost model multiplies the form by a surface of what remains. Coefficients are
// positive (fitted as logarithms) and stand in arrays with a parallel array of names, so that fitting and
// files treat them alike.

/// Elements and SMs a form needs besides the shape.
struct GemmBytes {
  double input = 2;   ///< bytes per element of x (and of the arithmetic)
  double weight = 2;  ///< bytes per element of W as stored
  double output = 2;  ///< bytes per element of y
};

/// y[m,n] = x[m,k] W[k,n]: the fastest over output tiles of 64x64 to 128x256 and over splitting k 1 to 16
/// ways of
///   launch + (((waves (k_steps t_step + tile))^4 + memory^4)^(1/4) + split cost,
/// waves = ceil(tiles * splits / SMs) (wave quantisation), k_steps of 64, t_step the larger of a tile's
/// arithmetic at `tensor` rate times the tile's efficiency and a latency floor. With `quantise` (rates of fp8
/// kernels, whose rows hold the quantisation of x) a term max(floor, 3 m k bytes / rate) is added.
struct GemmForm {
  enum Coefficient : std::size_t {
    launch,
    tensor,
    efficiency_128x256,
    efficiency_128x128,
    efficiency_64x128,
    efficiency_64x64,
    step_latency,
    memory,
    split,
    tile,
    quantise_floor,
    quantise_rate,
    kCount
  };
  static constexpr std::array<const char*, kCount> kNames{"launch_s",
                                                          "tensor_flops_per_s",
                                                          "efficiency_128x256",
                                                          "efficiency_128x128",
                                                          "efficiency_64x128",
                                                          "efficiency_64x64",
                                                          "step_latency_s",
                                                          "memory_bytes_per_s",
                                                          "split_s",
                                                          "tile_s",
                                                          "quantise_floor_s",
                                                          "quantise_bytes_per_s"};
  std::array<double, kCount> c{};  ///< quantise_* are 0 for kernels that do not quantise
  double sm_count = 1;

  double seconds(double m, double n, double k, const GemmBytes& bytes) const;
};

/// What attention of prompt chunks does, in sums over the chunks of one launch.
struct PrefillShape {
  double seqs = 0, new_tokens = 0, pairs = 0, kv_tokens = 0, max_kv = 0, heads = 0, kv_heads = 0,
         head_dim = 0;
  double keys_per_query() const { return pairs / new_tokens; }
  double group() const { return heads / kv_heads; }
  /// Thread blocks of 128 queries (FlashAttention; Dao, 2023), each sequence rounded up.
  double blocks() const;
  /// log2 of (twice the keys per query: the length of a prompt without past, blocks, group, KV heads).
  std::array<double, 4> log2_point() const;
};

/// launch + (compute^4 + memory^4 + longest_block^4)^(1/4) + waves * block: compute at a rate per head size
/// on the pairs and on the masked half of diagonal blocks, Q K V O once through memory, the longest block on
/// one SM alone.
struct PrefillForm {
  enum Coefficient : std::size_t {
    launch,
    tensor_64,
    tensor_128,
    tensor_256,
    diagonal,
    memory,
    block,
    longest,
    kCount
  };
  static constexpr std::array<const char*, kCount> kNames{"launch_s",
                                                          "tensor_flops_per_s_64",
                                                          "tensor_flops_per_s_128",
                                                          "tensor_flops_per_s_256",
                                                          "diagonal_keys",
                                                          "memory_bytes_per_s",
                                                          "block_s",
                                                          "longest_block_factor"};
  std::array<double, kCount> c{};
  double sm_count = 1;

  /// Rates of head sizes between those fitted: geometric interpolation.
  double tensor_rate(double head_dim) const;
  double seconds(const PrefillShape& s) const;
};

/// One query per sequence; `length` is the mean number of keys.
struct DecodeShape {
  double seqs = 0, length = 0, heads = 0, kv_heads = 0, head_dim = 0;
  /// Independent key streams: thread blocks before splitting (Flash-Decoding; Dao et al., 2023).
  double streams() const { return seqs * kv_heads; }
  double group() const { return heads / kv_heads; }
  /// log2 of (streams, length, group, KV heads).
  std::array<double, 4> log2_point() const;
};

/// launch + (memory^4 + serial^4 + compute^4)^(1/4) + waves * block + log2(splits) * combine + Q and O.
struct DecodeForm {
  enum Coefficient : std::size_t {
    launch,
    memory,
    step_latency,
    combine,
    block,
    tensor,
    query_output,
    kCount
  };
  static constexpr std::array<const char*, kCount> kNames{
      "launch_s", "memory_bytes_per_s", "step_latency_s",          "combine_s",
      "block_s",  "tensor_flops_per_s", "query_output_bytes_per_s"};
  std::array<double, kCount> c{};
  double sm_count = 1;

  double seconds(const DecodeShape& s) const;
};

}  // namespace orrery
