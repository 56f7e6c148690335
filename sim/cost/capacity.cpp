#include "cost/capacity.hpp"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "base/error.hpp"

namespace orrery {
namespace {

struct Footprint {
  double weights = 0, overhead = 0, budget = 0;
  double available() const { return budget - weights - overhead; }
};

/// Of the heads that are rotated; 0 without any.
double widest_rotary(const ModelSpec& model) {
  std::int64_t widest = 0;
  for (const auto& kind : model.kinds) {
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
  return policy.activation_bytes_fixed + std::max(layers, sampler);
}

Footprint footprint(const ModelSpec& model, const LoweringContext& ctx, const DeviceProfile& device,
                    const MemoryPolicy& policy, Tokens max_num_batched_tokens) {
  Footprint f;
  f.weights = model.weight_bytes(ctx) + policy.draft_weight_bytes;
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

/// Layers of attention as engines without groups treat them: all keep everything.
std::vector<KvGroup> all_full(const std::vector<KvGroup>& groups) {
  std::vector<KvGroup> out(1);
  for (const KvGroup& g : groups) {
    KvGroup kept = g;
    if (g.bytes_per_token > 0) {
      out.front().bytes_per_token += g.kept.share * g.bytes_per_token;
      out.front().layers += g.layers;
      kept.bytes_per_token = 0;
    }
    if (kept.state_bytes > 0) out.push_back(kept);
  }
  return out;
}

/// The blocks that a deployment's layers share, and how many there are in `bytes`.
KvCapacity paged(const ModelSpec& model, const LoweringContext& ctx, const MemoryPolicy& policy,
                 Tokens max_num_batched_tokens, double bytes) {
  auto kept = model.kv_groups(ctx);
  const auto attention =
      std::find_if(kept.begin(), kept.end(), [](const KvGroup& g) { return g.bytes_per_token > 0; });
  if (attention != kept.end()) attention->bytes_per_token += policy.draft_kv_bytes_per_token;
  // A block holds as many tokens on each decode-context rank, and so that many times more of a sequence (vLLM
  // v1, kv_cache_utils.py).
  const KvBlocks layout = kv_blocks(policy.hybrid_groups ? kept : all_full(kept),
                                    policy.block_size * ctx.shard.dcp, model.max_model_len);
  KvCapacity c;
  c.kv_bytes = bytes;
  c.chunk = max_num_batched_tokens;
  c.block_bytes = layout.block_bytes;
  c.block_size = layout.block_size();
  c.groups = layout.groups;
  if (bytes > 0) c.blocks = static_cast<std::int64_t>(std::floor(bytes / c.block_bytes));
  return c;
}

/// "361000 tokens", or of states "80 sequences".
std::string amount(const KvCapacity& c) {
  return c.holds_tokens() ? fmt::format("{} tokens", c.tokens())
                          : fmt::format("{:.0f} sequences", std::floor(c.concurrency(1)));
}

/// "--tensor-parallel-size 2 leaves 55.0 GiB per GPU for KV (about 361000 tokens)", or "" when no split
/// helps.
std::string larger_split(const ModelSpec& model, LoweringContext ctx, const DeviceProfile& device,
                         const MemoryPolicy& policy, Tokens max_num_batched_tokens, Tokens tokens_needed) {
  const int most = topology_for(device).gpus_per_node;
  for (int tp = ctx.shard.tp * 2; tp <= most; tp *= 2) {
    ctx.shard.tp = tp;
    if (!splits(model, ctx.shard)) continue;
    const double left = footprint(model, ctx, device, policy, max_num_batched_tokens).available();
    const KvCapacity c = paged(model, ctx, policy, max_num_batched_tokens, left);
    if (c.longest(tokens_needed) < tokens_needed) continue;
    return fmt::format("--tensor-parallel-size {} leaves {:.1f} GiB per GPU for KV (about {})", tp,
                       left / kGiB, amount(c));
  }
  return "";
}

/// "--quantization fp8 (65.9 GiB)" when 8-bit weights would fit, else "".
std::string smaller_format(const ModelSpec& model, LoweringContext ctx, const DeviceProfile& device,
                           const MemoryPolicy& policy, Tokens max_num_batched_tokens, Tokens tokens_needed) {
  if (bytes_per_element(ctx.precision.weight) <= 1.0 || device.tensor_peak(DType::fp8) <= 0) return "";
  ctx.precision.weight = ctx.precision.compute = DType::fp8;
  const auto f = footprint(model, ctx, device, policy, max_num_batched_tokens);
  if (paged(model, ctx, policy, max_num_batched_tokens, f.available()).longest(tokens_needed) < tokens_needed)
    return "";
  return fmt::format("--quantization fp8 ({:.1f} GiB)", f.weights / kGiB);
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

[[noreturn]] void refuse_weights(const ModelSpec& model, const LoweringContext& ctx,
                                 const DeviceProfile& device, const MemoryPolicy& policy,
                                 Tokens max_num_batched_tokens, const Footprint& f) {
  const auto hint = ways_out({larger_split(model, ctx, device, policy, max_num_batched_tokens, 1),
                              smaller_format(model, ctx, device, policy, max_num_batched_tokens, 1)});
  throw ConfigError(
      fmt::format("model does not fit: {} {} weights are {:.1f} GiB per GPU at tp{} and {:.1f} GiB go to "
                  "activations and the runtime; {}",
                  model.name, name(ctx.precision.weight), f.weights / kGiB, ctx.shard.tp, f.overhead / kGiB,
                  offer(device, policy)),
      hint.empty() ? "no split over one server fits; choose a device with more memory" : hint,
      ExitCode::infeasible);
}

[[noreturn]] void refuse_context(const ModelSpec& model, const LoweringContext& ctx,
                                 const DeviceProfile& device, const MemoryPolicy& policy,
                                 Tokens max_num_batched_tokens, Tokens max_model_len,
                                 const KvCapacity& capacity) {
  const Tokens fits = capacity.longest(max_model_len);
  const auto shorter = fits > 0 ? fmt::format("--max-model-len {}", fits) : std::string();
  throw ConfigError(
      fmt::format(
          "the KV cache holds {} tokens ({:.1f} GiB per GPU at tp{}), fewer than max_model_len {} of {}",
          fits, capacity.kv_bytes / kGiB, ctx.shard.tp, max_model_len, model.name),
      ways_out({shorter, larger_split(model, ctx, device, policy, max_num_batched_tokens, max_model_len),
                smaller_format(model, ctx, device, policy, max_num_batched_tokens, max_model_len)}),
      ExitCode::infeasible);
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
  const auto f = footprint(model, ctx, device, policy, max_num_batched_tokens);
  KvCapacity c = paged(model, ctx, policy, max_num_batched_tokens, f.available());
  c.weight_bytes = f.weights;
  c.overhead_bytes = f.overhead;
  if (c.blocks < 1) refuse_weights(model, ctx, device, policy, max_num_batched_tokens, f);
  if (c.longest(max_model_len) < max_model_len) {
    refuse_context(model, ctx, device, policy, max_num_batched_tokens, max_model_len, c);
  }
  return c;
}

}  // namespace orrery
