#pragma once

#include <cstdint>

#include "attention_decode.hpp"
#include "attention_prefill.hpp"
#include "step_inputs.hpp"
#include "weights.hpp"

namespace orrery::live {

// What a config.json says of these changes no cost, and with random weights no meaning.
inline constexpr float kNormEpsilon = 1e-5F;
inline constexpr double kRopeBase = 500000;

/// What memory is set aside for.
struct DecoderLimits {
  std::int64_t kv_blocks = 0;  ///< the null block 0 included
  int block_size = 16;
  int max_rows = 0;       ///< rows of a step
  int max_sequences = 0;  ///< of a step, padding included
  int max_model_len = 0;
};

/// The forward pass over a paged KV cache: from a step's inputs on the device to sampled tokens. Enqueues the
/// kernels of kernels/ in the order of StepLowering (sim/model/lowering.hpp); nothing is allocated.
class Decoder {
 public:
  /// Errors: DeviceError (out of memory).
  Decoder(const DecoderSizes& sizes, const DecoderLimits& limits, std::uint64_t seed);
  /// Bytes on the device of all of it.
  static double bytes(const DecoderSizes& sizes, const DecoderLimits& limits);

  /// `in` on the device. Tokens go to sampled() and to the token table. Equal counts make equal launches,
  /// which a graph may hold; the first step of given counts makes plans and cannot be captured.
  void enqueue(const StepCounts& counts, const InputView& in, StreamRef stream);

  const std::int32_t* sampled() const { return sampled_.data(); }  ///< [sequences] on the device
  const Weights& weights() const { return weights_; }
  const DecoderSizes& sizes() const { return sizes_; }

 private:
  void layer(std::size_t index, const StepCounts& counts, const InputView& in, StreamRef stream);
  void attention(std::size_t index, const StepCounts& counts, const InputView& in, StreamRef stream);
  void logits(const StepCounts& counts, const InputView& in, StreamRef stream);
  /// Adds `x` to the residual stream (nullptr: nothing) and normalises it; narrow where the next layer is.
  Rows norm(const bf16* x, const bf16* weight, bool narrow, std::int64_t rows, StreamRef stream);
  kernels::PagedKv cache(std::size_t index, const StepCounts& counts, const InputView& in) const;

  DecoderSizes sizes_;
  DecoderLimits limits_;
  Weights weights_;
  kernels::GemmContext gemm_;
  DeviceArray<bf16> k_, v_;  ///< [layer][block][block_size][kv width of the layer]
  std::vector<std::size_t> layer_offset_;
  DeviceArray<float> angles_, decode_workspace_, activation_scale_;
  DeviceArray<bf16> stream_, x_, normed_, qkv_, attended_, gate_up_, activated_, last_, logits_;
  DeviceArray<fp8> narrow_;  ///< widest input of a linear layer, W8A8 only
  DeviceArray<std::uint8_t> greedy_workspace_;
  DeviceArray<std::int32_t> sampled_, latest_;
};

}  // namespace orrery::live
