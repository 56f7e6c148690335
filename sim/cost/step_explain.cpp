#include "cost/step_explain.hpp"

#include "cost/step_lanes.hpp"
#include "ops/context_parallel.hpp"

namespace orrery {

Seconds explain_pass(const StepPass& pass, const BatchShape& batch, StepExplanation& out,
                     std::int64_t& launches) {
  const StepModel& m = pass.model();
  BatchShape shape = batch;
  const bool has_prefill = !shape.chunks.empty();
  shape.decode_queries = pass.form().queries;
  shape.decode_context += shape.decode_seqs * (shape.decode_queries - 1);
  if (!pass.form().prompts)
    shape.decode_seqs += static_cast<std::int64_t>(shape.chunks.size()), shape.chunks.clear();
  const Tokens tokens = tokens_of_rank(shape, m.prompt_ranks).tokens();
  if (shape.padded_tokens == 0) shape.padded_tokens = m.plan.padded(tokens, has_prefill);
  KernelCalls calls;
  m.kernels.lower(shape, calls);
  LongestPath path;
  const auto times = static_cast<double>(pass.form().times);
  for (KernelCall& call : calls) {
    if (!call.cls) {
      path.add(call.mark, call.lane, 0);
      continue;
    }
    const KernelTime time = m.kernels.price(call);
    call.repeat *= times;
    const Seconds total = time.time * (call.repeat * m.kernels.factor(call));
    path.add(call.mark, call.lane, total.value);
    out.calls.push_back({call, time, total});
  }
  launches += m.launches_ps(tokens, has_prefill) * pass.form().times;
  return Seconds(path.seconds()) + to_seconds(Ps(m.gaps * pass.form().times));
}

Seconds explain_encoder(const EncoderTable& encoder, const StepKernels& kernels, std::int64_t images,
                        StepExplanation& out) {
  KernelCalls calls;
  encoder.lower(images, calls);
  Seconds sum = to_seconds(Ps(encoder.between_ps()));
  for (const KernelCall& call : calls) {
    const KernelTime time = kernels.price(call);
    const Seconds total = time.time * (call.repeat * kernels.factor(call));
    out.calls.push_back({call, time, total});
    sum += total;
  }
  return sum;
}

}  // namespace orrery
