#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "ops/key_cap.hpp"
#include "ops/linear.hpp"
#include "ops/operator.hpp"

namespace orrery {

/// Decode of multi-head latent attention in absorbed form (DeepSeek-V2, 2024, section 2.1): one query per
/// sequence and head, [latent + rope] wide, against one cached row per token, [latent] of it the value too;
/// output [heads, latent]. The projections around it (W_UK absorbed into q, W_UV after) are kMlaAbsorb.
/// dims: seqs, context (KV tokens read, sum), heads (of this rank; times the queries where a sequence
/// verifies several), latent, rope.
extern const KernelClass kAttentionMlaDecode;

/// Causal latent attention of prompt chunks with keys and values expanded to heads, as ordinary multi-head
/// attention with keys of nope + rope and values of another width. dims: seqs, new_tokens, pairs, kv_tokens,
/// max_kv (as kAttentionPrefill), heads, qk_dim, value_dim.
extern const KernelClass kAttentionMlaPrefill;

/// Prompt chunks whose queries each read chosen rows of the latents, in absorbed form (DeepSeek-V3.2, 2025,
/// section 2.2). dims: seqs, new_tokens, pairs, kv_tokens, max_kv, heads, latent, rope.
extern const KernelClass kAttentionMlaSparse;

/// Keys and values of a chunk and of the cached tokens before it from their latents: a gemm of as many rows
/// as the chunk sees. dims: m, n, k. `like` gemm.
extern const KernelClass kMlaUpProjection;

/// One product per head over the decode set's queries: q_nope W_UK before absorbed attention, o W_UV after
/// it. dims: rows (per head), n, k, heads.
extern const KernelClass kMlaAbsorb;
/// The same over the queries of prompt chunks that read latents. `like` kMlaAbsorb.
extern const KernelClass kMlaAbsorbPrefill;

/// Sizes of a multi-head latent attention (DeepSeek-V2, 2024, section 2.1), over the whole model.
struct LatentSizes {
  std::int64_t heads = 0;
  std::int64_t latent = 0;        ///< of keys and values together (kv_lora_rank), all groups
  std::int64_t rope = 0;          ///< the part of a key that is rotated, one for all heads
  std::int64_t nope = 0;          ///< the part of a head's key that comes from the latent
  std::int64_t value = 0;         ///< per head
  std::int64_t query_latent = 0;  ///< of queries (q_lora_rank); 0 = projected in one matrix
  std::int64_t groups =
      1;  ///< latents that share out the heads (Zadouri et al., Grouped Latent Attention, 2025)

  bool gate = false;  ///< a sigmoid gate from the input on the heads' outputs (Kimi-K3)

  template <class Self, class V>
  static void visit(Self& p, V&& v) {
    v("heads", p.heads);
    v("latent", p.latent);
    v("rope", p.rope);
    v("nope", p.nope);
    v("value", p.value);
    v("query_latent", p.query_latent);
    v("groups", p.groups);
    v("gate", p.gate);
  }
  bool operator==(const LatentSizes&) const = default;

  std::int64_t qk() const { return nope + rope; }
  std::int64_t local_heads(int ranks) const { return UnitGroup{heads}.local_units(ranks); }
  std::int64_t local_groups(int ranks) const { return UnitGroup{groups}.local_units(ranks); }
  std::int64_t group_latent() const { return latent / groups; }
  /// Bytes one token keeps in one layer on one rank. Tensor parallelism divides groups, never one latent:
  /// with a single group every rank keeps all of it, unless decode-context ranks share out the tokens.
  double kv_bytes_per_token(const LoweringContext& ctx) const {
    return static_cast<double>(local_groups(ctx.shard.tp) * group_latent() + rope) *
           kv_bytes_per_element(ctx.precision.kv_cache) / ctx.shard.dcp;
  }
  /// Errors: ConfigError naming the field (sizes below 1, heads that groups do not divide, ...).
  void check() const;
};

/// Attention of the step's prompt chunks over expanded keys and values. With a cap, each query reads that
/// many chosen keys as latents instead (kAttentionMlaSparse). Scaling prefill.
class MlaPrefill final : public Operator {
 public:
  explicit MlaPrefill(LatentSizes sizes, KeyCap read = {}) : sizes_(sizes), read_(read) {}
  void lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const override;

 private:
  void attend(const KernelClass& cls, const KernelClass::Dims& dims, DType kv, std::int64_t times,
              const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const;
  LatentSizes sizes_;
  KeyCap read_;
};

/// Absorbed attention of the decode set's queries over their paged latents; it owns the latents' cache. With
/// several queries per sequence (BatchShape::decode_queries) the latents are read once for all. Scaling
/// decode.
class MlaDecode final : public Operator {
 public:
  /// `read`: what a query reads of a sequence, as the `cap_index`-th of BatchShape::windowed_context sums it
  /// (ignored without a cap: the whole context). `kept`: what stays in the cache.
  explicit MlaDecode(LatentSizes sizes, KeyCap read = {}, std::size_t cap_index = 0, KeyCap kept = {})
      : sizes_(sizes), read_(read), cap_index_(cap_index), kept_(kept) {}
  void lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const override;
  double state_bytes(Tokens context, const LoweringContext& ctx) const override;

 private:
  LatentSizes sizes_;
  KeyCap read_;
  std::size_t cap_index_;
  KeyCap kept_;
};

/// Keys and values of all tokens that prompt chunks see, from their latents: [m, latent] by W_UK and W_UV as
/// one matrix [latent, heads (nope + value)], which MlaAbsorb owns. Where ranks divide a prompt each expands
/// them all. Scaling prefill.
class MlaUpProjection final : public Operator {
 public:
  explicit MlaUpProjection(LatentSizes sizes) : sizes_(sizes) {}
  void lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const override;

 private:
  LatentSizes sizes_;
};

/// One of the two products by head around absorbed attention, and the owner of its matrix: W_UK
/// [nope, latent] (role "mla_absorb_q") or W_UV [latent, value] ("mla_absorb_o") of each head. They run in
/// the activations' format; where the matrices are stored in another one, a copy in it is kept beside them,
/// as vLLM does. Scaling decode; prefill where a cap makes prompts read latents.
class MlaAbsorb final : public Operator {
 public:
  enum class Side : std::uint8_t { query, output };
  /// `prompts`: the same product over prompt chunks, whose matrix the other one owns.
  MlaAbsorb(LatentSizes sizes, Side side, bool prompts = false)
      : sizes_(sizes), side_(side), prompts_(prompts) {}
  void lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const override;
  double parameters() const override;
  double weight_bytes(const LoweringContext& ctx) const override;

 private:
  double from() const;  ///< columns of the input per head
  double to() const;    ///< columns of the output per head
  LatentSizes sizes_;
  Side side_;
  bool prompts_;
};

/// Rotary embedding of the queries' and the key's rope parts in place, and the write of latent and rope part
/// into the paged cache: two kernels (roles "rope", "kv_write"), or one with Fusion::rope_kv_write.
class MlaRopeKvWrite final : public Operator {
 public:
  explicit MlaRopeKvWrite(LatentSizes sizes) : sizes_(sizes) {}
  void lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const override;

 private:
  LatentSizes sizes_;
};

/// The operators of a latent-attention mixer after its norm, in the order an engine runs them, each with the
/// part of a step it belongs to: down-projections (whole on every rank), norms of the latents, queries'
/// up-projection, rope and cache write, attention of prompts and decode set with the products around them,
/// output projection, all-reduce. `read`, `cap_index`, `kept` as MlaDecode's; `other_bytes`: what ranks that
/// divide a prompt exchange of a token beside its latents.
/// Errors: ConfigError (LatentSizes::check).
std::vector<std::pair<OperatorPtr, KernelClass::Scaling>> mla_operators(const LatentSizes& sizes,
                                                                        std::int64_t hidden, KeyCap read = {},
                                                                        std::size_t cap_index = 0,
                                                                        KeyCap kept = {},
                                                                        double other_bytes = 0);

}  // namespace orrery
