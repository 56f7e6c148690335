// Plans written out member by member, and block tables behind them, as an engine on a GPU uses both: random
// scenarios against a model of the KV memory.
#include <algorithm>
#include <array>
#include <map>

#include <catch2/catch.hpp>

#include "base/error.hpp"
#include "serving/scheduler.hpp"
#include "support/token_content.hpp"

using namespace orrery;

namespace {

struct Scenario {
  SchedulerConfig config;
  KvConfig kv;
  int requests = 0;
  double arrivals_per_step = 0;
  std::int32_t key_tokens = 0;
  bool prefixes = false;
};

Scenario random_scenario(std::uint64_t seed) {
  Rng rng(seed, "scenario");
  Scenario s;
  s.config.scheduler = std::array{"vllm-v1", "sglang", "trtllm"}[seed % 3];
  s.config.async_scheduling = rng.uniform() < 0.5;
  s.config.enable_mixed_chunk = rng.uniform() < 0.5;
  s.config.new_token_ratio = rng.uniform() < 0.5 ? 0.0 : 0.4;
  s.config.max_num_seqs = rng.uniform_int(1, 16);
  s.config.max_num_batched_tokens = rng.uniform_int(16, 256);
  s.config.max_model_len = 400;
  s.config.reserve_full_isl = rng.uniform() < 0.5;
  s.config.queue.policy = rng.uniform() < 0.3 ? "priority" : "fcfs";
  if (rng.uniform() < 0.2) s.config.long_prefill_token_threshold = 20;
  const int size = std::array{1, 4, 16}[static_cast<std::size_t>(rng.uniform_int(0, 2))];
  s.kv = {rng.uniform_int(300, 900) / size + 2, size, rng.uniform() < 0.8};
  s.requests = 40;
  s.arrivals_per_step = rng.uniform(0.05, 1.0);
  s.key_tokens = std::array{4, 24, 32}[static_cast<std::size_t>(rng.uniform_int(0, 2))];
  s.prefixes = rng.uniform() < 0.7;
  return s;
}

/// What an engine takes along of a plan when it is made.
struct Work {
  struct Part {
    RequestId request;
    std::vector<std::int32_t> table;
    Tokens past, new_tokens;
  };
  BatchPlan plan;
  std::vector<Part> parts;
};

bool same(const BatchPlan& a, const BatchPlan& b) {
  const auto same_chunk = [](const ScheduledChunk& x, const ScheduledChunk& y) {
    return x.seq == y.seq && x.tokens.new_tokens == y.tokens.new_tokens && x.tokens.past == y.tokens.past &&
           x.last == y.last;
  };
  return a.decode == b.decode && a.admitted == b.admitted && a.preempted == b.preempted &&
         a.finishing == b.finishing && a.prefill_tokens == b.prefill_tokens &&
         std::equal(a.chunks.begin(), a.chunks.end(), b.chunks.begin(), b.chunks.end(), same_chunk);
}

/// Two schedulers given the same requests, one with block ids, and the memory that its plans would fill.
class Engine {
 public:
  Engine(const Scenario& scenario, std::uint64_t seed)
      : scenario_(scenario),
        rng_(seed, "requests"),
        counted_(make_scheduler(scenario.config, scenario.kv, {})) {
    KvConfig kv = scenario.kv;
    kv.block_ids = true;
    named_ = make_scheduler(scenario.config, kv, {});
    memory_.resize(static_cast<std::size_t>(kv.blocks * kv.block_size));
  }

  /// Plans and runs steps until nothing is left. With async scheduling the next plan is made before the
  /// present one runs.
  void run() {
    Work current, next;
    for (int step = 0; step < 20000; ++step) {
      arrive();
      std::swap(current, next);
      if (current.plan.empty()) schedule(current);
      if (current.plan.empty() && std::ssize(requests_) == scenario_.requests) break;
      next.plan.clear();
      if (scenario_.config.async_scheduling && !current.plan.empty()) schedule(next);
      execute(current);
      complete(current.plan);
    }
    REQUIRE(std::ssize(requests_) == finished_ + refused_);
    REQUIRE(named_->kv().used_blocks() == 0);
  }
  std::int64_t preemptions = 0, hits = 0, finished_by_decode = 0;

 private:
  void arrive() {
    while (std::ssize(requests_) < scenario_.requests && rng_.uniform() < scenario_.arrivals_per_step) {
      Request r;
      r.id = std::ssize(requests_);
      r.arrival = Ps(r.id);
      r.prompt_tokens = static_cast<std::int32_t>(rng_.uniform_int(1, rng_.uniform() < 0.3 ? 250 : 60));
      r.output_tokens = static_cast<std::int32_t>(rng_.uniform_int(1, 80));
      r.priority = static_cast<std::int32_t>(rng_.uniform_int(0, 2));
      if (scenario_.prefixes)
        r.prefix = test::random_prefix(rng_, r.id, r.prompt_tokens, scenario_.key_tokens);
      requests_.push_back(r);
      const char *refusal = nullptr, *same_refusal = nullptr;
      const SeqIndex seq = named_->add(r, Ps(0), &refusal);
      REQUIRE(seq == counted_->add(r, Ps(0), &same_refusal));
      refused_ += seq == kNoSeq;
    }
  }

  void schedule(Work& work) {
    BatchPlan counted;
    counted_->schedule(counted);
    named_->schedule(work.plan);
    REQUIRE(same(counted, work.plan));
    REQUIRE(counted_->kv().free_blocks() == named_->kv().free_blocks());
    preemptions += std::ssize(work.plan.preempted);
    for (const SeqIndex i : work.plan.preempted) tables_.erase(request_of(i)), stored_.erase(request_of(i));

    std::vector<DecodeMember> members, counted_members;
    named_->expand(work.plan, members);
    counted_->expand(counted, counted_members);
    REQUIRE(members.size() == counted_members.size());
    work.parts.clear();
    for (const DecodeMember& m : members) {
      REQUIRE(stored_.at(request_of(m.seq)) == m.context);
      take_along(work, m.seq, m.context, 1);
      finished_by_decode += std::count(work.plan.finishing.begin(), work.plan.finishing.end(), m.seq);
    }
    for (const ScheduledChunk& c : work.plan.chunks) {
      const auto stored = stored_.find(request_of(c.seq));
      if (stored != stored_.end()) REQUIRE(stored->second == c.tokens.past);
      if (stored == stored_.end()) hits += c.tokens.past;
      take_along(work, c.seq, c.tokens.past, c.tokens.new_tokens);
    }
    check_private_blocks(work);
  }

  RequestId request_of(SeqIndex seq) const { return named_->sequence(seq).request.id; }

  void take_along(Work& work, SeqIndex seq, Tokens past, Tokens new_tokens) {
    const auto span = named_->block_table(seq);
    std::vector<std::int32_t> table(span.begin(), span.end());
    REQUIRE(std::ssize(table) == named_->kv().blocks_for(past + new_tokens));
    std::vector<std::int32_t>& before = tables_[request_of(seq)];
    REQUIRE(before.size() <= table.size());
    REQUIRE(std::equal(before.begin(), before.end(), table.begin()));  // a block stays while it is held
    before = table;
    REQUIRE(stored_[request_of(seq)] <= past);
    stored_[request_of(seq)] = past + new_tokens;
    work.parts.push_back({request_of(seq), std::move(table), past, new_tokens});
  }

  /// The block a step writes belongs to one sequence, and nobody else reads it unless it shares the prefix;
  /// whoever reads finds what it expects, which execute() checks. Here: no block is written twice in a step.
  void check_private_blocks(const Work& work) const {
    std::vector<std::int64_t> slots;
    for (const Work::Part& p : work.parts) {
      for (Tokens t = p.past; t < p.past + p.new_tokens; ++t) slots.push_back(slot(p, t));
    }
    std::sort(slots.begin(), slots.end());
    REQUIRE(std::adjacent_find(slots.begin(), slots.end()) == slots.end());
    REQUIRE((slots.empty() || slots.front() >= named_->kv().block_size()));  // block 0 is nobody's
  }

  std::int64_t slot(const Work::Part& p, Tokens t) const {
    const int size = named_->kv().block_size();
    return std::int64_t{p.table[static_cast<std::size_t>(t / size)]} * size + t % size;
  }

  /// Each layer writes the keys and values of all new tokens before anybody attends to them.
  void execute(const Work& work) {
    std::int64_t foreign = 0;
    for (const Work::Part& p : work.parts) {
      const Request& r = requests_[static_cast<std::size_t>(p.request)];
      for (Tokens t = p.past; t < p.past + p.new_tokens; ++t)
        memory_[static_cast<std::size_t>(slot(p, t))] = test::content(r, t);
    }
    for (const Work::Part& p : work.parts) {
      const Request& r = requests_[static_cast<std::size_t>(p.request)];
      for (Tokens t = 0; t < p.past + p.new_tokens; ++t)
        foreign += memory_[static_cast<std::size_t>(slot(p, t))] != test::content(r, t);
    }
    REQUIRE(foreign == 0);
  }

  void complete(const BatchPlan& plan) {
    counted_->complete(plan);
    named_->complete(plan);
    for (const SeqIndex i : plan.finishing) {
      const Request& r = named_->sequence(i).request;
      REQUIRE(stored_.at(r.id) == Tokens{r.prompt_tokens} + r.output_tokens - 1);
      tables_.erase(r.id), stored_.erase(r.id);
      ++finished_;
      counted_->release_slot(i);
      named_->release_slot(i);
    }
  }

  Scenario scenario_;
  Rng rng_;
  std::unique_ptr<Scheduler> counted_, named_;
  std::vector<Request> requests_;
  std::vector<std::uint64_t> memory_;
  std::map<RequestId, std::vector<std::int32_t>> tables_;
  std::map<RequestId, Tokens> stored_;  ///< of those running: tokens in the cache after the latest plan
  std::int64_t finished_ = 0, refused_ = 0;
};

void add(Scheduler& scheduler, RequestId id, std::int32_t prompt, std::int32_t output) {
  Request r;
  r.id = id, r.prompt_tokens = prompt, r.output_tokens = output;
  const char* refusal = nullptr;
  REQUIRE(scheduler.add(r, Ps(0), &refusal) != kNoSeq);
}

std::vector<std::pair<SeqIndex, Tokens>> members(const Scheduler& scheduler, const BatchPlan& plan) {
  std::vector<DecodeMember> found;
  scheduler.expand(plan, found);
  std::vector<std::pair<SeqIndex, Tokens>> out;
  for (const auto& m : found) out.emplace_back(m.seq, m.context);
  return out;
}

std::unique_ptr<Scheduler> scheduler_of(std::int64_t blocks, int block_size) {
  SchedulerConfig config;
  config.max_num_seqs = 8, config.max_num_batched_tokens = 256;
  return make_scheduler(config, {blocks, block_size, false, true}, {});
}

}  // namespace

TEST_CASE(
    "do plans with and without block ids agree, and does every token find its predecessors in its table?") {
  std::int64_t preemptions = 0, hits = 0, finished = 0;
  for (std::uint64_t seed = 0; seed < 150; ++seed) {
    INFO("seed " << seed);
    Engine engine(random_scenario(seed), seed);
    engine.run();
    preemptions += engine.preemptions, hits += engine.hits, finished += engine.finished_by_decode;
  }
  CHECK(preemptions > 500);
  CHECK(hits > 5000);
  CHECK(finished > 2000);
}

TEST_CASE("does a plan's expansion name who leaves with it, and not who joins after it?") {
  const auto scheduler = scheduler_of(100, 4);
  using Members = std::vector<std::pair<SeqIndex, Tokens>>;
  BatchPlan plan;
  add(*scheduler, 0, 10, 3);
  add(*scheduler, 1, 5, 2);
  scheduler->schedule(plan);  // both prompts
  CHECK(members(*scheduler, plan).empty());
  add(*scheduler, 2, 7, 9);
  BatchPlan next;
  scheduler->schedule(next);  // both decode, 1 for the last time, beside the prompt of 2
  CHECK(members(*scheduler, next) == Members{{0, 10}, {1, 5}});
  scheduler->complete(plan);
  scheduler->schedule(plan);
  CHECK(members(*scheduler, plan) == Members{{2, 7}, {0, 11}});  // 0 leaves: after those who stay
  CHECK_THROWS_AS(members(*scheduler, next), InternalError);     // too late
}

TEST_CASE("does a run of steps give the sequences the blocks that single steps would?") {
  const auto slow = scheduler_of(400, 4), fast = scheduler_of(400, 4);
  BatchPlan slow_plan, fast_plan;
  for (auto* s : {slow.get(), fast.get()}) {
    for (int i = 0; i < 6; ++i) add(*s, i, 10 + 7 * i, 50);
  }
  slow->schedule(slow_plan), fast->schedule(fast_plan);
  slow->schedule(slow_plan), fast->schedule(fast_plan);
  const std::int64_t more = fast->extendable(fast_plan);
  REQUIRE(more > 20);
  fast->extend(fast_plan, more);
  for (std::int64_t i = 0; i < more; ++i) slow->schedule(slow_plan);
  const auto expanded = members(*fast, fast_plan);
  CHECK(expanded.size() == 6);
  CHECK(expanded == members(*slow, slow_plan));
  for (const auto& [seq, context] : expanded) {
    const auto a = slow->block_table(seq), b = fast->block_table(seq);
    CHECK(std::ssize(b) == fast->kv().blocks_for(context + 1));
    CHECK(std::equal(a.begin(), a.end(), b.begin(), b.end()));
  }
}
