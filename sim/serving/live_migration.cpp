// Sequences that go on in another engine while they decode (Llumnix: Sun et al., OSDI 2024, section 4.2). The
// engine they leave keeps their blocks until all of the cache has been sent; the one they go to takes blocks
// as more of it comes, and then has them join as those whose prompt was computed elsewhere (handover.cpp).
#include "base/error.hpp"
#include "serving/scheduler.hpp"

namespace orrery {

void Scheduler::depart(SeqIndex index, BatchPlan& latest) {
  Sequence& seq = sequence(index);
  ORRERY_CHECK(seq.state == Sequence::State::decoding, "only a sequence that decodes departs");
  seq.computed = stored_tokens(seq);
  seq.generated = seq.computed + 1 - seq.request.prompt_tokens;
  pools_[static_cast<std::size_t>(seq.lane)].leave(seq.target, seq.joined);
  queue_->decodes(seq, -1);
  ++seq.generation;
  seq.state = Sequence::State::draining;
  unlink(index);
  latest.departing.push_back(index);
}

/// Its blocks have no names in the prefix cache: they are there before their content is.
SeqIndex Scheduler::host(const Request& request) {
  if (most_blocks(Tokens{request.prompt_tokens} + request.output_tokens - 1) > kv_.total_blocks())
    return kNoSeq;
  const SeqIndex index = take_slot(request);
  Sequence& seq = sequence(index);
  seq.request.prefix.reset();
  seq.state = Sequence::State::draining;
  seq.kv_to_come = true;
  ++in_transfer_;
  return index;
}

bool Scheduler::make_room(SeqIndex index, Tokens tokens, Tokens ahead) {
  Sequence& seq = sequence(index);
  if (kv_.groups().needed(seq.computed, tokens + ahead) > kv_.free_blocks()) return false;
  if (seq.computed == 0) {
    kv_.admit(seq, {}, tokens + ahead);
  } else {
    kv_.extend(seq, seq.computed, tokens + ahead);
  }
  kv_.drop(seq, seq.computed, tokens);
  seq.computed = tokens;
  seq.target = tokens + 1;
  seq.generated = seq.target - seq.request.prompt_tokens;
  return true;
}

InstanceLoad Scheduler::load() const {
  InstanceLoad load{kv_.total_blocks(), kv_.used_blocks(), running_, waiting()};
  if (!waiting_.empty()) load.head_blocks = most_blocks(sequence(waiting_.front()).target);
  for_running([&](SeqIndex i) { load.urgent += sequence(i).request.priority < 0; });
  return load;
}

}  // namespace orrery
