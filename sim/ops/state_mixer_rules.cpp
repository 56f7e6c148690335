#include "ops/state_mixer_rules.hpp"

#include <algorithm>
#include <bit>
#include <cmath>

#include "ops/kernel_classes.hpp"
#include "ops/recurrent.hpp"

namespace orrery {

namespace {

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

}  // namespace

StateSizes::StateSizes(const StateParams& p, int ranks) {
  const auto local = [&](std::int64_t units) {
    return static_cast<double>(UnitGroup{units}.local_units(ranks));
  };
  if (p.heads == 0) {
    channels = local(p.channels);
    return;
  }
  heads = local(p.heads), key_heads = local(p.key_heads > 0 ? p.key_heads : p.heads);
  dk = static_cast<double>(p.feature_dim());
  dv = static_cast<double>(p.value_dim > 0 ? p.value_dim : p.key_dim);
}

KernelCall& RuleLowering::push(const KernelClass& cls, const KernelClass::Dims& dims) const {
  out_.push_back(make_call(cls, dims, ctx_.precision.activation, p.state_dtype));
  out_.back().role = "state";
  return out_.back();
}

/// Queries and keys come in before their feature map.
void RuleLowering::map_features(Work& w, double tokens, double key_heads, double dk) const {
  if (p.feature_map != FeatureMap::none)
    w.hbm_read_bytes -= 2 * tokens * key_heads * (dk - static_cast<double>(p.key_dim)) * element();
}

/// The sum of keys beside the state: updated, decayed and read out, 4 operations per key channel.
void RuleLowering::add_normaliser(Work& w, double rows, double states) const {
  if (!p.normaliser) return;
  w.vector_flops += 4 * rows * s.dk;
  w.hbm_read_bytes += states * s.dk * number();
  w.hbm_write_bytes += states * s.dk * number();
}

KernelCall& RuleLowering::matrix_step(double seqs, double key_heads, double dk, double dv) const {
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
  map_features(call.work, tokens, key_heads, dk);
  add_normaliser(call.work, rows, rows);
  return call;
}

KernelCall& RuleLowering::matrix_prompt(double tokens, double seqs, double key_heads, double dk,
                                        double dv) const {
  const MatrixRule rule = matrix_rule(p.rule);
  const double steps = tokens * static_cast<double>(p.active_memories * p.householder);
  const double states = seqs * static_cast<double>(p.memories), chunk = static_cast<double>(p.chunk);
  KernelCall& call = push(*rule.prompt, {steps, states, s.heads, key_heads, dk, dv, chunk});
  if (!rule.decays) {
    call.work.vector_flops -= steps * s.heads * dk * dv / chunk;
    call.work.hbm_read_bytes -= steps * s.heads * 4;
  }
  if (p.rule == StateRule::wkv6) call.work.vector_flops += 4 * steps * s.heads * dk;  // the bonus
  map_features(call.work, steps, key_heads, dk);
  add_normaliser(call.work, steps * s.heads, states * s.heads);
  return call;
}

/// Two passes over the slots: queries against the keys' state give scores, their softmax (5 operations per
/// slot) reads the values' state (Zhang et al., Gated Slot Attention, 2024, section 3).
template <class Pass>
void RuleLowering::slot_passes(double tokens, Pass pass) const {
  const auto slots = static_cast<double>(p.slots);
  pass(s.key_heads, s.dk, slots);
  pass(s.heads, slots, s.dv).work.vector_flops += 5 * tokens * s.heads * slots;
}

/// Half of the bits of a number are set on average: so many states are read beside the running chunk's.
void RuleLowering::read_levels_step(KernelCall& call, double seqs, double context) const {
  const double chunks = context / (seqs * static_cast<double>(p.chunk));
  const double numbers = 0.5 * std::log2(std::max(chunks, 1.0)) * seqs * s.heads * s.dk * s.dv;
  call.work.vector_flops += 2 * numbers;
  call.work.hbm_read_bytes += numbers * number();
}

/// Between chunks each level runs the additive rule's products and keeps its states (Guo et al., Log-Linear
/// Attention, 2025, section 3.2).
void RuleLowering::read_levels_prompt(KernelCall& call, double tokens, double live) const {
  const double more = (live - 1) * tokens * s.heads * s.dk * s.dv;
  const double bytes = more / static_cast<double>(p.chunk) * element();
  call.work.tensor_flops += 4 * more;
  call.work.hbm_read_bytes += bytes;
  call.work.hbm_write_bytes += bytes;
}

void RuleLowering::step(double seqs, double context) const {
  const double dim = s.dk;
  const auto per_channel = static_cast<double>(std::max<std::int64_t>(p.state, 1));
  switch (p.rule) {
    case StateRule::convolution:
      return;
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
      push(kSelectiveScanDecode, {seqs, s.channels, per_channel});
      return;
    case StateRule::elementwise:
      push(kGatedScanDecode, {seqs, s.channels * per_channel, static_cast<double>(p.streams)});
      return;
    case StateRule::serial:
      push(kSlstmStep, {seqs, s.heads, dim});
      return;
    case StateRule::lti:
      if (p.state > 0)
        push(kStateSpaceDecode, {seqs, s.channels, per_channel});
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
  if (p.levels) read_levels_step(call, seqs, context);
}

void RuleLowering::prompt(double tokens, double seqs, double live) const {
  const double dim = s.dk, chunk = static_cast<double>(p.chunk);
  const auto per_channel = static_cast<double>(std::max<std::int64_t>(p.state, 1));
  switch (p.rule) {
    case StateRule::convolution:
      return;
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
      push(kSelectiveScan, {tokens, seqs, s.channels, per_channel});
      return;
    case StateRule::elementwise:
      push(kGatedScan, {tokens, seqs, s.channels * per_channel, static_cast<double>(p.streams)});
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
  if (p.levels && live > 1) read_levels_prompt(call, tokens, live);
}

/// Over all inputs so far of each prompt; with a state that stands for the past, over the new ones. Each is
/// padded to a power of two, as FFTs run; all share the filter's spectrum.
void RuleLowering::filter(std::span<const PrefillChunk> chunks) const {
  double seqs = 0, longest = 0;
  Work sum;
  for (const auto& chunk : chunks) {
    if (chunk.new_tokens == 0) continue;
    const Tokens length = chunk.new_tokens + (p.state > 0 ? 0 : chunk.past);
    const auto padded = static_cast<double>(std::bit_ceil(static_cast<std::uint64_t>(length)));
    const Work one = kLongConvolution.work({1, s.channels, padded}, ctx_.precision.activation, p.state_dtype);
    sum += one;
    sum.hbm_read_bytes -= one.weight_bytes;
    seqs += 1, longest = std::max(longest, padded);
  }
  KernelCall& call = push(kLongConvolution, {seqs, s.channels, longest});
  sum.weight_bytes = call.work.weight_bytes;
  sum.hbm_read_bytes += sum.weight_bytes;
  call.work = sum;
}

}  // namespace orrery
