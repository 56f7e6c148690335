#include "decoder.hpp"

#include <algorithm>
#include <cmath>

#include "activation.hpp"
#include "bias.hpp"
#include "embedding.hpp"
#include "norm.hpp"
#include "quantise.hpp"
#include "rope.hpp"
#include "sampling.hpp"
#include "step_tokens.hpp"

namespace orrery::live {
namespace {

constexpr int kRowMultiple = 16;

std::size_t z(std::int64_t n) {
  return static_cast<std::size_t>(n);
}

/// Rows the GEMMs of a step run on: above what the kernels for few rows take, a multiple of 16, so that the
/// library plans fewer shapes. What the added rows hold is read by nobody.
std::int64_t gemm_rows(std::int64_t rows) {
  return rows <= kRowMultiple ? rows : (rows + kRowMultiple - 1) / kRowMultiple * kRowMultiple;
}

/// Widest of what the layers need.
struct Widths {
  std::int64_t qkv = 0, q = 0, ffn = 0, kv_sum = 0, narrow = 0;
  int head_dim = 0;
  explicit Widths(const DecoderSizes& d) {
    narrow = d.hidden;
    for (const auto& l : d.layers) {
      qkv = std::max<std::int64_t>(qkv, l.qkv_width()), q = std::max<std::int64_t>(q, l.q_width());
      ffn = std::max<std::int64_t>(ffn, l.ffn), kv_sum += l.kv_width();
      head_dim = std::max(head_dim, l.head_dim);
    }
    narrow = d.format == WeightFormat::fp8 ? std::max({narrow, q, ffn}) : 0;
  }
};

/// Splits of a decode attention, and the floats they need for any number of rows.
int splits_for(const LayerSizes& l, int rows, int max_context, int sm_count) {
  const int keys = l.window > 0 ? std::min(l.window, max_context) : max_context;
  return kernels::attention_decode_splits(rows, l.heads, l.kv_heads, keys, sm_count);
}
std::size_t workspace_floats(const DecoderSizes& d, const DecoderLimits& limits, int sm_count) {
  std::size_t most = 0;
  for (const auto& l : d.layers) {
    for (int rows = 1; rows <= limits.max_sequences; ++rows) {
      const int splits = splits_for(l, rows, limits.max_model_len, sm_count);
      most = std::max(most, kernels::attention_decode_workspace(rows, l.heads, l.head_dim, splits));
    }
  }
  return most;
}

std::int64_t padded_rows(const DecoderLimits& limits) {
  return (std::int64_t{limits.max_rows} + kRowMultiple - 1) / kRowMultiple * kRowMultiple;
}
std::int64_t padded_sequences(const DecoderLimits& limits) {
  return (std::int64_t{limits.max_sequences} + kRowMultiple - 1) / kRowMultiple * kRowMultiple;
}

DeviceArray<bf16> zeros(std::int64_t n) {
  DeviceArray<bf16> out(z(n));
  kernels::fill_async(out.data(), 0, out.bytes(), nullptr);
  return out;
}

}  // namespace

double Decoder::bytes(const DecoderSizes& sizes, const DecoderLimits& limits) {
  const Widths w(sizes);
  const auto rows = static_cast<double>(padded_rows(limits));
  const auto sequences = static_cast<double>(padded_sequences(limits));
  const double kv = 2.0 * 2 * static_cast<double>(limits.kv_blocks * limits.block_size * w.kv_sum);
  const double per_row =
      2.0 * static_cast<double>(3 * sizes.hidden + w.qkv + w.q + 3 * w.ffn) + static_cast<double>(w.narrow);
  const double per_sequence = 2.0 * (sizes.hidden + sizes.vocab);
  return Weights::bytes(sizes) + kv + rows * per_row + sequences * per_sequence;
}

Decoder::Decoder(const DecoderSizes& sizes, const DecoderLimits& limits, std::uint64_t seed)
    : sizes_(sizes), limits_(limits), weights_(sizes, seed) {
  const Widths w(sizes);
  const std::int64_t rows = padded_rows(limits), sequences = padded_sequences(limits);
  const std::int64_t tokens = limits.kv_blocks * limits.block_size;
  std::size_t at = 0;
  for (const auto& l : sizes.layers) layer_offset_.push_back(at), at += z(tokens * l.kv_width());
  // Zeros, so that what stands in for padding is finite.
  k_ = zeros(static_cast<std::int64_t>(at)), v_ = zeros(static_cast<std::int64_t>(at));
  const auto angles = kernels::rope_angles(limits.max_model_len, w.head_dim, kRopeBase);
  angles_ = DeviceArray<float>(std::span<const float>(angles));
  decode_workspace_ = DeviceArray<float>(workspace_floats(sizes, limits, gemm_.sm_count()));
  activation_scale_ = DeviceArray<float>(std::span<const float>(&kActivationScale, 1));
  stream_ = zeros(rows * sizes.hidden), x_ = zeros(rows * sizes.hidden), normed_ = zeros(rows * sizes.hidden);
  qkv_ = zeros(rows * w.qkv), attended_ = zeros(rows * w.q);
  gate_up_ = zeros(rows * 2 * w.ffn), activated_ = zeros(rows * w.ffn);
  last_ = zeros(sequences * sizes.hidden), logits_ = zeros(sequences * sizes.vocab);
  narrow_ = DeviceArray<fp8>(z(rows * w.narrow));
  kernels::fill_async(narrow_.data(), 0, narrow_.bytes(), nullptr);
  greedy_workspace_ = DeviceArray<std::uint8_t>(kernels::greedy_workspace_bytes(sequences));
  sampled_ = DeviceArray<std::int32_t>(z(sequences));
  latest_ = DeviceArray<std::int32_t>(z(kTokenSlots + 2));
  kernels::fill_async(latest_.data(), 0, latest_.bytes(), nullptr);
  kernels::synchronize_device();
}

void Decoder::enqueue(const StepCounts& counts, const InputView& in, StreamRef stream) {
  kernels::gather_tokens(in.ids, latest_.data(), in.sources, counts.decode_rows, stream);
  kernels::embed(stream_.data(), weights_.embedding.data(), in.ids, counts.rows(), sizes_.hidden, stream);
  for (std::size_t i = 0; i < weights_.layers.size(); ++i) layer(i, counts, in, stream);
  logits(counts, in, stream);
  kernels::scatter_tokens(latest_.data(), sampled_.data(), in.targets, counts.sequences(), stream);
}

Rows Decoder::norm(const bf16* x, const bf16* weight, bool narrow, std::int64_t rows, StreamRef stream) {
  kernels::NormArgs args;
  args.stream = stream_.data(), args.x = x, args.weight = weight;
  args.tokens = rows, args.width = sizes_.hidden, args.epsilon = kNormEpsilon;
  if (narrow) {
    args.y_fp8 = narrow_.data(), args.fp8_scale = kActivationScale;
  } else {
    args.y = normed_.data();
  }
  kernels::norm_rows(args, stream);
  return {normed_.data(), narrow_.data()};
}

void Decoder::layer(std::size_t index, const StepCounts& counts, const InputView& in, StreamRef stream) {
  const LayerWeights& w = weights_.layers[index];
  const int rows = counts.rows(), ffn = sizes_.layers[index].ffn;
  const bool narrow = sizes_.format == WeightFormat::fp8;
  const std::int64_t m = gemm_rows(rows);
  w.qkv.apply(gemm_, norm(index == 0 ? nullptr : x_.data(), w.input_norm.data(), narrow, rows, stream),
              qkv_.data(), m, stream);
  attention(index, counts, in, stream);
  if (narrow) {
    kernels::QuantiseArgs args;
    args.x = attended_.data(), args.out_fp8 = narrow_.data(), args.scale = activation_scale_.data();
    args.tokens = rows, args.width = sizes_.layers[index].q_width();
    args.kind = kernels::ActivationScale::given;
    kernels::quantise(args, stream);
  }
  w.o.apply(gemm_, {attended_.data(), narrow_.data()}, x_.data(), m, stream);
  w.gate_up.apply(gemm_, norm(x_.data(), w.post_norm.data(), narrow, rows, stream), gate_up_.data(), m,
                  stream);
  kernels::GatedActivationArgs gate;
  gate.gate_up = gate_up_.data(), gate.tokens = rows, gate.width = ffn;
  if (narrow) {
    gate.out_fp8 = narrow_.data(), gate.fp8_scale = kActivationScale;
  } else {
    gate.out = activated_.data();
  }
  kernels::gated_activation(gate, stream);
  w.down.apply(gemm_, {activated_.data(), narrow_.data()}, x_.data(), m, stream);
}

kernels::PagedKv Decoder::cache(std::size_t index, const StepCounts& counts, const InputView& in) const {
  kernels::PagedKv kv;
  kv.k = k_.data() + layer_offset_[index], kv.v = v_.data() + layer_offset_[index];
  kv.block_table = in.table, kv.table_stride = counts.table_stride, kv.block_size = limits_.block_size;
  kv.kv_heads = sizes_.layers[index].kv_heads, kv.head_dim = sizes_.layers[index].head_dim;
  return kv;
}

/// Bias, qk norm, rotary embedding, the write of k and v, and attention: of the decode set, then of the
/// chunks.
void Decoder::attention(std::size_t index, const StepCounts& counts, const InputView& in, StreamRef stream) {
  const LayerSizes& l = sizes_.layers[index];
  const LayerWeights& w = weights_.layers[index];
  if (l.qkv_bias) {
    kernels::add_bias(qkv_.data(), w.qkv_bias.data(), counts.rows(), l.qkv_width(), stream);
  }
  if (l.qk_norm) {
    kernels::qk_norm({qkv_.data(), w.q_norm.data(), w.k_norm.data(), counts.rows(), l.qkv_width(), l.heads,
                      l.kv_heads, l.head_dim, kNormEpsilon},
                     stream);
  }
  kernels::PagedKv kv = cache(index, counts, in);
  kernels::rope({{qkv_.data(), counts.rows(), l.heads, l.kv_heads, l.head_dim},
                 in.positions,
                 angles_.data(),
                 &kv,
                 in.slots},
                stream);
  const float scale = 1.0F / std::sqrt(static_cast<float>(l.head_dim));
  if (counts.decode_rows > 0) {
    kernels::AttentionDecodeArgs args;
    args.q = qkv_.data(), args.q_stride = l.qkv_width(), args.kv = kv;
    args.contexts = in.contexts, args.out = attended_.data();
    args.seqs = counts.decode_rows, args.heads = l.heads, args.window = l.window, args.scale = scale;
    args.splits = splits_for(l, counts.decode_rows, counts.max_context, gemm_.sm_count());
    args.workspace = decode_workspace_.data();
    kernels::attention_decode(args, stream);
  }
  if (counts.chunks > 0) {
    kv.block_table += static_cast<std::ptrdiff_t>(counts.decode_rows) * kv.table_stride;
    kernels::AttentionPrefillArgs args;
    args.q = qkv_.data() + static_cast<std::ptrdiff_t>(counts.decode_rows) * l.qkv_width();
    args.out = attended_.data() + static_cast<std::ptrdiff_t>(counts.decode_rows) * l.q_width();
    args.q_stride = l.qkv_width(), args.kv = kv;
    args.query_offsets = in.query_offsets, args.past = in.past;
    args.seqs = counts.chunks, args.max_new_tokens = counts.max_chunk, args.heads = l.heads;
    args.scale = scale, args.mask.window = l.window;
    args.block_queries =
        kernels::prefill_block_queries(counts.chunks, counts.max_chunk, l.heads, gemm_.sm_count());
    kernels::attention_prefill(args, stream);
  }
}

/// Final norm, LM head and greedy sampling of each sequence's last row.
void Decoder::logits(const StepCounts& counts, const InputView& in, StreamRef stream) {
  const bf16* rows = norm(x_.data(), weights_.final_norm.data(), false, counts.rows(), stream).wide;
  const std::int64_t n = counts.sequences();
  if (counts.chunks > 0) {
    kernels::gather_rows(last_.data(), rows, in.last_rows, n, sizes_.hidden, stream);
    rows = last_.data();
  }
  const kernels::GemmShape shape{gemm_rows(n), sizes_.vocab, sizes_.hidden, DType::bf16,
                                 kernels::GemmScaling::none};
  kernels::gemm(gemm_, shape, {rows, weights_.lm_head(), logits_.data(), nullptr, nullptr}, stream);
  kernels::sample_greedy({logits_.data(), sampled_.data(), greedy_workspace_.data(), n, sizes_.vocab},
                         stream);
}

}  // namespace orrery::live
