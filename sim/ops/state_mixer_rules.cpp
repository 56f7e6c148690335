#include <algorithm>
#include <bit>
#include <cmath>

#include "ops/kernel_classes.hpp"
#include "ops/recurrent.hpp"
#include "ops/state_mixer.hpp"

namespace orrery {

namespace {

/// A mixer's sizes on one rank. Heads are divided; key heads are replicated when there are fewer of them than
/// ranks.
struct Sizes {
  double heads = 0, key_heads = 0, dk = 0, dv = 0, channels = 0;
};
Sizes local_sizes(const StateParams& p, int ranks) {
  const auto number = [](std::int64_t n) { return static_cast<double>(n); };
  if (p.heads == 0) return {0, 0, 0, 0, number(UnitGroup{p.channels}.local_units(ranks))};
  const std::int64_t key_heads = p.key_heads > 0 ? p.key_heads : p.heads;
  return {number(UnitGroup{p.heads}.local_units(ranks)), number(UnitGroup{key_heads}.local_units(ranks)),
          number(p.feature_dim()), number(p.value_dim > 0 ? p.value_dim : p.key_dim), 0};
}

/// The kernels of a rule with a matrix state, and whether the state decays before it is written.
struct MatrixRule {
  const KernelClass *prompt, *step;
  bool decays;
};
MatrixRule matrix_rule(StateRule rule) {
  switch (rule) {
    case StateRule::vector_gate:
    case StateRule::wkv6:
    case StateRule::slots:
      return {&kGatedLinearAttention, &kGatedLinearAttentionDecode, true};
    case StateRule::delta:
      return {&kDeltaRule, &kDeltaRuleDecode, false};
    case StateRule::gated_delta:
      return {&kDeltaRule, &kDeltaRuleDecode, true};
    case StateRule::channel_gated_delta:
      return {&kGatedDeltaRule, &kGatedDeltaRuleDecode, true};
    case StateRule::ssd:
      return {&kSsd, &kSsdDecode, true};
    case StateRule::additive:
      return {&kLinearAttention, &kLinearAttentionDecode, false};
    default:
      return {&kLinearAttention, &kLinearAttentionDecode, true};
  }
}

/// The rule's calls for tokens that are known in number only: what prompts and the decode set share.
struct Lowering {
  const StateParams& p;
  const Sizes s;
  const LoweringContext& ctx;
  KernelCalls& out;

  KernelCall& push(const KernelClass& cls, const KernelClass::Dims& dims) const {
    out.push_back(make_call(cls, dims, ctx.precision.activation, p.state_dtype));
    out.back().role = "state";
    return out.back();
  }
  double element() const { return bytes_per_element(ctx.precision.activation); }
  double number() const { return bytes_per_element(p.state_dtype); }

  /// The sum of keys beside the state: updated, decayed and read out, 4 operations per key channel.
  void add_normaliser(Work& w, double rows, double states) const {
    if (!p.normaliser) return;
    w.vector_flops += 4 * rows * s.dk;
    w.hbm_read_bytes += states * s.dk * number();
    w.hbm_write_bytes += states * s.dk * number();
  }

  KernelCall& matrix_step(double seqs, double key_heads, double dk, double dv) const {
    const MatrixRule rule = matrix_rule(p.rule);
    const double tokens = seqs * static_cast<double>(p.active_memories), rows = tokens * s.heads;
    KernelCall& call = push(*rule.step, {tokens, s.heads, key_heads, dk, dv});
    if (!rule.decays) {  // the class counts a gate and the state's decay by it
      call.work.vector_flops -= rows * dk * dv;
      call.work.hbm_read_bytes -= rows * 4;
    }
    if (p.householder > 1) {  // the state decays and is read out once, erased and written n_h times
      const double more = static_cast<double>(p.householder - 1);
      call.work.vector_flops += more * rows * 4 * dk * dv;
      call.work.hbm_read_bytes += more * tokens * ((key_heads * dk + s.heads * dv) * element() + 4 * s.heads);
    }
    add_normaliser(call.work, rows, rows);
    return call;
  }

  KernelCall& matrix_prompt(double tokens, double seqs, double key_heads, double dk, double dv) const {
    const MatrixRule rule = matrix_rule(p.rule);
    const double steps = tokens * static_cast<double>(p.active_memories * p.householder);
    const double states = seqs * static_cast<double>(p.memories), chunk = static_cast<double>(p.chunk);
    KernelCall& call = push(*rule.prompt, {steps, states, s.heads, key_heads, dk, dv, chunk});
    if (!rule.decays) {
      call.work.vector_flops -= steps * s.heads * dk * dv / chunk;
      call.work.hbm_read_bytes -= steps * s.heads * 4;
    }
    if (p.rule == StateRule::wkv6) call.work.vector_flops += 4 * steps * s.heads * dk;  // the bonus
    add_normaliser(call.work, steps * s.heads, states * s.heads);
    return call;
  }

  /// Two passes over the slots: queries against the keys' state give scores, their softmax (5 operations per
  /// slot) reads the values' state (Zhang et al., Gated Slot Attention, 2024, section 3).
  template <class Pass>
  void slot_passes(double tokens, Pass pass) const {
    const auto slots = static_cast<double>(p.slots);
    pass(s.key_heads, s.dk, slots);
    pass(s.heads, slots, s.dv).work.vector_flops += 5 * tokens * s.heads * slots;
  }

  void step(double seqs, double context) const;
  void prompt(double tokens, double seqs, double live) const;
};

/// States alive among `chunks` whole chunks, summed over 0 .. chunks - 1: the bits set in those numbers.
double bits_below(std::int64_t chunks) {
  double sum = 0;
  for (std::int64_t half = 1; half < chunks; half *= 2) {
    const std::int64_t cycles = chunks / (2 * half), rest = chunks % (2 * half);
    sum += static_cast<double>(cycles * half + std::max<std::int64_t>(rest - half, 0));
  }
  return sum;
}

void Lowering::step(double seqs, double context) const {
  const auto dim = s.dk;
  switch (p.rule) {
    case StateRule::dplr:
      push(kWkv7Decode, {seqs, s.heads, dim});
      return;
    case StateRule::wkv6:
      push(kWkv6Decode, {seqs, s.heads, dim});
      return;
    case StateRule::wkv4:
      push(kWkv4Decode, {seqs, s.channels});
      return;
    case StateRule::selective_scan:
      push(kSelectiveScanDecode, {seqs, s.channels, static_cast<double>(p.state)});
      return;
    case StateRule::elementwise:
      push(kGatedScanDecode, {seqs, s.channels * static_cast<double>(std::max<std::int64_t>(p.state, 1)),
                              static_cast<double>(p.streams)});
      return;
    case StateRule::serial:
      push(kSlstmStep, {seqs, s.heads, dim});
      return;
    case StateRule::lti:
      if (p.state > 0)
        push(kStateSpaceDecode, {seqs, s.channels, static_cast<double>(p.state)});
      else
        push(kLongConvolutionDecode, {seqs, context, s.channels});
      return;
    case StateRule::gradient:
      push(kTestTimeTrainingDecode, {seqs, s.heads, dim, static_cast<double>(p.depth),
                                     static_cast<double>(p.expansion), p.momentum ? 1.0 : 0.0});
      return;
    case StateRule::slots:
      slot_passes(seqs, [&](double key_heads, double dk, double dv) -> KernelCall& {
        return matrix_step(seqs, key_heads, dk, dv);
      });
      return;
    case StateRule::iterative:
      matrix_step(seqs, s.key_heads, dim, dim);
      matrix_step(seqs, s.key_heads, dim, s.dv);
      push(kConjugateGradientDecode, {seqs, s.heads, dim, static_cast<double>(p.iterations)});
      return;
    default:
      break;
  }
  KernelCall& call = matrix_step(seqs, s.key_heads, dim, s.dv);
  if (!p.levels) return;
  // Half of the bits of a number are set on average: so many states are read beside the running chunk's.
  const double others = 0.5 * std::log2(std::max(context / (seqs * static_cast<double>(p.chunk)), 1.0));
  const double numbers = others * seqs * s.heads * dim * s.dv;
  call.work.vector_flops += 2 * numbers;
  call.work.hbm_read_bytes += numbers * number();
}

/// `live`: mean number of states beside the running chunk's that a token reads (levels).
void Lowering::prompt(double tokens, double seqs, double live) const {
  const auto dim = s.dk, chunk = static_cast<double>(p.chunk);
  switch (p.rule) {
    case StateRule::dplr:
      push(kWkv7, {tokens, seqs, s.heads, dim});
      return;
    case StateRule::wkv6:
      if (p.prompt_algorithm() == StateAlgorithm::scan) {
        push(kWkv6, {tokens, seqs, s.heads, dim});
        return;
      }
      break;
    case StateRule::wkv4:
      push(kWkv4, {tokens, seqs, s.channels});
      return;
    case StateRule::selective_scan:
    case StateRule::lti:
      push(kSelectiveScan, {tokens, seqs, s.channels, static_cast<double>(p.state)});
      return;
    case StateRule::elementwise:
      push(kGatedScan, {tokens, seqs, s.channels * static_cast<double>(std::max<std::int64_t>(p.state, 1)),
                        static_cast<double>(p.streams)});
      return;
    case StateRule::gradient:
      push(kTestTimeTraining, {tokens, seqs, s.heads, dim, static_cast<double>(p.depth),
                               static_cast<double>(p.expansion), chunk, p.momentum ? 1.0 : 0.0});
      return;
    case StateRule::slots:
      slot_passes(tokens, [&](double key_heads, double dk, double dv) -> KernelCall& {
        return matrix_prompt(tokens, seqs, key_heads, dk, dv);
      });
      return;
    case StateRule::iterative:
      matrix_prompt(tokens, seqs, s.key_heads, dim, dim);
      matrix_prompt(tokens, seqs, s.key_heads, dim, s.dv);
      push(kConjugateGradient, {tokens, seqs, s.heads, dim, chunk, static_cast<double>(p.iterations)});
      return;
    default:
      break;
  }
  KernelCall& call = matrix_prompt(tokens, seqs, s.key_heads, dim, s.dv);
  if (!p.levels || live <= 1) return;
  // Between chunks each level runs the additive rule's products and keeps its states (Guo et al., Log-Linear
  // Attention, 2025, section 3.2).
  const double more = (live - 1) * tokens * s.heads * dim * s.dv;
  call.work.tensor_flops += 4 * more;
  call.work.hbm_read_bytes += more / chunk * element();
  call.work.hbm_write_bytes += more / chunk * element();
}

/// A filter runs through the FFT over all inputs so far of each prompt, padded to a power of two; with a
/// state that stands for the past, over the new ones.
void push_filters(const Lowering& l, const BatchShape& batch) {
  for (const auto& chunk : batch.chunks) {
    if (chunk.new_tokens == 0) continue;
    const Tokens length = chunk.new_tokens + (l.p.state > 0 ? 0 : chunk.past);
    const auto padded = std::bit_ceil(static_cast<std::uint64_t>(length));
    l.push(kLongConvolution, {1, l.s.channels, static_cast<double>(padded)});
  }
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
  const Lowering l{p_, local_sizes(p_, ctx.shard.tp), ctx, out};
  switch (p_.prompt_algorithm()) {
    case StateAlgorithm::recurrent: {
      // As many steps as the longest prompt has tokens, of as many sequences as are left on average.
      const std::size_t first = out.size();
      l.step(tokens / longest, context / longest);
      for (std::size_t i = first; i < out.size(); ++i) out[i].repeat *= longest;
      return;
    }
    case StateAlgorithm::fft:
      push_filters(l, batch);
      return;
    default:
      l.prompt(tokens, seqs, bits / tokens);
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
  const Lowering l{p_, local_sizes(p_, ctx.shard.tp), ctx, out};
  l.step(static_cast<double>(batch.decode_seqs) * queries,
         static_cast<double>(batch.decode_context) * queries);
}

double StateDecode::state_bytes(Tokens context, const LoweringContext& ctx) const {
  if (p_.rule == StateRule::lti && p_.state == 0)  // the inputs themselves, as a convolution keeps them
    return static_cast<double>(context) * local_sizes(p_, ctx.shard.tp).channels *
           bytes_per_element(ctx.precision.activation);
  return state_elements(p_, context, ctx.shard.tp) * bytes_per_element(p_.state_dtype);
}

}  // namespace orrery
