#pragma once

#include <cstdint>
#include <vector>

#include "decoder_sizes.hpp"
#include "device/numeric.cuh"
#include "gemm.hpp"
#include "runtime/runtime.hpp"

namespace orrery::live {

using kernels::bf16;
using kernels::DeviceArray;
using kernels::fp8;
using kernels::StreamRef;

/// Activations divided by this are stored in fp8: those after a norm have unit variance, so 14 fit below the
/// largest E4M3 number, 448.
inline constexpr float kActivationScale = 1.0F / 32;

/// Rows of activations as a linear layer reads them: `fp8` layers the narrow ones, others the wide ones.
struct Rows {
  const bf16* wide = nullptr;
  const fp8* narrow = nullptr;
};

/// y[m, n] = x[m, k] W[n, k]^T with random W, uniform of variance 1/k (int4: of the format's own spread).
class Linear {
 public:
  Linear(WeightFormat format, int n, int k, std::uint64_t seed);
  void apply(kernels::GemmContext& context, const Rows& x, bf16* y, std::int64_t m, StreamRef stream) const;
  /// Bytes of the weights on the device.
  static std::size_t bytes(WeightFormat format, int n, int k);

  const DeviceArray<std::uint8_t>& storage() const { return data_; }
  float scale() const { return scale_; }
  int n() const { return n_; }
  int k() const { return k_; }

 private:
  WeightFormat format_;
  int n_, k_;
  float scale_ = 1;  ///< fp8: weight = scale x element
  DeviceArray<std::uint8_t> data_;
  DeviceArray<float> scales_;  ///< fp8: of the activations at 0, of the weights at kSecondScale
};

struct LayerWeights {
  LayerWeights(const DecoderSizes& sizes, const LayerSizes& layer, std::uint64_t seed);
  DeviceArray<bf16> input_norm, post_norm;  ///< [hidden]
  DeviceArray<bf16> q_norm, k_norm;         ///< [head_dim], with qk_norm
  DeviceArray<bf16> qkv_bias;               ///< [qkv width], with qkv_bias
  Linear qkv, o, gate_up, down;
};

/// Random weights of a decoder, the same for the same seed on every device.
struct Weights {
  Weights(const DecoderSizes& sizes, std::uint64_t seed);
  static double bytes(const DecoderSizes& sizes);
  const bf16* lm_head() const { return output.size() > 0 ? output.data() : embedding.data(); }

  DeviceArray<bf16> embedding;  ///< [vocab, hidden]
  DeviceArray<bf16> output;     ///< the same; empty when tied
  DeviceArray<bf16> final_norm;
  std::vector<LayerWeights> layers;
};

}  // namespace orrery::live
