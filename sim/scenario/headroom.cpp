#include "scenario/headroom.hpp"

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

#include "ops/equal_sequences.hpp"
#include "serving/scheduler.hpp"

namespace orrery {

namespace {

/// `seqs` sequences of a mean context that need not be whole.
DecodeSet mean_sequences(const StepPricer& pricer, std::int64_t seqs, double context) {
  DecodeSet set = equal_sequences(pricer.model().caps(), seqs, static_cast<Tokens>(std::llround(context)));
  set.context = static_cast<Tokens>(std::llround(context * static_cast<double>(seqs)));
  return set;
}

/// How often a step like this can be made: of a pipeline, as often as its slowest stage, or all its batches
/// in turn, allow.
double step_s(StepPricer& pricer, const DecodeSet& set, std::span<const PrefillChunk> chunks) {
  const Ps alone = chunks.empty() ? pricer.decode(set).first : pricer.mixed(set, chunks);
  if (pricer.shard().pp == 1) return to_seconds(alone).value;
  StageTimes times;
  pricer.stage_times(set, chunks, times);
  const Ps slowest = std::max(times.host, *std::max_element(times.stages.begin(), times.stages.end()));
  return std::max(to_seconds(slowest).value, to_seconds(alone).value / pricer.shard().pp);
}

double mixed_s(StepPricer& pricer, const DecodeSet& set, double prompt_tokens, double prompt_length) {
  std::vector<PrefillChunk> chunks;
  const double longest = std::max(1.0, prompt_length);
  for (double left = prompt_tokens; left >= 0.5 && chunks.size() < 256; left -= longest) {
    chunks.push_back({std::max<Tokens>(1, std::llround(std::min(left, longest))), 0});
  }
  return step_s(pricer, set, chunks);
}

/// Seconds of engine time per request while `seqs` sequences decode in each batch: each request brings
/// output/seqs decode steps (fewer with speculation), and its prompt rides in as few steps as the token
/// budget allows.
double seconds_per_request(StepPricer& pricer, const Decoder& decoder, const MeanRequest& r, double budget,
                           std::int64_t seqs) {
  const double context = r.held_tokens + r.output_tokens / 2;
  const DecodeSet set = mean_sequences(pricer, seqs, context);
  const double decode_steps = r.output_tokens / (static_cast<double>(seqs) * decoder.tokens_per_step());
  const double room = std::max(1.0, budget - static_cast<double>(seqs * decoder.queries()));
  const double prompt_steps = std::max(r.prompt_tokens / room, std::min(1.0, decode_steps));
  const double steps = std::max(decode_steps, prompt_steps);
  const double mixed = mixed_s(pricer, set, r.prompt_tokens / prompt_steps, r.prompt_tokens);
  const double decode = step_s(pricer, set, {});
  return prompt_steps * mixed + (steps - prompt_steps) * decode;
}

/// Blocks that a sequence of `context` tokens holds on average, in tokens of the shortest block.
double held_in_blocks(const KvConfig& kv, double context) {
  double sum = 0;
  for (const KvBlockGroup& g : kv.groups) {
    const double kept = g.state       ? g.block_size / 2.0
                        : g.full()    ? context
                        : g.cap.wraps ? std::min(context, static_cast<double>(g.cap.tokens) / 2)
                                      : std::min(context, static_cast<double>(g.cap.tokens));
    sum += g.count * (kept + g.block_size / 2.0) * kv.block_size / g.block_size;
  }
  return sum > 0 ? sum : context + kv.block_size / 2.0;
}

/// Blocks that the scheduler sets aside for a request of these lengths, in tokens; 0 = it takes them as
/// tokens come.
double reserved_tokens(StepPricer& pricer, const SchedulerConfig& scheduler, const KvConfig& kv,
                       const MeanRequest& r) {
  Request request;
  request.prompt_tokens = static_cast<std::int32_t>(std::ceil(r.held_tokens));
  request.output_tokens = static_cast<std::int32_t>(std::ceil(r.output_tokens));
  const auto policy = make_scheduler(scheduler, kv, pricer.model().caps());
  return static_cast<double>(policy->reserved_blocks(request)) * kv.block_size;
}

}  // namespace

double saturation_rate(StepPricer& pricer, const SchedulerConfig& scheduler, const KvConfig& kv,
                       const MeanRequest& r) {
  if (r.output_tokens < 1 || kv.blocks < 2) return 0;
  const double tokens = static_cast<double>(kv.blocks - 1) * kv.block_size;
  const double each = std::max(held_in_blocks(kv, r.held_tokens + r.output_tokens / 2),
                               reserved_tokens(pricer, scheduler, kv, r));
  const auto budget = static_cast<double>(scheduler.max_num_batched_tokens);
  const double running = std::min(static_cast<double>(scheduler.max_num_seqs), tokens / each);
  const double most = std::min(running / scheduler.lanes, budget - 1);
  double best = 0;
  for (double seqs = std::max(1.0, std::floor(most)); seqs >= 1; seqs = std::floor(seqs / 2)) {
    best = std::max(
        best, 1 / seconds_per_request(pricer, scheduler.decoder, r, budget, static_cast<std::int64_t>(seqs)));
    if (seqs < most / 4) break;  // smaller batches only amortise less
  }
  return best;
}

}  // namespace orrery
