// Requests that an engine loses when it stops, and that another one goes on with.
#include <algorithm>

#include "base/error.hpp"
#include "serving/scheduler.hpp"

namespace orrery {
namespace {

/// The chunk of `index` in a plan that is not run; null when it has none.
const ScheduledChunk* chunk_of(SeqIndex index, const BatchPlan& plan) {
  const auto found = std::find_if(plan.chunks.begin(), plan.chunks.end(),
                                  [&](const ScheduledChunk& c) { return c.seq == index; });
  return found == plan.chunks.end() ? nullptr : &*found;
}

Tokens gained(const BatchPlan& plan) {
  return plan.decode.seqs > 0 ? plan.decode.pace.after(1) : 0;
}

bool preempts(const BatchPlan& plan, SeqIndex index) {
  return std::find(plan.preempted.begin(), plan.preempted.end(), index) != plan.preempted.end();
}

}  // namespace

/// The clock of a lane's decode set before the plans that are not run.
Tokens Scheduler::settled_clock(int lane, std::span<const BatchPlan* const> lost) const {
  Tokens clock = pools_[static_cast<std::size_t>(lane)].clock();
  for (const BatchPlan* plan : lost) clock -= plan->lane == lane ? gained(*plan) : 0;
  return clock;
}

void Scheduler::evacuate(std::span<const BatchPlan* const> lost,
                         std::vector<std::pair<SeqIndex, Evacuated>>& out) const {
  ORRERY_CHECK(!config_.decoder.sampled(), "drawn tokens cannot be taken back");
  for (SeqIndex index = 0; index < static_cast<SeqIndex>(sequences_.size()); ++index) {
    const Sequence& seq = sequence(index);
    if (seq.state == Sequence::State::free) continue;
    const Tokens prompt = seq.request.prompt_tokens;
    const bool decodes = seq.state == Sequence::State::decoding || seq.state == Sequence::State::draining;
    Evacuated e;
    e.request = seq.request;
    e.before = {seq.queued,     seq.scheduled,     seq.first_token,
                seq.last_token, seq.cached_tokens, seq.preemptions};
    e.last_token = seq.last_token;
    e.delivered =
        decodes ? seq.target - prompt + 1 + settled_clock(seq.lane, lost) - seq.joined : seq.generated;
    e.stored = decodes ? prompt + e.delivered - 1 : seq.computed;
    Tokens planned = 0;  // by its decode set in plans that are not run
    const ScheduledChunk *first = nullptr, *last = nullptr;
    for (const BatchPlan* plan : lost) {
      if (preempts(*plan, index) && seq.decoded) e.delivered -= planned;
      if (plan->lane == seq.lane) planned += gained(*plan);
      const ScheduledChunk* chunk = chunk_of(index, *plan);
      if (!chunk) continue;
      if (!first) first = chunk;
      if (chunk->last && !last) last = chunk;
    }
    // The token that such a chunk would have brought, and all after it, did not come.
    if (last) e.delivered = last->tokens.past + last->tokens.new_tokens - prompt;
    if (first) e.stored = first->tokens.past;
    out.emplace_back(index, e);
  }
}

SeqIndex Scheduler::add_begun(const Evacuated& begun, bool kv_kept, const char** refusal) {
  const SeqIndex index = add(begun.request, begun.before.queued, refusal);
  if (index == kNoSeq) return index;
  Sequence& seq = sequence(index);
  seq.generated = begun.delivered;
  seq.target += begun.delivered;
  seq.scheduled = begun.before.scheduled, seq.first_token = begun.before.first_token;
  seq.cached_tokens = begun.before.cached_tokens, seq.preemptions = begun.before.preemptions;
  seq.last_token = begun.last_token;
  seq.kv_to_come = kv_kept;
  return index;
}

}  // namespace orrery
