#include "model/model_spec.hpp"

#include <set>

#include <fmt/format.h>

#include "base/error.hpp"
#include "model/lowering.hpp"
#include "ops/attention.hpp"

namespace orrery {

std::vector<KeyCap> ModelSpec::caps() const {
  std::set<KeyCap> distinct;
  for (const auto& kind : kinds) {
    if (kind.attention.window > 0) distinct.insert(kind.attention.window);
  }
  return {distinct.begin(), distinct.end()};
}

double ModelSpec::parameters() const {
  return StepLowering(*this, LoweringContext{}).parameters();
}

double ModelSpec::weight_bytes(const LoweringContext& ctx) const {
  return StepLowering(*this, ctx).weight_bytes();
}

double ModelSpec::kv_bytes_per_token(const LoweringContext& ctx) const {
  double sum = 0;
  for (const auto& kind : kinds) {
    const auto& a = kind.attention;
    sum += kind.count * AttentionSizes{a.heads, a.kv_heads, a.head_dim, a.window}.kv_bytes_per_token(ctx);
  }
  return sum;
}

void ModelSpec::lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const {
  StepLowering(*this, ctx).lower(batch, out);
}

namespace {
[[noreturn]] void refuse_split(const ModelSpec& model, const std::string& why, const std::string& hint) {
  throw ConfigError(fmt::format("{}: {}", model.name, why), hint);
}

/// The sizes up to 64 ranks that divide the heads, KV heads (or are a multiple of them) and widths of every
/// layer.
std::vector<int> valid_tensor_parallel(const ModelSpec& model) {
  std::vector<int> valid;
  for (int tp = 1; tp <= 64; ++tp) {
    bool divides = true;
    for (const auto& kind : model.kinds) {
      const auto& a = kind.attention;
      divides = divides && a.heads % tp == 0 && (a.kv_heads % tp == 0 || tp % a.kv_heads == 0) &&
                kind.ffn.width % tp == 0;
    }
    if (divides) valid.push_back(tp);
  }
  return valid;
}
}  // namespace

void check_split(const ModelSpec& model, const Shard& shard) {
  if (shard.tp < 1 || shard.pp < 1 || shard.dp < 1 || shard.ep < 1) {
    refuse_split(model, "parallel sizes must be at least 1", "");
  }
  if (shard.pp > 1) {
    refuse_split(model, fmt::format("pipeline parallelism is not supported yet (found {} stages)", shard.pp),
                 "use --tensor-parallel-size or --replicas");
  }
  if (shard.ep > 1) {
    refuse_split(
        model, fmt::format("expert parallelism needs experts, and this model is dense (found {})", shard.ep),
        "use --tensor-parallel-size or --replicas");
  }
  const auto valid = valid_tensor_parallel(model);
  for (const int tp : valid) {
    if (tp == shard.tp) return;
  }
  const auto& kind = model.kinds.front();
  refuse_split(
      model,
      fmt::format("{} attention heads, {} KV heads and a feed-forward width of {} cannot be divided among {} "
                  "tensor-parallel ranks",
                  kind.attention.heads, kind.attention.kv_heads, kind.ffn.width, shard.tp),
      fmt::format("valid sizes: {}", fmt::join(valid, ", ")));
}

}  // namespace orrery
