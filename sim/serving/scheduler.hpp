#pragma once

#include <deque>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "base/registry.hpp"
#include "serving/batch_plan.hpp"
#include "serving/decode_pool.hpp"
#include "serving/freeness.hpp"
#include "serving/kv_cache.hpp"

namespace orrery {

/// Decides what each engine step computes. Pure: time is nobody's business here; the simulator and the live
/// engine call the same code. This class keeps the sequences, the KV cache and the decode pool; a policy
/// decides in decide().
///
/// The caller's cycle, per step: schedule() -> run it -> complete(). With async scheduling the next
/// schedule() comes before the complete() of the step in flight. extend() repeats the latest plan when
/// nothing can change.
///
/// With several lanes as many plans may be in flight, completed in the order they were made. Each takes the
/// decode set of a lane that has none in flight, since the next token of a sequence is known when its batch
/// returns; a prompt's chunks follow each other in consecutive plans. Slots, blocks and the running order are
/// shared by all lanes. Who is preempted while in flight is not admitted again before that batch returns.
class Scheduler {
 public:
  Scheduler(SchedulerConfig config, const KvConfig& kv, std::vector<KeyCap> caps);
  virtual ~Scheduler() = default;

  /// Queues a request. Returns its slot, or kNoSeq with `*refusal` set when it can never run.
  SeqIndex add(const Request& request, Ps queued, const char** refusal);
  /// With SchedulerConfig::shed_overdue: takes out who waits, has had no token yet and was due before `now`.
  /// Their slots stay readable until release_slot().
  void shed(Ps now, std::vector<SeqIndex>& out);
  /// Plans the next step; the plan is empty when there is nothing to do.
  void schedule(BatchPlan& plan);
  /// Whether another plan may be made: with one lane the caller's cycle says so.
  bool has_free_lane() const { return in_flight_ < config_.lanes; }
  int in_flight() const { return in_flight_; }  ///< plans not complete
  /// How many more steps equal to `latest` can follow it with nobody joining, leaving or being preempted, if
  /// nobody arrives. 0 when the next decision may differ.
  std::int64_t extendable(const BatchPlan& latest) const;
  /// Plans `steps` more steps equal to `latest`, which becomes the last of them.
  void extend(BatchPlan& latest, std::int64_t steps);
  /// Writes out the decode set of `latest`, the plan that schedule() or extend() made last: those still
  /// running in their order of admission, then those whose last token comes with this plan. To be asked
  /// before the next schedule() or extend() and before the plan's own complete(); with async scheduling,
  /// where the next plan is made while this one runs, that means right after it was made.
  void expand(const BatchPlan& latest, std::vector<DecodeMember>& members) const;
  /// The KV blocks of a sequence in the latest plan, room for the tokens this plan computes included: see
  /// KvCache::block_table(). To be read when expand() may be asked. Blocks freed by a later plan may be
  /// written by that plan's step, so steps must run in the order they were planned.
  std::span<const std::int32_t> block_table(SeqIndex index) const { return kv_.block_table(sequence(index)); }
  /// The plan's step is over: frees what it finished. Their slots stay readable until release_slot().
  void complete(const BatchPlan& plan);
  void release_slot(SeqIndex index);

  // Prompts computed by one engine, decoded by another (handover.cpp).

  /// As add(), of a request whose prompt and first token another engine has computed or is computing. It
  /// waits its turn for the prompt's blocks (BatchPlan::reserved), then for received().
  SeqIndex add_computed(const Request& request, Ps queued, const char** refusal);
  /// Its KV blocks are filled: it computes its second token as soon as a step has room.
  void received(SeqIndex index, const Prefilled& before);
  /// Frees the blocks and the slot of a sequence that SchedulerConfig::hands_over kept when it was complete.
  void release_held(SeqIndex index);
  /// What BatchPlan::loads told of has come: it goes on with the next plan that has room (loads.cpp).
  void loaded(SeqIndex index) { loaded_.push_back(index); }
  /// Tokens of its prompt that the cache did not hold when its blocks were reserved.
  Tokens tokens_to_receive(SeqIndex index) const;
  /// Sequences whose blocks are held for a transfer, from here or to here.
  std::int64_t in_transfer() const { return in_transfer_; }

  // Requests that leave before they are done, and go on elsewhere (evacuation.cpp).

  /// All requests there are, as they stand if the plans `lost`, the latest ones, in the order they were made,
  /// are never run. The scheduler is of no use afterwards. Not with drawn tokens.
  void evacuate(std::span<const BatchPlan* const> lost,
                std::vector<std::pair<SeqIndex, Evacuated>>& out) const;
  /// As add(), of a request that another engine has begun: what was delivered is computed again with its
  /// prompt. With `kv_kept`, of one with a first token, as add_computed(): its KV comes.
  SeqIndex add_begun(const Evacuated& begun, bool kv_kept, const char** refusal);
  // Sequences that go on in another engine while they decode (live_migration.cpp).

  /// Tokens in the KV cache once the steps planned are over.
  Tokens stored_tokens(SeqIndex index) const { return stored_tokens(sequence(index)); }
  /// A decoding sequence gets its last token here with `latest`, the plan that was made last; its blocks stay
  /// until release_held().
  void depart(SeqIndex index, BatchPlan& latest);
  /// A slot, without blocks yet, for a sequence that comes from another engine: make_room(), then received(),
  /// or release_held() if it does not come. kNoSeq when it can never run here.
  SeqIndex host(const Request& request);
  /// Takes blocks so that it has those of its first `tokens` tokens and, to go on with, of `ahead` more.
  /// False when they are not free.
  bool make_room(SeqIndex index, Tokens tokens, Tokens ahead);
  /// What the engine's memory is used for.
  InstanceLoad load() const;
  /// Calls f(index) for all that run, in order of admission.
  template <class F>
  void for_running(F&& f) const {
    for (SeqIndex i = first_; i != kNoSeq; i = sequence(i).after) f(i);
  }

  Sequence& sequence(SeqIndex index) { return sequences_[static_cast<std::size_t>(index)]; }
  const Sequence& sequence(SeqIndex index) const { return sequences_[static_cast<std::size_t>(index)]; }
  const KvCache& kv() const { return kv_; }
  /// Slots for tokens in the blocks that sequences hold, with no token in them as of the plan made last. 0
  /// where groups of layers keep different things.
  Tokens unfilled_tokens() const;
  /// Whether blocks are set aside at admission for tokens still to come.
  virtual bool reserves() const { return false; }
  /// Blocks set aside for those running, filled or not; 0 of a policy that reserves none.
  std::int64_t reserved_blocks() const { return reserves() ? committed_blocks_ : 0; }
  /// The same of one request by itself.
  std::int64_t reserved_blocks(const Request& request) const;
  const SchedulerConfig& config() const { return config_; }
  /// Whether an arrival may be served before others who wait.
  bool reorders() const { return !queue_->first_come(); }
  std::int64_t running() const { return running_; }
  std::int64_t waiting() const { return static_cast<std::int64_t>(waiting_.size() + received_.size()); }

 protected:
  /// Fills `plan`, using the steps below.
  virtual void decide(BatchPlan& plan) = 0;
  /// Whether a pure decode plan stays the decision while requests wait that could not be admitted. True when
  /// admission depends only on what shrinks while the set decodes (free blocks) or stays (slots, budget).
  virtual bool blocked_stays_blocked() const { return true; }
  /// A policy's own condition for admitting `seq` now.
  virtual bool may_admit(const Sequence& /*seq*/) const { return true; }
  /// Blocks that an admitted sequence is counted with in committed_blocks(); the same until it leaves.
  virtual std::int64_t commitment(const Sequence& seq) const { return max_blocks(seq); }
  /// Tokens of its answer that a sequence may write before it must give way (give_way_overrun()).
  virtual Tokens allotted(const Sequence& seq) const { return seq.request.output_tokens; }

  /// Decodes, then prompts begun, then (unless somebody was preempted) waiting ones, all in one token budget.
  void plan_mixed(BatchPlan& plan);
  /// Puts the whole decode set into the plan, preempting from the tail of the running list until its blocks
  /// fit.
  void plan_decodes(BatchPlan& plan);
  /// Continues partly computed prompts in order of admission; returns the budget left.
  Tokens plan_prefills(BatchPlan& plan, Tokens budget);
  /// Admits waiting requests while budget, slots and blocks allow.
  void plan_admissions(BatchPlan& plan, Tokens budget);

  /// Preempts those that have written all they were allotted and are not done.
  void give_way_overrun(BatchPlan& plan);
  /// Calls f(sequence, tokens stored) for everyone running, in order of admission.
  template <class F>
  void for_each_running(F&& f) const {
    for (SeqIndex i = first_; i != kNoSeq; i = sequence(i).after) f(sequence(i), stored_tokens(sequence(i)));
  }
  // For policies that stop a running sequence for another one (pauses.cpp).

  /// Those who run, in order of admission (Sequence::after), but for those whose KV is on its way.
  SeqIndex first_running() const { return first_; }
  const std::deque<SeqIndex>& queue() const { return waiting_; }
  /// Leaves those who run for those who wait, and keeps its blocks.
  void pause(SeqIndex index, BatchPlan& plan);
  /// Runs again.
  void resume(SeqIndex index);
  /// One that is paused gives up its blocks: what they hold is swapped out, or computed again.
  void evict(SeqIndex index, BatchPlan& plan);
  /// Tokens of a running sequence in the KV cache.
  Tokens stored_tokens(const Sequence& seq) const;

  /// Tokens that the admitted sequences may still add to the KV cache if each runs to its full output.
  Tokens tokens_to_come() const;
  /// What the admitted sequences are committed to in all: the blocks they take at most, all run to their full
  /// output, unless commitment() says otherwise.
  std::int64_t committed_blocks() const { return committed_blocks_; }
  std::int64_t max_blocks(const Sequence& seq) const;
  /// The most KV blocks a sequence holds on its way to `tokens` tokens.
  std::int64_t most_blocks(Tokens tokens) const {
    const Tokens drafted = ahead_ + config_.decoder.queries() - 1;
    return kv_.groups().most(tokens + drafted, config_.max_num_batched_tokens);
  }

  SchedulerConfig config_;
  KvCache kv_;
  std::unique_ptr<QueuePolicy> queue_;

 private:
  SeqIndex take_slot(const Request& request);
  void preempt(SeqIndex victim, BatchPlan& plan);
  bool reserve_first(BatchPlan& plan);
  Tokens plan_received(BatchPlan& plan, Tokens budget);
  bool start_load(SeqIndex index, const KvCache::Hit& hit, KvLoad load, Tokens budget, BatchPlan& plan);
  void join_loaded();
  bool swap_out(Sequence& seq, Tokens stored, BatchPlan& plan);
  bool swap_in_first(const KvCache::Hit& hit, BatchPlan& plan);
  std::int64_t swap_blocks(Tokens tokens) const { return kv_.groups().held(tokens); }
  bool loads_may_change() const;
  void commit(const Sequence& seq, int sign);
  std::int64_t enough_blocks(const Sequence& seq, Tokens hit, std::int64_t wanted) const;
  SeqIndex choose_victim() const;
  Tokens draw(const Sequence& seq) const;
  Tokens wanted(const Sequence& seq) const;
  std::int64_t step_blocks() const;
  std::int64_t blocks_ahead(Tokens stored) const { return kv_.groups().needed(stored, stored + ahead_); }
  void take_ahead(Sequence& seq);
  void give_back_ahead(Sequence& seq, Tokens stored);
  void take_decode_blocks(std::int64_t steps);
  void deal_decode_blocks(std::int64_t steps);
  void join_decodes(SeqIndex index);
  void advance_decodes();
  void advance_drawn(BatchPlan& plan);
  void watch_drop(SeqIndex index);
  void finish(BatchPlan& plan);
  void finish_sequence(SeqIndex index, BatchPlan& plan);
  void link(SeqIndex index);
  void unlink(SeqIndex index);
  void wait(SeqIndex index, bool front);
  void bring_first();
  void put_back_first();
  Tokens settled_clock(int lane, std::span<const BatchPlan* const> lost) const;
  Tokens stop(SeqIndex victim, BatchPlan& plan);

  Tokens ahead_;  ///< KV slots for drafted tokens, beyond those a planned step fills by the decoder's pace
  static constexpr std::int64_t kPlenty = std::int64_t{1} << 60;

  DecodePool& pool() { return pools_[lane_]; }
  const DecodePool& pool() const { return pools_[lane_]; }
  /// In the decode set that is being planned.
  bool decodes(const Sequence& seq) const {
    return seq.state == Sequence::State::decoding && static_cast<std::size_t>(seq.lane) == lane_;
  }
  void choose_lane();

  /// What a lane has planned last, and whether that is in flight.
  struct Lane {
    std::int64_t last_plan = 0;
    bool in_flight = false;
  };
  std::vector<DecodePool> pools_;  ///< by lane
  std::vector<Lane> lanes_;
  std::size_t lane_ = 0;                      ///< of the plan made last
  std::int64_t planned_ = 0, completed_ = 0;  ///< plans, which are numbered from 1
  int in_flight_ = 0;
  std::vector<Sequence> sequences_;
  std::vector<SeqIndex> spare_;
  std::deque<SeqIndex> waiting_;
  std::ptrdiff_t brought_from_ = 0;  ///< where bring_first() found the first who waits
  std::vector<SeqIndex> partial_;    ///< running, prompt not yet computed, in order of admission
  std::deque<SeqIndex> received_;    ///< their KV has come; in that order
  std::int64_t in_transfer_ = 0;
  std::int64_t swap_used_ = 0;    ///< of SchedulerConfig::swap_blocks
  std::vector<SeqIndex> loaded_;  ///< what they waited for has come; in that order
  SeqIndex first_ = kNoSeq, last_ = kNoSeq;
  std::vector<SeqIndex> overrun_;  ///< have written what they were allotted, still in a decode set
  std::int64_t running_ = 0;       ///< the finishing included until they are completed
  std::int64_t committed_blocks_ = 0;
  std::int64_t enough_blocks_ = kPlenty;  ///< with fewer free than that, who was not admitted for want of
                                          ///< blocks cannot be either; kPlenty = blocks were not the reason
  Tokens committed_tokens_ = 0;           ///< prompt and output of the admitted, summed
  Tokens parked_tokens_ = 0;  ///< stored by those that hold blocks and are neither prefilling nor decoding
};

struct Schedulers {
  static constexpr const char* kind = "scheduler";
  using Factory = std::unique_ptr<Scheduler> (*)(SchedulerConfig, const KvConfig&, std::vector<KeyCap> caps);
};

/// Errors: ConfigError for settings the scheduler cannot honour.
std::unique_ptr<Scheduler> make_scheduler(const SchedulerConfig& config, const KvConfig& kv,
                                          std::vector<KeyCap> caps);

}  // namespace orrery
