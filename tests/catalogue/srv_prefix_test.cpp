// Row SRV-06: prefixes shared in a tree, against a reference written here and against all orders.
#include <algorithm>
#include <list>
#include <map>
#include <numeric>
#include <set>

#include "catalogue/srv_support.hpp"

using namespace orrery;

namespace {

/// Serves requests one at a time through blocks of one token; what was computed of their prompts.
class OneByOne {
 public:
  OneByOne(std::int64_t tokens, const std::string& policy)
      : scheduler_(make_scheduler(config(policy), {tokens + 1, 1}, {})) {}

  void add(std::int64_t id, const std::vector<std::uint64_t>& tokens, std::int32_t output = 1) {
    auto keys = std::make_shared<PrefixKeys>();
    keys->block_tokens = 1, keys->ids = tokens;
    Request r;
    r.id = id, r.prompt_tokens = static_cast<std::int32_t>(tokens.size()), r.output_tokens = output;
    r.prefix = std::move(keys);
    const char* refusal = nullptr;
    scheduler_->add(r, Ps(0), &refusal);
    REQUIRE(refusal == nullptr);
  }
  /// Serves all who wait; returns the prompt tokens computed.
  Tokens serve() {
    Tokens computed = 0;
    BatchPlan plan;
    for (scheduler_->schedule(plan); !plan.empty(); scheduler_->schedule(plan)) {
      computed += plan.prefill_tokens;
      for (const SeqIndex i : plan.admitted) order.push_back(scheduler_->sequence(i).request.id);
      scheduler_->complete(plan);
      for (const SeqIndex i : plan.finishing) scheduler_->release_slot(i);
    }
    return computed;
  }
  std::int64_t evicted() const { return scheduler_->kv().evicted_blocks(); }
  std::vector<RequestId> order;

 private:
  static SchedulerConfig config(const std::string& policy) {
    SchedulerConfig c = scheduler_of("SRV-06");
    c.enable_mixed_chunk = false, c.max_num_seqs = 1, c.queue.policy = policy;
    return c;
  }
  std::unique_ptr<Scheduler> scheduler_;
};

/// Names every position of a prompt made of spans of tokens by all before it.
std::vector<std::uint64_t> prompt_of(const std::vector<std::pair<std::uint64_t, int>>& spans) {
  std::vector<std::uint64_t> ids;
  std::uint64_t path = 1;
  for (const auto& [span, tokens] : spans) {
    path = path * 1'000'003 + span;
    for (int i = 0; i < tokens; ++i) ids.push_back(path * 1000 + static_cast<std::uint64_t>(i));
  }
  return ids;
}

/// A tree of prompts: two systems of 40 and 30 tokens, under each two or three questions of 12 and two ends
/// of 5.
std::vector<std::vector<std::uint64_t>> tree_of_prompts() {
  std::vector<std::vector<std::uint64_t>> all;
  for (std::uint64_t system = 1; system <= 2; ++system) {
    for (std::uint64_t question = 1; question <= (system == 1 ? 2U : 1U); ++question) {
      for (std::uint64_t end = 1; end <= 2; ++end)
        all.push_back(prompt_of({{system, system == 1 ? 40 : 30}, {10 + question, 12}, {20 + end, 5}}));
    }
  }
  return all;
}

}  // namespace

// All but the last token of a prompt that is cached are hit: that one is computed for its logits.
TEST_CASE("SRV-06 are k equal prompts computed once?") {
  const auto prompt = prompt_of({{1, 500}});
  OneByOne engine(4000, "lpm");
  constexpr int k = 20;
  for (int i = 0; i < k; ++i) engine.add(i, prompt);
  CHECK(engine.serve() == 500 + (k - 1));
}

// The reference: free tokens in the order in which they were let go, a prompt's end before its beginning,
// those without a name (0) among them. The last token is computed even where it is cached: that copy has no
// name.
TEST_CASE("SRV-06 does a trace hit and evict what a list of least recently used tokens does?") {
  constexpr std::int64_t kTokens = 400;
  Rng rng(23, "prompts");
  OneByOne engine(kTokens, "fcfs");
  std::list<std::uint64_t> free(kTokens, 0);
  std::set<std::uint64_t> cached;
  std::int64_t evicted = 0, hits = 0;
  for (int i = 0; i < 2000; ++i) {
    std::vector<std::pair<std::uint64_t, int>> spans;
    for (int depth = 0; depth < 3; ++depth)
      spans.emplace_back(static_cast<std::uint64_t>(rng.uniform_int(1, 4)), 10 * (3 - depth) + 7);
    const auto prompt = prompt_of(spans);
    engine.add(i, prompt);
    const Tokens computed = engine.serve();

    std::size_t hit = 0;
    while (hit + 1 < prompt.size() && cached.count(prompt[hit]) > 0) ++hit;
    REQUIRE(computed == std::ssize(prompt) - static_cast<Tokens>(hit));
    hits += static_cast<std::int64_t>(hit);
    for (std::size_t t = 0; t < hit; ++t) free.remove(prompt[t]);
    for (std::size_t t = hit; t < prompt.size(); ++t) {
      if (free.front() != 0) ++evicted;
      cached.erase(free.front());
      free.pop_front();
    }
    std::size_t named = hit;
    while (named < prompt.size() && cached.insert(prompt[named]).second) ++named;
    for (std::size_t t = named; t < prompt.size(); ++t) free.push_back(0);
    for (std::size_t t = named; t-- > 0;) free.push_back(prompt[t]);
    REQUIRE(engine.evicted() == evicted);
  }
  CHECK(hits > 20'000);
  CHECK(evicted > 20'000);
}

// Zheng et al., theorem 3.1, for a cache that holds the longest prompt.
TEST_CASE("SRV-06 is depth first the best of all orders, and does the longest cached prefix first find it?") {
  const auto prompts = tree_of_prompts();
  constexpr std::int64_t kTokens = 60;  // the longest prompt has 57
  std::vector<std::size_t> order(prompts.size());
  std::iota(order.begin(), order.end(), 0U);
  Tokens best = 1 << 20, worst = 0;
  do {
    OneByOne engine(kTokens, "fcfs");
    Tokens computed = 0;
    for (const std::size_t i : order) {
      engine.add(static_cast<std::int64_t>(i), prompts[i]);
      computed += engine.serve();
    }
    best = std::min(best, computed), worst = std::max(worst, computed);
  } while (std::next_permutation(order.begin(), order.end()));
  CHECK(best == 40 + 2 * 12 + 4 * 5 + 30 + 12 + 2 * 5);  // each edge of the tree once

  for (const char* policy : {"dfs-weight", "lpm"}) {
    OneByOne engine(kTokens, policy);
    std::int64_t id = 0;
    for (const std::size_t i : {0U, 4U, 2U, 1U, 5U, 3U}) engine.add(id++, prompts[i]);
    INFO(policy);
    CHECK(engine.serve() == best);
  }
  CHECK(2 * worst > 3 * best);
}
