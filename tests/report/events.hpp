#pragma once

#include <vector>

#include "events/observer.hpp"

/// Builders of events for the tests of the report layer.
namespace orrery::testing {

inline Ps ms(double value) {
  return ps_from_ms(value);
}
inline Ps seconds(double value) {
  return ps_from_ms(value * 1e3);
}

inline Request request(RequestId id, Ps arrival, int prompt = 100, int output = 10) {
  Request r;
  r.id = id;
  r.arrival = arrival;
  r.prompt_tokens = prompt;
  r.output_tokens = output;
  return r;
}

/// A request that waited `queue` after its arrival, saw its first token after `prefill` more and the others
/// `gap` apart.
inline RequestRecord record(RequestId id, Ps arrival, Ps queue, Ps prefill, Ps gap, std::int64_t output) {
  RequestRecord r;
  r.id = id;
  r.prompt_tokens = 100;
  r.output_tokens = output;
  r.arrival = r.queued = arrival;
  r.scheduled = arrival + queue;
  r.first_token = r.scheduled + prefill;
  r.done = r.first_token + gap * (output - 1);
  return r;
}

inline DecodeRun decode_run(Ps start, Ps first, Ps slope, std::int64_t steps, std::int64_t seqs,
                            int replica = 0) {
  DecodeRun run;
  run.where = {replica, 0};
  run.start = start, run.first = first, run.slope = slope;
  run.steps = steps, run.seqs = seqs;
  run.load = {seqs, 0, 0, 1000};
  return run;
}

/// `chunks` must outlive the step.
inline MixedStep mixed_step(Ps start, Ps duration, std::int64_t decode_seqs,
                            const std::vector<ChunkEvent>& chunks) {
  MixedStep step;
  step.start = start, step.duration = duration;
  step.decode_seqs = decode_seqs;
  step.chunks = chunks;
  for (const auto& c : chunks) step.prefill_tokens += c.new_tokens;
  step.load = {decode_seqs + static_cast<std::int64_t>(chunks.size()), 0, 0, 1000};
  return step;
}

}  // namespace orrery::testing
