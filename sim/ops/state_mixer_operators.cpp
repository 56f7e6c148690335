#include <algorithm>

#include "ops/state_mixer.hpp"
#include "ops/state_mixer_rules.hpp"

namespace orrery {

namespace {
/// States alive among `chunks` whole chunks, summed over 0 .. chunks - 1: the bits set in those numbers.
double bits_below(std::int64_t chunks) {
  double sum = 0;
  for (std::int64_t half = 1; half < chunks; half *= 2) {
    const std::int64_t cycles = chunks / (2 * half), rest = chunks % (2 * half);
    sum += static_cast<double>(cycles * half + std::max<std::int64_t>(rest - half, 0));
  }
  return sum;
}

}  // namespace

void StatePrefill::lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const {
  double tokens = 0, seqs = 0, longest = 0, context = 0, bits = 0;
  for (const auto& c : batch.chunks) {
    if (c.new_tokens == 0) continue;
    const auto n = static_cast<double>(c.new_tokens);
    tokens += n, seqs += 1, longest = std::max(longest, n);
    context += n * (static_cast<double>(c.past) + (n + 1) / 2);
    const Tokens first = c.past / p_.chunk, last = (c.past + c.new_tokens - 1) / p_.chunk;
    if (p_.levels)
      bits += n * (bits_below(last + 1) - bits_below(first)) / static_cast<double>(last + 1 - first);
  }
  if (seqs == 0) return;
  const RuleLowering rule(p_, ctx, out);
  switch (p_.prompt_algorithm()) {
    case StateAlgorithm::recurrent: {
      // As many steps as the longest prompt has tokens, of as many sequences as are left on average.
      const std::size_t first = out.size();
      rule.step(tokens / longest, context / longest);
      for (std::size_t i = first; i < out.size(); ++i) out[i].repeat *= longest;
      return;
    }
    case StateAlgorithm::fft:
      rule.filter(batch.chunks);
      return;
    default:
      rule.prompt(tokens, seqs, bits / tokens);
  }
}

double StatePrefill::weight_bytes(const LoweringContext& ctx) const {
  const UnitGroup units{p_.units()};
  const double share =
      static_cast<double>(units.local_units(ctx.shard.tp)) / static_cast<double>(units.units);
  return static_cast<double>(p_.other_parameters) * share * bytes_per_element(ctx.precision.activation);
}

void StateDecode::lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const {
  if (batch.decode_seqs == 0) return;
  // Drafted tokens are steps of their own, each with its state kept, so that a rejection finds it.
  const auto queries = static_cast<double>(batch.decode_queries);
  const RuleLowering rule(p_, ctx, out);
  rule.step(static_cast<double>(batch.decode_seqs) * queries,
            static_cast<double>(batch.decode_context) * queries);
}

double StateDecode::state_bytes(Tokens context, const LoweringContext& ctx) const {
  if (p_.rule == StateRule::lti && p_.state == 0)  // the inputs themselves, as a convolution keeps them
    return static_cast<double>(context) * StateSizes(p_, ctx.shard.tp).channels *
           bytes_per_element(ctx.precision.activation);
  return state_elements(p_, context, ctx.shard.tp) * bytes_per_element(p_.state_dtype);
}

}  // namespace orrery
