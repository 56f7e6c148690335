#include "ops/attention_call.hpp"

#include <cmath>

#include <fmt/format.h>

#include "base/error.hpp"
#include "ops/attention_index.hpp"
#include "ops/elementwise.hpp"

namespace orrery {

std::vector<HeadGroup> AttentionSizes::groups() const {
  return mix.empty() ? std::vector<HeadGroup>{{1, pattern}} : mix;
}

namespace {
template <class TermsOf>
std::vector<KeyTerm> over_heads(const std::vector<HeadGroup>& groups, const TermsOf& terms_of) {
  std::vector<KeyTerm> all;
  for (const HeadGroup& group : groups) {
    for (KeyTerm term : terms_of(group.pattern)) {
      term.share *= group.share;
      all.push_back(term);
    }
  }
  return sum_terms(std::move(all));
}
}  // namespace

std::vector<KeyTerm> AttentionSizes::decode_terms() const {
  return over_heads(groups(), [](const AttentionPattern& p) { return p.decode_terms(); });
}

std::vector<KeyTerm> AttentionSizes::resident_terms() const {
  return over_heads(groups(), [](const AttentionPattern& p) { return p.resident_terms(); });
}

double AttentionSizes::index_bytes_per_token(const LoweringContext& ctx) const {
  double bytes = 0;
  for (const HeadGroup& group : groups()) {
    const CallHeads local = call_heads(*this, group.share, ctx.shard.tp);
    bytes += orrery::index_bytes_per_token(group.pattern,
                                           {local.heads, local.kv_heads, static_cast<double>(head_dim)}, ctx);
  }
  return bytes;
}

void AttentionSizes::check(const std::string& where) const {
  const auto refuse = [&](const std::string& why, const std::string& hint) {
    throw ConfigError(fmt::format("{}: {}", where, why), hint);
  };
  if (heads < 1 || kv_heads < 1 || head_dim < 1) {
    refuse(fmt::format("heads {}, kv_heads {} and head_dim {}", heads, kv_heads, head_dim), "1 or more each");
  }
  if (heads % kv_heads != 0) {
    refuse(fmt::format("heads {} is not a multiple of kv_heads {}", heads, kv_heads), "");
  }
  if (active_heads < 0 || active_heads > heads) {
    refuse(fmt::format("active_heads is {}", active_heads), fmt::format("0 (all) to heads, {}", heads));
  }
  double all = mix.empty() ? 1 : 0;
  for (const HeadGroup& group : mix) {
    if (!(group.share > 0 && group.share <= 1)) {
      refuse(fmt::format("mix.share is {:g}", group.share), "a share of the heads, above 0 and at most 1");
    }
    all += group.share;
    group.pattern.check(where + ".mix");
  }
  if (all < 1 - 1e-9) refuse(fmt::format("mix has shares of {:g} in all", all), "shares that sum to 1");
  pattern.check(where);
}

CallHeads call_heads(const AttentionSizes& sizes, double share, int ranks) {
  CallHeads local;
  local.heads = share * static_cast<double>(sizes.local_heads(ranks));
  local.kv_heads = share * static_cast<double>(sizes.local_kv_heads(ranks));
  local.stored = share * static_cast<double>(sizes.kv_width(ranks)) / (2 * sizes.mean_dim());
  local.read = local.stored;
  if (sizes.active_heads > 0) {
    const double active = static_cast<double>(sizes.active_heads) / static_cast<double>(sizes.heads);
    local.heads *= active;
    // A head of keys is read when one of the queries' heads that share it is active, uniform routing assumed.
    const double together = static_cast<double>(sizes.heads) / static_cast<double>(sizes.kv_heads);
    local.read *= 1 - std::pow(1 - active, together);
  }
  return local;
}

void push_attention(const KernelClass& cls, const KernelClass::Dims& dims, std::size_t dim_at,
                    const LoweringContext& ctx, KernelCalls& out) {
  const DType activation = ctx.precision.activation, kv = ctx.precision.kv_cache;
  const DType scores = ctx.fusion.attention.scores.value_or(activation);
  const DType values = ctx.fusion.attention.values.value_or(activation);
  out.push_back(make_call(cls, dims, scores, kv));
  out.back().role = "attention";
  if (scores == values) return;
  KernelCall half = out.back();
  half.dims[dim_at] /= 2;
  out.pop_back();
  for (const DType dtype : {scores, values}) {
    half.dtype = dtype;
    half.work = cls.work(half.dims, dtype, kv);
    half.work.vector_flops /= 2;
    out.push_back(half);
  }
}

void push_low_bit_inputs(const LoweringContext& ctx, double tokens, const CallHeads& heads, double dim,
                         KernelCalls& out) {
  const AttentionPlan& plan = ctx.fusion.attention;
  const double wide = bytes_per_element(ctx.precision.activation);
  const double element = plan.scores ? bytes_per_element(*plan.scores) : wide;
  const double value = plan.values ? bytes_per_element(*plan.values) : wide;
  double elements = 0, written = 0;
  if (element < wide)
    elements += (heads.heads + heads.stored) * dim, written += (heads.heads + heads.stored) * dim * element;
  if (value < wide) elements += heads.stored * dim, written += heads.stored * dim * value;
  if (elements == 0) return;
  KernelCall call = make_call(kQuantise, {tokens, elements * wide + written}, ctx.precision.activation,
                              ctx.precision.activation);
  call.work.vector_flops = 4 * tokens * elements;
  call.work.hbm_read_bytes = tokens * elements * wide;
  call.work.hbm_write_bytes = tokens * written;
  call.role = "attention_quantise";
  out.push_back(call);
}

}  // namespace orrery
