#include "model/model_spec.hpp"

#include <algorithm>
#include <numeric>
#include <set>

#include <fmt/format.h>

#include "base/error.hpp"
#include "model/lower_blocks.hpp"
#include "model/lowering.hpp"

namespace orrery {

std::vector<KeyCap> ModelSpec::caps() const {
  std::set<KeyCap> distinct;
  for (const auto& kind : kinds) {
    for (const auto& mixer : kind.mixers) {
      for (const KeyTerm& term : decode_terms(mixer)) {
        if (term.cap.tokens > 0) distinct.insert(term.cap);
      }
    }
  }
  return {distinct.begin(), distinct.end()};
}

bool ModelSpec::has_experts() const {
  return std::any_of(kinds.begin(), kinds.end(),
                     [](const LayerKind& kind) { return std::holds_alternative<MoeParams>(kind.ffn); });
}

double ModelSpec::parameters() const {
  return StepLowering(*this, LoweringContext{}).parameters() + (encoder ? encoder->parameters() : 0);
}

double ModelSpec::active_parameters() const {
  return StepLowering(*this, LoweringContext{}).active_parameters();
}

double ModelSpec::weight_bytes(const LoweringContext& ctx) const {
  return StepLowering(*this, ctx).weight_bytes() + (encoder ? encoder->weight_bytes(ctx) : 0);
}

std::vector<KvGroup> ModelSpec::kv_groups(const LoweringContext& ctx) const {
  std::vector<KvGroup> groups;
  for (const auto& kind : kinds) {
    if (kind.count == 0) continue;
    for (const auto& mixer : kind.mixers) {
      for (const KvGroup& kept : kept_by(mixer, hidden, max_model_len, ctx)) {
        const bool state = kept.bytes_per_token == 0;
        auto group = std::find_if(groups.begin(), groups.end(), [&](const KvGroup& g) {
          return (g.bytes_per_token == 0) == state && g.kept.cap == kept.kept.cap;
        });
        if (group == groups.end()) group = groups.insert(groups.end(), KvGroup{{1, kept.kept.cap}, 0, 0, 0});
        group->bytes_per_token += kind.count * kind.depth * kept.kept.share * kept.bytes_per_token;
        group->state_bytes += kind.count * kept.state_bytes;
        group->layers += kept.layers * kind.count;
      }
    }
  }
  std::sort(groups.begin(), groups.end(), [](const KvGroup& a, const KvGroup& b) {
    const bool a_state = a.bytes_per_token == 0, b_state = b.bytes_per_token == 0;
    return a_state != b_state ? b_state : a.kept.cap < b.kept.cap;
  });
  return groups;
}

double ModelSpec::kv_bytes_per_token(const LoweringContext& ctx) const {
  double sum = 0;
  for (const KvGroup& group : kv_groups(ctx)) {
    if (group.kept.cap.tokens == 0) sum += group.bytes_per_token;
  }
  return sum;
}

double ModelSpec::sequence_bytes(Tokens context, const LoweringContext& ctx) const {
  double sum = 0;
  for (const KvGroup& group : kv_groups(ctx)) {
    sum += group.state_bytes + group.bytes_per_token * static_cast<double>(group.kept.cap.of(context));
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

bool divides_model(const ModelSpec& model, const Shard& shard) {
  return std::all_of(model.kinds.begin(), model.kinds.end(), [&](const LayerKind& kind) {
    return divides(kind.ffn, shard) && std::all_of(kind.mixers.begin(), kind.mixers.end(),
                                                   [&](const Mixer& m) { return divides(m, shard); });
  });
}

/// The sizes up to 64 ranks that divide the heads, KV heads (or are a multiple of them) and widths of every
/// layer.
std::vector<int> valid_tensor_parallel(const ModelSpec& model, Shard shard) {
  std::vector<int> valid;
  for (shard.tp = 1; shard.tp <= 64; ++shard.tp) {
    if (divides_model(model, shard)) valid.push_back(shard.tp);
  }
  return valid;
}

template <class Visit>
void for_each_mixer(const ModelSpec& model, const Visit& visit) {
  for (const auto& kind : model.kinds) {
    for (const auto& mixer : kind.mixers) visit(mixer);
  }
}

/// Prompts and caches can be divided over ranks by tokens where layers are attention.
void check_context(const ModelSpec& model, const Shard& shard) {
  if (shard.cp > 1) {
    for_each_mixer(model, [&](const Mixer& mixer) {
      if (!std::holds_alternative<StateParams>(mixer)) return;
      refuse_split(
          model,
          fmt::format("prefill_context_parallel_size {}: a layer with a state passes through a prompt's "
                      "tokens in order, which is not modelled over several ranks",
                      shard.cp),
          "use --tensor-parallel-size or --replicas");
    });
  }
  if (shard.dcp == 1) return;
  int least = 0;  // copies of the keys that most ranks share out
  for_each_mixer(model, [&](const Mixer& mixer) {
    if (chooses_keys(mixer)) {
      refuse_split(
          model,
          fmt::format("decode_context_parallel_size {}: keys are chosen by content, which is not modelled "
                      "over divided caches",
                      shard.dcp),
          "use --decode-context-parallel-size 1");
    }
    const int copies = cache_copies(mixer, shard.tp);
    if (copies > 0) least = least == 0 ? copies : std::gcd(least, copies);
  });
  if (least > 0 && least % shard.dcp == 0) return;
  std::vector<int> valid;
  for (int size = 1; size <= std::max(least, 1); ++size) {
    if (size == 1 || least % size == 0) valid.push_back(size);
  }
  refuse_split(
      model,
      fmt::format("decode_context_parallel_size {} does not divide the {} of {} tensor-parallel ranks that "
                  "keep the same keys",
                  shard.dcp, least, shard.tp),
      fmt::format("valid sizes: {}", fmt::join(valid, ", ")));
}
}  // namespace

void check_split(const ModelSpec& model, const Shard& shard) {
  if (shard.tp < 1 || shard.pp < 1 || shard.dp < 1 || shard.ep < 1 || shard.cp < 1 || shard.dcp < 1) {
    refuse_split(model, "parallel sizes must be at least 1", "");
  }
  if (shard.ep > 1 && !model.has_experts()) {
    refuse_split(
        model, fmt::format("expert parallelism needs experts, and this model is dense (found {})", shard.ep),
        "use --tensor-parallel-size or --replicas");
  }
  if (shard.pp > 1 && shard.pp > model.layers()) {
    refuse_split(
        model, fmt::format("{} layers cannot be divided among {} pipeline stages", model.layers(), shard.pp),
        fmt::format("--pipeline-parallel-size {} or less", model.layers()));
  }
  if (divides_model(model, shard)) return check_context(model, shard);
  const auto& kind = model.kinds.front();
  const auto* attention = attention_of(kind);
  const auto* dense = dense_of(kind);
  const std::string sizes =
      attention && dense ? fmt::format("{} attention heads, {} KV heads and a feed-forward width of {}",
                                       attention->heads, attention->kv_heads, dense->width)
                         : "its heads, state channels or feed-forward widths";
  refuse_split(model, fmt::format("{} cannot be divided among {} tensor-parallel ranks", sizes, shard.tp),
               fmt::format("valid sizes: {}", fmt::join(valid_tensor_parallel(model, shard), ", ")));
}

}  // namespace orrery
