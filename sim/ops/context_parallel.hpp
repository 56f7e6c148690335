#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <utility>
#include <vector>

#include "ops/attention_pattern.hpp"
#include "ops/linear.hpp"
#include "ops/operator.hpp"

namespace orrery {

// Context parallelism: the tokens of a sequence are divided over ranks. Of prompts (Shard::cp) each rank
// computes a part of a chunk's tokens, for which it needs the keys and values of the others; the cache is
// whole on each, and decode tokens are computed on each. For decodes (Shard::dcp) the cached keys and values
// are divided over tensor-parallel ranks that would keep the same ones; each attends with the queries of all
// of them to what it keeps.

/// Keys and values of one rank's part of a chunk to all ranks of the prompt. dims: ranks, bytes (of the
/// part), spacing (GPUs from one rank of the group to the next). Sent per rank: (ranks - 1) parts.
extern const KernelClass kKeyExchange;
/// The same to the next rank of a ring alone, which is one of its steps. dims as kKeyExchange.
extern const KernelClass kKeyPass;
/// Queries of the decode-context ranks' heads, or their log-sum-exps, to all of them. dims: ranks, bytes.
extern const KernelClass kQueryGather;
/// Partial outputs summed over the decode-context ranks, each rank its own heads' part. dims: ranks, bytes.
extern const KernelClass kPartialScatter;

/// The two pieces of a chunk that one of `cp` ranks computes: of 2 cp contiguous ones (the first a token
/// longer where they do not divide) the rank-th and the rank-th from the end, so that all ranks have as many
/// causal pairs (vLLM, worker/gpu/pcp_manager.py: DualChunkSwap). Empty ones are left out.
std::vector<PrefillChunk> rank_pieces(const PrefillChunk& chunk, int cp, int rank);

/// Tokens of a chunk on the rank that has most of them.
Tokens tokens_on_rank(Tokens new_tokens, int cp);

/// The chunks of a step as one rank computes them: whole, or, of divided prompts, the pieces of the middle
/// rank. Where keys have a window or a budget no rank computes more pairs than that one.
class ChunksOnRank {
 public:
  ChunksOnRank(const BatchShape& batch, const Shard& shard);
  ChunksOnRank(const ChunksOnRank&) = delete;
  ChunksOnRank& operator=(const ChunksOnRank&) = delete;
  auto begin() const { return chunks_.begin(); }
  auto end() const { return chunks_.end(); }

 private:
  std::vector<PrefillChunk> pieces_;
  std::span<const PrefillChunk> chunks_;
};

/// A step as kernels see it that run on tokens: of each chunk as many as the fullest rank has.
BatchShape tokens_of_rank(const BatchShape& batch, int cp);

/// New tokens of a chunk whose keys come from other ranks: all that are not a rank's own; or, where only the
/// last `window` keys are read and kept (0 = all), those before its two pieces and those the cache keeps.
Tokens received_tokens(Tokens new_tokens, int cp, Tokens window);

/// How many of a layer's last keys are read or kept, whatever the length; 0 = all.
Tokens keys_needed(std::span<const KeyTerm> read, std::span<const KeyTerm> kept);

/// The exchange of a layer's new keys and values before its attention, in the activations' format, and of
/// the last hidden states after the layers, which engines restore whole. All-gather; where a plan has a ring
/// the attention operator passes the keys on. Scaling prefill.
class KeyExchange final : public Operator {
 public:
  /// `widths`: of what a token sends; `other_bytes` beside it. `needed`: as keys_needed() says.
  KeyExchange(std::string_view role, std::vector<UnitGroup> widths, double other_bytes, Tokens needed,
              bool in_ring)
      : role_(role),
        widths_(std::move(widths)),
        other_bytes_(other_bytes),
        needed_(needed),
        in_ring_(in_ring) {}
  void lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const override;

 private:
  std::string_view role_;
  std::vector<UnitGroup> widths_;
  double other_bytes_;
  Tokens needed_;
  bool in_ring_;
};

/// Whether keys go round a ring beside attention.
bool passes_keys(const LoweringContext& ctx);

/// What a ring's step moves and adds: bytes of keys and values of a token, rows (queries x heads) of `dim`.
struct RingStep {
  double token_bytes = 0, rows = 0, dim = 0;
};
/// Appends attention over keys that go round a ring (Liu et al., Ring Attention, 2023, section 3): in each of
/// cp steps a rank attends to one part of the keys (`attend`) while the next part is under way, and all but
/// the first merge what they add by its log-sum-exp.
void push_ring(const RingStep& step, const BatchShape& batch, const LoweringContext& ctx,
               const std::function<void(KernelCalls&)>& attend, KernelCalls& out);

/// Queries of the decode-context ranks' heads to all of them, before attention over the cache. Prompts need
/// it for what is cached before a chunk. Nothing on one rank.
class QueryGather final : public Operator {
 public:
  QueryGather(UnitGroup queries, Phase phase) : queries_(queries), phase_(phase) {}
  void lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const override;

 private:
  UnitGroup queries_;
  Phase phase_;
};

/// What joins the partial outputs of decode-context ranks: log-sum-exps of all to all (role "lse_gather"), a
/// rank's outputs scaled by them ("partial_scale"), and their sums, each rank its heads' ("partial_scatter";
/// vLLM, attention/ops/common.py: cp_lse_ag_out_rs).
class PartialOutputs final : public Operator {
 public:
  PartialOutputs(UnitGroup outputs, Phase phase) : outputs_(outputs), phase_(phase) {}
  void lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const override;

 private:
  UnitGroup outputs_;
  Phase phase_;
};

/// Cached latents before a chunk from all decode-context ranks, where prompts expand them to keys and values
/// of their own heads. `bytes` of a token on one rank.
class CacheGather final : public Operator {
 public:
  explicit CacheGather(std::vector<UnitGroup> widths) : widths_(std::move(widths)) {}
  void lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const override;

 private:
  std::vector<UnitGroup> widths_;
};

}  // namespace orrery
