#pragma once

#include <array>
#include <memory>
#include <optional>
#include <string_view>

#include "ops/attention_plan.hpp"
#include "ops/batch_shape.hpp"
#include "ops/expert_plan.hpp"
#include "ops/kernel_call.hpp"
#include "ops/linear_format.hpp"
#include "ops/shard.hpp"

namespace orrery {

/// What an engine does with the small kernels between GEMMs; part of a KernelPlan (sim/cost), seen by
/// lowering.
struct Fusion {
  bool norm_residual = true;     ///< RMSNorm and residual add in one kernel
  bool activation_mul = true;    ///< SwiGLU's silu and product in one kernel
  bool rope_kv_write = false;    ///< RoPE and the KV-cache write in one kernel
  bool quant_into_norm = false;  ///< activation quantisation folded into norm and activation kernels
  /// The times of fp8 GEMMs include quantising their input, as the rows the fits are made from do: no kernel
  /// for it.
  bool quant_in_fp8_gemm = true;
  ExpertPlan experts;
  AttentionPlan attention;
};

/// The groups of weight matrices that checkpoints quantise apart from each other: projections of attention
/// and state mixers; dense feed-forwards and shared experts; routed experts; and the output projection of
/// mixers, which goes with the others of its mixer unless it has a format of its own.
enum class Module : std::uint8_t { mixer, ffn, experts, mixer_output };
inline constexpr int kModules = 4;

/// Number formats of a deployment, chosen apart from the model.
struct Precision {
  DType activation = DType::bf16;  ///< residual stream and attention
  DType weight = DType::bf16;      ///< linear layers' parameters as stored
  DType compute = DType::bf16;     ///< linear layers' arithmetic (fp8 for W8A8, bf16 for W4A16)
  DType kv_cache = DType::bf16;    ///< see kv_bytes_per_element()
  DType lm_head = DType::bf16;     ///< embeddings and LM head are rarely quantised
  /// Modules of another format than `weight` and `compute` (experts in MXFP4 beside bf16 attention, ...).
  std::array<std::optional<LinearFormat>, kModules> apart{};
  /// How many times smaller an embedding is stored that has no LM head in common with it (tensor trains; Xu
  /// et al., TensorGPT, 2023).
  double embedding_factor = 1;

  LinearFormat linear(Module module) const {
    if (module == Module::mixer_output && !of(module)) module = Module::mixer;
    if (const auto& own = of(module)) return *own;
    LinearFormat plain;
    plain.weight = weight, plain.compute = compute;
    return plain;
  }
  /// The same format for every linear layer.
  void set_linear(const LinearFormat& format);

  const std::optional<LinearFormat>& of(Module module) const {
    return apart[static_cast<std::size_t>(module)];
  }
  std::optional<LinearFormat>& of(Module module) { return apart[static_cast<std::size_t>(module)]; }

  bool operator==(const Precision&) const = default;
  template <class Self, class V>
  static void visit(Self& p, V&& v) {
    v("activation", p.activation), v("weight", p.weight), v("compute", p.compute);
    v("kv_cache", p.kv_cache), v("lm_head", p.lm_head), v("embedding_factor", p.embedding_factor);
    v("mixer", p.apart[0]), v("ffn", p.apart[1]), v("experts", p.apart[2]), v("mixer_output", p.apart[3]);
  }
};

/// What lowering needs besides the batch: the split, the formats and the fusion choices.
struct LoweringContext {
  Shard shard;
  Precision precision;
  Fusion fusion;
};

/// One architecture component with its sizes bound (a linear layer, an attention, a norm, ...): what it
/// computes for a batch on one rank, what it stores, and what each sequence keeps. Never how long it takes.
class Operator {
 public:
  virtual ~Operator() = default;
  /// Appends the kernel calls of one execution on one rank.
  virtual void lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const = 0;
  /// Parameters over the whole model, unsharded (for counting).
  virtual double parameters() const { return 0; }
  /// Those of them that one token multiplies: fewer for experts.
  virtual double active_parameters() const { return parameters(); }
  /// Bytes of parameters one rank holds.
  virtual double weight_bytes(const LoweringContext&) const { return 0; }
  /// Bytes of KV cache or state that one sequence with `context` tokens keeps on one rank.
  virtual double state_bytes(Tokens /*context*/, const LoweringContext&) const { return 0; }
  /// Whether its work follows the tokens of all data-parallel ranks together, not its own rank's. lower() is
  /// then given those of one rank on average.
  virtual bool pooled(const LoweringContext&) const { return false; }
};

using OperatorPtr = std::shared_ptr<const Operator>;

}  // namespace orrery
