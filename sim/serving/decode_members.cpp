// What the scheduler knows of its decode set's members one by one. The simulator never asks: aggregates do.
#include "base/error.hpp"
#include "serving/scheduler.hpp"

namespace orrery {

void Scheduler::expand(const BatchPlan& latest, std::vector<DecodeMember>& members) const {
  members.clear();
  if (latest.decode.seqs == 0) return;
  ORRERY_CHECK(config_.decoder.plain(), "members of a step that verifies drafts are not written out");
  DecodeSet found;
  const auto add = [&](SeqIndex index, Tokens context) {
    members.push_back({index, context});
    ++found.seqs, found.context += context + 1;
  };
  // The pool has planned this step already: who joined at its present step was not yet in it.
  for (SeqIndex i = first_; i != kNoSeq; i = sequence(i).after) {
    const Sequence& seq = sequence(i);
    if (decodes(seq) && seq.joined < pool().clock()) add(i, stored_tokens(seq) - 1);
  }
  // Who finishes with a prompt chunk has stored the chunk's target and no more.
  for (const SeqIndex i : latest.finishing) {
    if (sequence(i).computed > sequence(i).target) add(i, sequence(i).computed - 1);
  }
  ORRERY_CHECK(found.seqs == latest.decode.seqs && found.context == latest.decode.context,
               "only the latest plan can be expanded, and only until it is complete");
}

/// Each block goes to the sequence whose last one is full, step by step in running order, so that a run of
/// steps deals them out as single steps would.
void Scheduler::deal_decode_blocks(std::int64_t steps) {
  for (std::int64_t step = 0; step < steps; ++step) {
    for (SeqIndex i = first_; i != kNoSeq; i = sequence(i).after) {
      const Sequence& seq = sequence(i);
      const bool grows = decodes(seq) && (stored_tokens(seq) + step) % kv_.block_size() == 0;
      if (grows) kv_.grow(seq, 1);
    }
  }
}

}  // namespace orrery
