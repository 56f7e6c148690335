#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "cost/drafting.hpp"
#include "cost/offload_cost.hpp"
#include "cost/step_context.hpp"
#include "cost/step_pricer.hpp"

namespace orrery {

/// The lanes of a step whose tensors do not all lie on its GPU. Every lane's time is affine in the decode
/// set's contexts, like the GPU's, so that a step is the longest of some lines (overlap) or their sum.
///
/// A layer's time is max(load, store, compute, ...) in FlexGen's block schedule (Sheng et al., 2023, section
/// 4.3). All layers here have the same shares, so the step's is the maximum of the lanes' sums over layers;
/// where layers differ, loads are taken to run ahead far enough to even them out.
class OffloadLanes {
 public:
  using Chunks = std::span<const PrefillChunk>;
  /// `gpu` prices copies over the link. Errors: ORRERY_CHECK when the policy has a disk and the host none.
  OffloadLanes(const ModelSpec& model, const Shard& shard, const KernelPlan& plan, const Offload& offload,
               const KernelCostModelPtr& gpu, const Drafting& drafting);

  /// Device time of a decode step, of which `gpu` is what the GPU computes; exact for its `steps`.
  ContextPrice decode(const DecodeSet& set, const ContextPrice& gpu);
  /// The same of a step with chunks, in ps.
  std::int64_t mixed(const DecodeSet& set, Chunks chunks, std::int64_t gpu);

  /// Adds what lanes take beyond the GPU, by kernel class, for `steps` decode steps or one with chunks.
  /// Returns its ps.
  double account_decode(const DecodeSet& set, const ContextPrice& gpu, std::int64_t steps, ClassAccount& out);
  double account_mixed(const DecodeSet& set, Chunks chunks, std::int64_t gpu, ClassAccount& out);

  /// Appends what moves, and what the host computes, as calls; returns the step's device time.
  Seconds explain(const BatchShape& batch, Seconds gpu, StepExplanation& out);

 private:
  /// Something that takes time on a lane.
  struct Part {
    OffloadLane lane;
    std::string_view role;
    std::int64_t fixed = 0;                    ///< ps of every step
    double per_decode_token = 0;               ///< ps of a token of the decode set ...
    double per_prompt_token = 0;               ///< ... and of a chunk
    double per_past_byte = 0;                  ///< ps of a byte that a chunk's sequence keeps
    std::unique_ptr<DecodeTable> table;        ///< of the decode set's contexts
    std::unique_ptr<StepKernels> table_calls;  ///< that it prices
  };
  using Lines = std::array<ContextPrice, kOffloadLanes>;

  void add_weights();
  void add_kv();
  void add_hidden();
  void add_host_attention();
  Part& add(OffloadLane lane, std::string_view role);
  /// Gives a part the time of the decode set's attention calls, `seconds` each.
  void give_table(Part& part, std::function<double(const KernelCall&)> seconds);
  double link_s(const KernelClass& cls, double bytes) const;
  double disk_s(OffloadLane lane, double bytes) const;
  double ps_per_byte(OffloadLane lane) const;
  ContextPrice price(Part& part, const DecodeSet& set) const;
  std::int64_t price(Part& part, const DecodeSet& set, Chunks chunks) const;
  Lines lines(const DecodeSet& set);

  const ModelSpec model_;
  LoweringContext ctx_;
  OffloadPolicy policy_;
  HostProfile host_;
  KernelCostModelPtr gpu_;
  std::map<std::string, double> class_factor_;
  std::int64_t queries_, pace_steps_;
  int gpus_;            ///< that load over their own links from one host memory
  double token_bytes_;  ///< of KV cache that a new token adds, on one rank
  std::vector<Part> parts_;
};

/// The kernel class that time on a lane is counted as.
const KernelClass& class_of(OffloadLane lane);

}  // namespace orrery
