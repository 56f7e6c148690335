#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "cost/step_context.hpp"
#include "cost/step_kernels.hpp"
#include "cost/step_parts.hpp"
#include "cost/step_peers.hpp"
#include "cost/step_prefill.hpp"

namespace orrery {

/// A model on one rank as steps price it: its kernels, and the tables of what depends on tokens, logit rows
/// and chunks alone. They refer to each other: not to be moved.
struct StepModel {
  /// `input` as StepKernels has it.
  StepModel(const ModelSpec& model, const Shard& shard, const KernelPlan& engine, KernelCostModelPtr cost,
            OperatorPtr input = nullptr);
  StepModel(const StepModel&) = delete;
  StepModel& operator=(const StepModel&) = delete;

  /// The tokens that a step of `n` is padded to.
  std::int64_t padded(std::int64_t n, bool has_prefill) const;
  /// Whether a captured graph covers a step of so many tokens.
  bool covered(std::int64_t n, bool has_prefill) const;
  /// Time to launch the kernels of a step, one by one where no captured graph covers them; else 0.
  std::int64_t launches_ps(std::int64_t n, bool has_prefill) const {
    return covered(n, has_prefill) ? 0 : eager;
  }

  const KernelPlan& plan;
  std::size_t windows;
  int prompt_ranks;  ///< that divide a prompt's tokens
  StepKernels kernels;
  std::int64_t eager, gaps;  ///< ps a step: to launch all layers' kernels, and between kernels on the device
  StepParts parts;
  TokenTable tokens, pooled;
  RowTable rows;
  PrefillTable prefill;
  std::vector<std::int64_t> graph_size;  ///< KernelPlan::padded by tokens
};

/// What a pass computes of a step.
struct PassForm {
  std::int64_t queries = 1;  ///< tokens of each sequence of the decode set
  std::int64_t rows = 1;     ///< of them, those whose logits are computed
  bool prompts = true;       ///< the prompt chunks; else one token of each sequence that has a chunk
  std::int64_t times = 1;    ///< passes in a row
};

/// Passes of one model over a step's sequences: prices of the whole, piecewise affine in the contexts.
class StepPass {
 public:
  using Chunks = std::span<const PrefillChunk>;
  /// `longest`: mean context up to which knots are laid. `pace_steps`: see DecodeTable.
  StepPass(StepModel& model, PassForm form, Tokens longest, std::int64_t pace_steps);

  /// What ranks that step together run this pass's kernels on.
  PassPeers gather(std::span<const RankStep> ranks) const;
  /// Device time of a decode step of `seqs` sequences, but for attention.
  std::int64_t decode_fixed(std::int64_t seqs, const PassPeers& peers);
  /// Attention of the decode set, per step and how it changes.
  ContextPrice decode_attention(const DecodeSet& set);
  /// Time to launch the kernels of a step, which takes no less.
  std::int64_t launches(std::int64_t seqs, Chunks chunks, const PassPeers& peers) const;
  /// Device time of a step with chunks.
  std::int64_t mixed(const DecodeSet& set, Chunks chunks, const PassPeers& peers);

  /// Counts `steps` decode steps, or one with chunks, in the account. Returns the kernels' picoseconds.
  double account_decode(const DecodeSet& set, std::int64_t steps, const PassPeers& peers);
  double account_mixed(const DecodeSet& set, Chunks chunks, const PassPeers& peers);
  void add_to(ClassAccount& all) const;

  const PassForm& form() const { return form_; }
  StepModel& model() const { return *model_; }

 private:
  /// What the kernels of a step run on: tokens of its own, and of one rank on average where experts pool
  /// them.
  struct Width {
    std::int64_t own = 0, pooled = 0;
  };
  Width width(std::int64_t n, bool has_prefill, const PassPeers& peers) const;
  std::int64_t kernels(const Width& w, std::int64_t logit_rows);
  void count(const Width& w, std::int64_t logit_rows, double times);
  std::int64_t tokens(std::int64_t seqs, Chunks chunks) const;
  std::int64_t rows(std::int64_t seqs, Chunks chunks) const;
  double account_attention(const DecodeSet& set, std::int64_t steps);

  StepModel* model_;
  PassForm form_;
  DecodeTable attention_;
  std::vector<std::int64_t> fixed_by_seqs_;  ///< of decode steps; < 0: not evaluated
  ClassAccount account_;                     ///< of attention; the tables count their own
};

}  // namespace orrery
