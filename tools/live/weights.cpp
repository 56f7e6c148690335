#include "weights.hpp"

#include <array>
#include <cmath>

#include "gemm_quantised.hpp"
#include "random.hpp"

namespace orrery::live {
namespace {

constexpr std::size_t kSecondScale = 4;  // scales are 16-byte aligned
constexpr float kBiasScale = 0.5F;

/// A uniform distribution over [-a, a) has variance a^2 / 3.
float unit_variance_over(int k) {
  return std::sqrt(3.0F / static_cast<float>(k));
}

DeviceArray<bf16> ones(int n) {
  const std::vector<bf16> values(static_cast<std::size_t>(n), kernels::from_float<bf16>(1.0F));
  return DeviceArray<bf16>(std::span<const bf16>(values));
}

std::uint64_t mix(std::uint64_t seed, std::uint64_t matrix) {
  return seed * 0x9e3779b97f4a7c15ULL + matrix;
}

std::size_t elements(std::int64_t n, std::int64_t k) {
  return static_cast<std::size_t>(n * k);
}

}  // namespace

std::size_t Linear::bytes(WeightFormat format, int n, int k) {
  if (format == WeightFormat::int4) return kernels::packed_weight_bytes(DType::int4, n, k);
  return elements(n, k) * (format == WeightFormat::fp8 ? 1 : 2);
}

Linear::Linear(WeightFormat format, int n, int k, std::uint64_t seed)
    : format_(format), n_(n), k_(k), data_(bytes(format, n, k)) {
  if (format == WeightFormat::int4) {
    kernels::random_packed_weights(DType::int4, data_.data(), n, k, seed);
  } else if (format == WeightFormat::fp8) {
    scale_ = unit_variance_over(k);
    kernels::fill_random(reinterpret_cast<fp8*>(data_.data()), elements(n, k), seed, 1.0F);
    std::array<float, 2 * kSecondScale> scales{};
    scales[0] = kActivationScale, scales[kSecondScale] = scale_;
    scales_ = DeviceArray<float>(std::span<const float>(scales));
  } else {
    kernels::fill_random(reinterpret_cast<bf16*>(data_.data()), elements(n, k), seed, unit_variance_over(k));
  }
}

void Linear::apply(kernels::GemmContext& context, const Rows& x, bf16* y, std::int64_t m,
                   StreamRef stream) const {
  if (format_ == WeightFormat::int4) {
    kernels::QuantisedGemmArgs args;
    args.x = x.wide, args.w = data_.data(), args.y = y;
    args.m = m, args.n = n_, args.k = k_;
    kernels::gemm_quantised(DType::int4, args, context.split_k(), context.sm_count(), stream);
  } else if (format_ == WeightFormat::fp8) {
    const kernels::GemmShape shape{m, n_, k_, DType::fp8, kernels::GemmScaling::tensor};
    kernels::gemm(context, shape, {x.narrow, data_.data(), y, scales_.data(), scales_.data() + kSecondScale},
                  stream);
  } else {
    const kernels::GemmShape shape{m, n_, k_, DType::bf16, kernels::GemmScaling::none};
    kernels::gemm(context, shape, {x.wide, data_.data(), y, nullptr, nullptr}, stream);
  }
}

LayerWeights::LayerWeights(const DecoderSizes& sizes, const LayerSizes& layer, std::uint64_t seed)
    : input_norm(ones(sizes.hidden)),
      post_norm(ones(sizes.hidden)),
      q_norm(ones(layer.qk_norm ? layer.head_dim : 0)),
      k_norm(ones(layer.qk_norm ? layer.head_dim : 0)),
      qkv_bias(kernels::random_array<bf16>(elements(layer.qkv_bias ? 1 : 0, layer.qkv_width()), mix(seed, 7),
                                           kBiasScale)),
      qkv(sizes.format, layer.qkv_width(), sizes.hidden, mix(seed, 1)),
      o(sizes.format, sizes.hidden, layer.q_width(), mix(seed, 2)),
      gate_up(sizes.format, 2 * layer.ffn, sizes.hidden, mix(seed, 3)),
      down(sizes.format, sizes.hidden, layer.ffn, mix(seed, 4)) {}

Weights::Weights(const DecoderSizes& sizes, std::uint64_t seed)
    : embedding(kernels::random_array<bf16>(elements(sizes.vocab, sizes.hidden), mix(seed, 5),
                                            unit_variance_over(sizes.hidden))),
      final_norm(ones(sizes.hidden)) {
  if (!sizes.tied_embeddings) {
    output = kernels::random_array<bf16>(elements(sizes.vocab, sizes.hidden), mix(seed, 6),
                                         unit_variance_over(sizes.hidden));
  }
  layers.reserve(sizes.layers.size());
  for (std::size_t i = 0; i < sizes.layers.size(); ++i) {
    layers.emplace_back(sizes, sizes.layers[i], mix(seed, 16 * (i + 1)));
  }
}

double Weights::bytes(const DecoderSizes& sizes) {
  double sum = 2.0 * sizes.vocab * sizes.hidden * (sizes.tied_embeddings ? 1 : 2);
  for (const auto& l : sizes.layers) {
    sum += static_cast<double>(Linear::bytes(sizes.format, l.qkv_width(), sizes.hidden) +
                               Linear::bytes(sizes.format, sizes.hidden, l.q_width()) +
                               Linear::bytes(sizes.format, 2 * l.ffn, sizes.hidden) +
                               Linear::bytes(sizes.format, sizes.hidden, l.ffn));
  }
  return sum;
}

}  // namespace orrery::live
