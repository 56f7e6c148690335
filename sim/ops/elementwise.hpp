#pragma once

#include <cstdint>
#include <string_view>

#include "ops/attention.hpp"
#include "ops/operator.hpp"

namespace orrery {

// One class for each kind of row-wise kernel, all of dims tokens, bytes_per_token: they differ in what they
// do beside moving bytes (a reduction, a scatter, sines), and so in time. `like` kElementwise.
extern const KernelClass kNorm;         ///< RMSNorm or LayerNorm, with the residual added before or not
extern const KernelClass kRope;         ///< rotary embedding, with or without the write of K and V
extern const KernelClass kKvWrite;      ///< K and V into the paged cache alone
extern const KernelClass kActivation;   ///< SwiGLU, GeGLU and their like
extern const KernelClass kResidualAdd;  ///< a plain addition
extern const KernelClass kQuantise;     ///< activations to 8 bits
extern const KernelClass kEmbedding;    ///< rows gathered by token

/// Whether an engine runs a kernel of its own to quantise the input of a linear layer that follows
/// `producer` and belongs to `module`. Formats that compute in the activation's format need none; fp8 GEMMs
/// that quantise themselves need none.
enum class Producer : std::uint8_t { norm, activation, attention };
bool quantise_needed(const LoweringContext& ctx, Producer producer, Module module = Module::ffn);

/// Appends one row-wise memory-bound kernel: per token it reads and writes these bytes and computes these
/// fp32 operations; `weight_bytes` are read once.
struct RowTraffic {
  double read = 0, write = 0, flops = 0, weight_bytes = 0;
};
void push_elementwise(const KernelClass& cls, std::string_view role, const BatchShape& batch,
                      const LoweringContext& ctx, const RowTraffic& traffic, KernelCalls& out);

/// RMSNorm over `width` (Zhang and Sennrich, 2019): 4 operations per element (square, sum, scale, weight).
/// With `residual` the residual add goes before it: x and the stream are read, the sum and the norm written
/// (one kernel, or two without Fusion::norm_residual). With Fusion::quant_into_norm, and if `feeds_linear`,
/// the output is in the format that layers of `module` compute in.
class RmsNorm final : public Operator {
 public:
  RmsNorm(std::string_view role, std::int64_t width, bool residual, bool feeds_linear,
          Module module = Module::ffn);
  void lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const override;
  double parameters() const override { return width_; }
  double weight_bytes(const LoweringContext& ctx) const override;  ///< replicated on every rank

 private:
  std::string_view role_;
  double width_;
  bool residual_, feeds_linear_;
  Module module_;
};

/// RMSNorm of q and k (role "qk_norm"), one kernel in place: of each head, with weights of one head for q and
/// one for k; or `whole`, over all heads of each with a weight per channel (MiniMax-M2).
class QkNorm final : public Operator {
 public:
  explicit QkNorm(AttentionSizes sizes, bool whole = false) : sizes_(std::move(sizes)), whole_(whole) {}
  void lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const override;
  double parameters() const override {
    return static_cast<double>((whole_ ? sizes_.heads + sizes_.kv_heads : 2) * sizes_.head_dim);
  }
  double weight_bytes(const LoweringContext& ctx) const override;

 private:
  AttentionSizes sizes_;
  bool whole_;
};

/// Rotary position embedding of q and k in place (Su et al., RoFormer, 2021, eq. 34: 3 operations per
/// element, the token's row of sines and cosines read once) and the write of k and v into the paged cache in
/// its format: two kernels (roles "rope", "kv_write"), or one with Fusion::rope_kv_write. Layers without
/// positions only write; those that read another layer's keys only rotate q.
class RopeKvWrite final : public Operator {
 public:
  explicit RopeKvWrite(AttentionSizes sizes, bool rope = true, bool write = true)
      : sizes_(std::move(sizes)), rope_(rope), write_(write) {}
  void lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const override;

 private:
  AttentionSizes sizes_;
  bool rope_, write_;
};

/// Activation of a feed-forward of `width` columns: act(gate) * up (Shazeer, GLU Variants, 2020) or act(up)
/// when not gated; 4 operations for the activation and 1 for the product. One kernel, or two without
/// Fusion::activation_mul.
class Activation final : public Operator {
 public:
  Activation(std::int64_t width, bool gated, Module module = Module::ffn)
      : width_{width}, gated_(gated), module_(module) {}
  void lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const override;

 private:
  UnitGroup width_;
  bool gated_;
  Module module_;
};

/// Quantisation of the input of `module`'s linear layers from the activation's to the arithmetic's format,
/// where quantise_needed().
class Quantise final : public Operator {
 public:
  /// `split`: the input is divided over the tensor-parallel ranks (attention output, activation), else whole
  /// on each.
  Quantise(UnitGroup width, bool split, Producer producer, Module module = Module::ffn)
      : width_(width), split_(split), producer_(producer), module_(module) {}
  void lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const override;

 private:
  UnitGroup width_;
  bool split_;
  Producer producer_;
  Module module_;
};

}  // namespace orrery
