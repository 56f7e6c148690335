// The price of a step that data-parallel ranks make together.
#include <vector>

#include <catch2/catch.hpp>

#include "support/fake_engine.hpp"

using namespace orrery;

namespace {

constexpr int kRanks = 4;

StepPricer pricer_of(bool graphs) {
  KernelPlan plan;
  if (graphs) plan.graph_sizes = vllm_graph_sizes(256);
  plan.async_scheduling = false;
  Shard shard;
  shard.dp = shard.ep = kRanks;
  return std::move(*test::pricer(load_model("qwen3-30b-a3b"), plan, shard));
}

DecodeSet decode_set(std::int64_t seqs, Tokens context) {
  DecodeSet set;
  set.seqs = seqs, set.context = seqs * context;
  return set;
}

StepPeers decoding(const StepPricer& pricer, const std::vector<std::int64_t>& seqs) {
  std::vector<RankStep> ranks;
  for (const std::int64_t n : seqs) ranks.push_back({n, 0, 0});
  return pricer.gather(ranks);
}

}  // namespace

TEST_CASE("does a graph's step cost every rank what the fullest rank's batch does, but for attention?") {
  StepPricer pricer = pricer_of(true);
  const DecodeSet few = decode_set(1, 500), many = decode_set(64, 500);
  const StepPeers peers = decoding(pricer, {1, 64, 20, 0});
  const Ps slow = pricer.decode(many, peers).first, quick = pricer.decode(few, peers).first;
  CHECK(slow == pricer.decode(many).first);  // its own batch is the largest
  CHECK(quick > pricer.decode(few).first);   // padded to 64 tokens
  CHECK(quick < slow);                       // but reads one sequence's keys
  // Four ranks of 64 sequences leave 64 where it was: the price without peers has every rank as full.
  CHECK(pricer.decode(many, decoding(pricer, {64, 64, 64, 64})).first == slow);
}

TEST_CASE(
    "do experts of steps without a graph see the tokens there are, not the fullest rank's times ranks?") {
  StepPricer pricer = pricer_of(false);
  const std::vector<PrefillChunk> chunk{{4096, 0}};
  const auto price = [&](std::vector<RankStep> ranks) {
    return pricer.mixed({}, chunk, pricer.gather(ranks));
  };
  const RankStep prompt{0, 4096, 1}, token{1, 0, 0};
  const Ps one = price({prompt, token, token, token}), two = price({prompt, prompt, token, token});
  const Ps all = price({prompt, prompt, prompt, prompt});
  CHECK(all == pricer.mixed({}, chunk));
  CHECK(one < two);
  CHECK(two < all);
  // PlainCost is linear in tokens beyond the weights read, so that each further prompt adds the same.
  const double first = static_cast<double>((two - one).value),
               second = static_cast<double>((all - two).value);
  CHECK(second == Approx(2 * first).epsilon(0.05));
}

TEST_CASE("does the account of steps with peers add up to their price?") {
  StepPricer pricer = pricer_of(false);
  const std::vector<PrefillChunk> chunk{{1000, 0}};
  const StepPeers peers = pricer.gather(std::vector<RankStep>{{8, 1000, 1}, {8, 0, 0}, {}, {}});
  const DecodeSet set = decode_set(8, 300);
  const Ps total = pricer.mixed(set, chunk, peers);
  pricer.account_mixed(set, chunk, total, peers);
  double sum = 0;
  const TimeShares shares = pricer.shares();
  for (const auto& [cls, seconds] : shares.by_class) sum += seconds;
  CHECK(sum + shares.host == Approx(to_seconds(total).value).epsilon(1e-6));
}
