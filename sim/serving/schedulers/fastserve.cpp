#include <algorithm>

#include "base/error.hpp"
#include "serving/reservation.hpp"

namespace orrery {
namespace {

/// FastServe (Wu et al., 2023): before each iteration those are chosen, in the order of the queues, whose KV
/// fits together, at most max_num_seqs of them. Who runs and is not chosen is paused; its KV stays while
/// there is room beside that of the chosen, goes to swap space when there is not (section 4.2), and is
/// computed again where that is full. Prompts are computed whole beside decodes unless chunks are allowed.
class FastServe final : public Scheduler {
 public:
  FastServe(SchedulerConfig config, const KvConfig& kv, std::vector<KeyCap> caps)
      : Scheduler(std::move(config), kv, std::move(caps)) {
    if (config_.lanes > 1 || !config_.decoder.plain())
      throw ConfigError("scheduler 'fastserve' runs one batch at a time, without speculation",
                        "--pipeline-parallel-size 1, and no --speculative-config");
  }

 private:
  void decide(BatchPlan& plan) override {
    if (!queue().empty()) choose(plan);
    const std::size_t paused = plan.preempted.size();
    plan_decodes(plan);
    const Tokens budget = plan_prefills(plan, config_.max_num_batched_tokens - plan.decode.seqs);
    if (plan.preempted.size() == paused) plan_admissions(plan, budget);
  }
  /// Each iteration serves those who are chosen, and so may change who is next.
  bool blocked_stays_blocked() const override { return false; }

  bool runs(const Sequence& seq) const { return seq.state != Sequence::State::waiting; }
  /// Blocks that a sequence holds.
  std::int64_t held(const Sequence& seq) const {
    return kv_.groups().held(runs(seq) ? stored_tokens(seq) : seq.kept);
  }
  /// Blocks that it needs for its next iteration: all of its prompt's where it has none.
  std::int64_t wanted(const Sequence& seq) const {
    if (!runs(seq) && seq.kept == 0) return most_blocks(seq.target);
    const Tokens stored = runs(seq) ? stored_tokens(seq) : seq.kept;
    const Tokens next = seq.state == Sequence::State::decoding ? stored + 1 : seq.target;
    return kv_.groups().held(stored) + kv_.groups().needed(stored, next);
  }

  void choose(BatchPlan& plan) {
    std::int64_t room = kv_.free_blocks(), places = config_.max_num_seqs - running();
    all_.clear();
    for (SeqIndex i = first_running(); i != kNoSeq; i = sequence(i).after) all_.push_back(i), ++places;
    all_.insert(all_.end(), queue().begin(), queue().end());
    for (const SeqIndex i : all_) room += held(sequence(i));
    std::sort(all_.begin(), all_.end(),
              [&](SeqIndex a, SeqIndex b) { return queue_->before(sequence(a), sequence(b)); });
    chosen_.clear(), others_.clear();
    for (const SeqIndex i : all_) {
      const std::int64_t blocks = wanted(sequence(i));
      const bool fits = places > 0 && blocks <= room;
      (fits ? chosen_ : others_).push_back(i);
      if (fits) room -= blocks, --places;
    }
    for (const SeqIndex i : others_) put_aside(i, room, plan);
    for (const SeqIndex i : chosen_) {
      if (sequence(i).kept > 0) resume(i);
    }
  }

  void put_aside(SeqIndex index, std::int64_t& room, BatchPlan& plan) {
    if (runs(sequence(index))) pause(index, plan);
    const std::int64_t blocks = held(sequence(index));
    if (blocks > room) {
      evict(index, plan);
    } else {
      room -= blocks;
    }
  }

  std::vector<SeqIndex> all_, chosen_, others_;  ///< reused
};

const Registration<Schedulers> fastserve{
    "fastserve",
    "before each iteration the first in the queue whose KV fits; others are paused or swapped out",
    make_policy<FastServe>};

}  // namespace
}  // namespace orrery
