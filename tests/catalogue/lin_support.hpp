#pragma once

#include <string_view>

#include "catalogue/method.hpp"
#include "ops/state_mixer.hpp"

// What the rows on linear sequence modelling ask of a state mixer: the work of its rule alone, without
// projections and convolutions.
namespace lin {

using namespace orrery;

inline StateParams state_of(std::string_view row) {
  return block_of<StateParams>(row, "state");
}

inline Work total(const KernelCalls& calls) {
  Work sum;
  for (const auto& call : calls) {
    Work w = call.work;
    w.tensor_flops *= call.repeat, w.vector_flops *= call.repeat;
    w.hbm_read_bytes *= call.repeat, w.hbm_write_bytes *= call.repeat, w.weight_bytes *= call.repeat;
    sum += w;
  }
  return sum;
}

inline KernelCalls prompt_calls(const StateParams& p, Tokens tokens, DType activation = DType::bf16) {
  p.check();
  LoweringContext ctx;
  ctx.precision.activation = activation;
  BatchShape batch;
  batch.chunks = {{tokens, 0}};
  KernelCalls calls;
  StatePrefill(p).lower(batch, ctx, calls);
  return calls;
}
inline Work prompt(const StateParams& p, Tokens tokens, DType activation = DType::bf16) {
  return total(prompt_calls(p, tokens, activation));
}

/// One token of each of `seqs` sequences of `context` tokens.
inline KernelCalls step_calls(const StateParams& p, std::int64_t seqs = 1, Tokens context = 1) {
  p.check();
  BatchShape batch;
  batch.decode_seqs = seqs, batch.decode_context = seqs * context;
  KernelCalls calls;
  StateDecode(p).lower(batch, {}, calls);
  return calls;
}
inline Work step(const StateParams& p, std::int64_t seqs = 1, Tokens context = 1) {
  return total(step_calls(p, seqs, context));
}

/// Bytes of state that a step reads and writes: what halves when the state's numbers do.
inline double state_traffic(StateParams p, Tokens context = 1) {
  p.state_dtype = DType::fp32;
  const double wide = step(p, 1, context).hbm_bytes();
  p.state_dtype = DType::bf16;
  return 2 * (wide - step(p, 1, context).hbm_bytes());
}

/// Bytes a sequence keeps in the recurrence of one layer.
inline double kept(const StateParams& p, Tokens context = 1) {
  return StateDecode(p).state_bytes(context, {});
}

/// Bytes a sequence keeps in the whole mixer: the inputs of convolutions and token shifts as well.
inline double kept_by_mixer(const StateParams& p, std::int64_t hidden, const LoweringContext& ctx) {
  double bytes = 0;
  for (const auto& [op, scaling] : state_operators(p, hidden)) bytes += op->state_bytes(1, ctx);
  return bytes;
}

inline double parameters(const StateParams& p, std::int64_t hidden) {
  double sum = 0;
  for (const auto& [op, scaling] : state_operators(p, hidden)) sum += op->parameters();
  return sum;
}

}  // namespace lin
