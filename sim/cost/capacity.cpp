#include "cost/capacity.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "base/error.hpp"
#include "cost/offload_weights.hpp"
#include "model/pipeline_stages.hpp"

namespace orrery {
namespace {

/// Pipelines proposed where no split over one server fits.
constexpr int kMostStages = 16;

struct Footprint {
  double weights = 0, overhead = 0, budget = 0;
  double available() const { return budget - weights - overhead; }
};

/// Of the heads that are rotated; 0 without any.
double widest_rotary(const ModelSpec& model) {
  std::int64_t widest = 0;
  for (const auto& kind : model.kinds) {
    if (kind.count == 0) continue;
    for (const auto& mixer : kind.mixers) {
      const auto* attention = std::get_if<AttentionParams>(&mixer);
      const auto* latent = std::get_if<LatentParams>(&mixer);
      if (attention && attention->rope) widest = std::max(widest, attention->head_dim);
      if (latent) widest = std::max(widest, latent->sizes.rope);
    }
  }
  return static_cast<double>(widest);
}

/// Columns of the widest activation inside a feed-forward: for experts those of all that one token chooses.
double widest_ffn(const ModelSpec& model) {
  std::int64_t widest = 0;
  for (const auto& kind : model.kinds) {
    if (kind.count == 0) continue;
    if (const auto* dense = dense_of(kind)) widest = std::max(widest, dense->width);
    if (const auto* moe = std::get_if<MoeParams>(&kind.ffn)) {
      widest = std::max(widest, moe->width * moe->active + moe->shared_width * moe->shared_experts);
    }
  }
  return static_cast<double>(widest);
}

/// The rotary table an engine keeps: cosines and sines for every position, one head wide.
double rotary_table_bytes(const ModelSpec& model, const LoweringContext& ctx) {
  return static_cast<double>(model.max_model_len) * widest_rotary(model) *
         bytes_per_element(ctx.precision.activation);
}

/// Peak of the profiling run: the layers on a full token budget, or after them the sampler on a full batch.
double activation_bytes(const ModelSpec& model, const LoweringContext& ctx, const MemoryPolicy& policy,
                        Tokens max_num_batched_tokens) {
  const double per_token = policy.activation_bytes_per_token * static_cast<double>(model.hidden) +
                           policy.activation_bytes_per_token_ffn * widest_ffn(model) / ctx.shard.tp;
  const double layers = per_token * static_cast<double>(max_num_batched_tokens);
  const double sampler = (policy.sampler_bytes_per_vocab +
                          policy.sampler_bytes_per_logit * static_cast<double>(policy.max_num_seqs)) *
                         static_cast<double>(model.vocab);
  return policy.activation_bytes_fixed + std::max(layers, model.has_head ? sampler : 0);
}

Footprint footprint(const ModelSpec& model, const LoweringContext& ctx, const DeviceProfile& device,
                    const MemoryPolicy& policy, Tokens max_num_batched_tokens) {
  Footprint f;
  f.weights = weights_on_gpu(model, ctx, policy.offload) + policy.draft_weight_bytes;
  f.overhead = policy.non_torch_bytes + rotary_table_bytes(model, ctx) +
               activation_bytes(model, ctx, policy, max_num_batched_tokens);
  f.budget = device.memory_bytes * policy.fraction;
  if (policy.fraction_of == MemoryPolicy::Fraction::of_free) {
    const double free = device.memory_bytes - f.weights - f.overhead;
    f.budget = f.weights + f.overhead + free * policy.fraction;
  }
  return f;
}

bool splits(const ModelSpec& model, const Shard& shard) {
  try {
    check_split(model, shard);
    return true;
  } catch (const ConfigError&) {
    return false;
  }
}

/// The blocks that a deployment's layers share.
KvBlocks layout_of(const ModelSpec& model, const LoweringContext& ctx, const MemoryPolicy& policy) {
  auto kept = model.kv_groups(ctx);
  const auto attention =
      std::find_if(kept.begin(), kept.end(), [](const KvGroup& g) { return g.bytes_per_token > 0; });
  if (attention != kept.end()) attention->bytes_per_token += policy.draft_kv_bytes_per_token;
  // A block holds as many tokens on each decode-context rank, and so that many times more of a sequence (vLLM
  // v1, kv_cache_utils.py).
  return kv_blocks(policy.hybrid_groups ? kept : all_full(kept), policy.block_size * ctx.shard.dcp,
                   model.max_model_len);
}

/// One GPU of a stage: what its memory holds, and how many blocks are left room for.
struct StageMemory {
  Footprint footprint;
  double block_bytes = 0;  ///< 0: its layers keep nothing
  std::int64_t blocks = 0;
};

StageMemory memory_of(const ModelSpec& stage, const LoweringContext& ctx, const DeviceProfile& device,
                      const MemoryPolicy& policy, Tokens max_num_batched_tokens, double block_bytes) {
  StageMemory m{footprint(stage, ctx, device, policy, max_num_batched_tokens), block_bytes};
  const double bytes = m.footprint.available();
  if (bytes > 0)
    m.blocks = block_bytes > 0 ? static_cast<std::int64_t>(std::floor(bytes / block_bytes))
                               : std::numeric_limits<std::int64_t>::max();
  return m;
}

/// The capacity of the stage that has the least, whether or not that is enough for anything.
KvCapacity least_capacity(const ModelSpec& model, LoweringContext ctx, const DeviceProfile& device,
                          const MemoryPolicy& policy, Tokens max_num_batched_tokens) {
  const auto stages =
      pipeline_stages(without_first(model, policy.offload.host_layers), std::exchange(ctx.shard.pp, 1));
  const KvBlocks layout = layout_of(model, ctx, policy);
  StageMemory least;
  KvCapacity c;
  for (const ModelSpec& stage : stages) {
    const double block_bytes =
        stages.size() == 1 && policy.offload.host_layers == 0
            ? layout.block_bytes
            : layout.block_bytes_of(policy.hybrid_groups ? stage.kv_groups(ctx)
                                                         : all_full(stage.kv_groups(ctx)));
    const StageMemory m =
        memory_of(stage, ctx, device, policy, max_num_batched_tokens, block_bytes * policy.offload.kv.gpu());
    const auto room = [](const StageMemory& s) { return std::pair(s.blocks, s.footprint.available()); };
    if (&stage == &stages.front() || room(m) < room(least)) least = m;
    c.largest_block_bytes = std::max(c.largest_block_bytes, block_bytes);
  }
  c.weight_bytes = least.footprint.weights;
  c.overhead_bytes = least.footprint.overhead;
  c.kv_bytes = least.footprint.available();
  c.chunk = max_num_batched_tokens;
  c.block_bytes = least.block_bytes;
  if (stages.size() == 1) c.moved_block_bytes = layout.block_bytes - least.block_bytes;
  c.block_size = layout.block_size();
  c.groups = layout.groups;
  c.blocks = least.blocks;
  return c;
}

/// "361000 tokens", or of states "80 sequences".
std::string amount(const KvCapacity& c) {
  return c.holds_tokens() ? fmt::format("{} tokens", c.tokens())
                          : fmt::format("{:.0f} sequences", std::floor(c.concurrency(1)));
}

/// What refusals look for beside the capacity itself.
struct Wanted {
  const ModelSpec& model;
  const LoweringContext& ctx;
  const DeviceProfile& device;
  const MemoryPolicy& policy;
  Tokens max_num_batched_tokens;
  Tokens length;  ///< of one sequence that must fit

  KvCapacity capacity(const LoweringContext& other) const {
    return least_capacity(model, other, device, policy, max_num_batched_tokens);
  }
  bool fits(const KvCapacity& c) const { return c.longest(length) >= length; }
};

/// "--tensor-parallel-size 2 leaves 55.0 GiB per GPU for KV (about 361000 tokens)", with as few ranks as
/// fit: of one server, else of pipeline stages on several. "" when no split helps.
std::string larger_split(const Wanted& w) {
  const int most = topology_for(w.device).gpus_per_node;
  const auto leaves = [&](const char* flag, int Shard::*size, int limit) -> std::string {
    LoweringContext ctx = w.ctx;
    for (int n = ctx.shard.*size * 2; n <= limit; n *= 2) {
      ctx.shard.*size = n;
      if (!splits(w.model, ctx.shard)) continue;
      const KvCapacity c = w.capacity(ctx);
      if (!w.fits(c)) continue;
      return fmt::format("{} {} leaves {:.1f} GiB per GPU for KV (about {})", flag, n, c.kv_bytes / kGiB,
                         amount(c));
    }
    return "";
  };
  const std::string tensor = leaves("--tensor-parallel-size", &Shard::tp, most);
  return tensor.empty() ? leaves("--pipeline-parallel-size", &Shard::pp, kMostStages) : tensor;
}

/// "--quantization fp8 (65.9 GiB)" when 8-bit weights would fit, else "".
std::string smaller_format(const Wanted& w) {
  LoweringContext ctx = w.ctx;
  if (bytes_per_element(ctx.precision.weight) <= 1.0 || w.device.tensor_peak(DType::fp8) <= 0) return "";
  ctx.precision.weight = ctx.precision.compute = DType::fp8;
  const KvCapacity c = w.capacity(ctx);
  return w.fits(c) ? fmt::format("--quantization fp8 ({:.1f} GiB)", c.weight_bytes / kGiB) : "";
}

std::string ways_out(const std::vector<std::string>& ways) {
  std::string out;
  for (const auto& way : ways) {
    if (!way.empty()) out += (out.empty() ? "" : "; or ") + way;
  }
  return out;
}

/// "h200-sxm offers 128.6 GiB (139.8 x gpu_memory_utilization 0.92)"
std::string offer(const DeviceProfile& device, const MemoryPolicy& policy) {
  const double total = device.memory_bytes / kGiB;
  if (policy.fraction_of == MemoryPolicy::Fraction::of_free) {
    return fmt::format("{} has {:.1f} GiB", device.name, total);
  }
  return fmt::format("{} offers {:.1f} GiB ({:.1f} x {} {:g})", device.name, total * policy.fraction, total,
                     policy.fraction_of == MemoryPolicy::Fraction::of_total ? "gpu_memory_utilization"
                                                                            : "mem_fraction_static",
                     policy.fraction);
}

[[noreturn]] void refuse_weights(const Wanted& w, const KvCapacity& c) {
  const auto hint = ways_out({larger_split(w), smaller_format(w)});
  throw ConfigError(
      fmt::format("model does not fit: {} {} weights are {:.1f} GiB per GPU at {} and {:.1f} GiB go to "
                  "activations and the runtime; {}",
                  w.model.name, name(w.ctx.precision.weight), c.weight_bytes / kGiB, name(w.ctx.shard),
                  c.overhead_bytes / kGiB, offer(w.device, w.policy)),
      hint.empty() ? "no split over one server fits; choose a device with more memory" : hint,
      ExitCode::infeasible);
}

[[noreturn]] void refuse_context(const Wanted& w, const KvCapacity& c) {
  const Tokens fits = c.longest(w.length);
  const auto shorter = fits > 0 ? fmt::format("--max-model-len {}", fits) : std::string();
  throw ConfigError(
      fmt::format(
          "the KV cache holds {} tokens ({:.1f} GiB per GPU at {}), fewer than max_model_len {} of {}", fits,
          c.kv_bytes / kGiB, name(w.ctx.shard), w.length, w.model.name),
      ways_out({shorter, larger_split(w), smaller_format(w)}), ExitCode::infeasible);
}

}  // namespace

bool KvCapacity::keeps_everything() const {
  return std::all_of(groups.begin(), groups.end(), [](const KvBlockGroup& g) { return g.full(); });
}

int KvCapacity::growing_block() const {
  double blocks_per_token = 0;
  for (const KvBlockGroup& g : groups) {
    if (g.full()) blocks_per_token += static_cast<double>(g.count) / g.block_size;
  }
  return blocks_per_token > 0 ? static_cast<int>(std::lround(1 / blocks_per_token)) : 0;
}

bool KvCapacity::holds_tokens() const {
  return std::any_of(groups.begin(), groups.end(), [](const KvBlockGroup& g) { return !g.state; });
}

std::int64_t KvCapacity::tokens() const {
  if (blocks < 2 || !holds_tokens()) return 0;
  int count = 0;
  for (const KvBlockGroup& g : groups) count += g.count;
  return (blocks - 1) / count * block_size;
}

Tokens KvCapacity::longest(Tokens limit) const {
  Tokens fits = 0, beyond = limit + 1;
  while (beyond - fits > 1) {
    const Tokens middle = fits + (beyond - fits) / 2;
    (most_blocks(groups, middle, chunk) < blocks ? fits : beyond) = middle;
  }
  return fits;
}

double KvCapacity::concurrency(Tokens tokens) const {
  return static_cast<double>(blocks) / static_cast<double>(most_blocks(groups, tokens, chunk));
}

KvCapacity kv_capacity(const ModelSpec& model, const LoweringContext& ctx, const DeviceProfile& device,
                       const MemoryPolicy& policy, Tokens max_num_batched_tokens, Tokens max_model_len) {
  KvCapacity c = least_capacity(model, ctx, device, policy, max_num_batched_tokens);
  if (c.blocks < 1) refuse_weights({model, ctx, device, policy, max_num_batched_tokens, 1}, c);
  const Wanted all{model, ctx, device, policy, max_num_batched_tokens, max_model_len};
  if (!all.fits(c)) refuse_context(all, c);
  return c;
}

}  // namespace orrery
