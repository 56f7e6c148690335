// Memory set aside by prediction (S3) or admitted by the peak to come (LightLLM), and what of it is unused.
#include <algorithm>
#include <vector>

#include "catalogue/srv_support.hpp"

using namespace orrery;

namespace {

struct Lengths {
  Tokens prompt, output;
};

std::vector<Lengths> random_lengths(std::uint64_t seed, int n, Tokens most_prompt, Tokens most_output) {
  Rng rng(seed, "lengths");
  std::vector<Lengths> all;
  for (int i = 0; i < n; ++i)
    all.push_back({rng.uniform_int(1, most_prompt), rng.uniform_int(1, most_output)});
  return all;
}

SchedulerConfig config_of(const char* scheduler) {
  SchedulerConfig config;
  config.scheduler = scheduler;
  config.async_scheduling = false;
  config.max_model_len = 1000;
  return config;
}

struct Ran {
  std::int64_t steps = 0, preempted = 0;
};

Ran run(Backlog& backlog) {
  Ran out;
  for (std::int64_t n = backlog.step(true); n > 0; n = backlog.step(true)) {
    out.steps += n;
    out.preempted += std::ssize(backlog.plan().preempted);
    REQUIRE(backlog.scheduler().reserved_blocks() <= backlog.scheduler().kv().total_blocks());
    backlog.complete();
  }
  return out;
}

}  // namespace

// A class is 100 tokens: an answer of n tokens predicted as p comes back until 100 ceil(p / 100) 2^k >= n.
TEST_CASE("SRV-02 is a sequence preempted once for each doubling that its prediction falls short by?") {
  const auto all = random_lengths(3, 300, 100, 700);
  for (const double error : {0.0, 0.3, 1.0}) {
    SchedulerConfig config = config_of("s3");
    config.queue.length_prediction_error = error;
    std::int64_t doublings = 0;
    for (std::size_t i = 0; i < all.size(); ++i) {
      Request r;
      r.id = static_cast<RequestId>(i), r.output_tokens = static_cast<std::int32_t>(all[i].output);
      const auto classes = static_cast<Tokens>(predicted_output(r, config.queue)) / 100.0;
      for (auto room = 100 * std::max<Tokens>(1, static_cast<Tokens>(std::ceil(classes)));
           room < all[i].output; room *= 2)
        ++doublings;
    }
    for (const std::int64_t blocks : {200, 100'000}) {  // whether memory is scarce or not
      Backlog backlog(config, blocks, 16);
      for (const Lengths& l : all) backlog.add(l.prompt, l.output);
      INFO("error " << error << ", blocks " << blocks);
      CHECK(run(backlog).preempted == doublings);
    }
    CHECK((doublings == 0) == (error == 0.0));
  }
}

// TensorRT-LLM's guarantee sets aside exactly what a request will take: the most that knowing lengths can
// win.
TEST_CASE("SRV-02 is an oracle with narrow classes as good as reserving what each request will take?") {
  const auto all = random_lengths(5, 400, 60, 400);
  const auto steps = [&](SchedulerConfig config) {
    Backlog backlog(config, 4000, 1);
    for (const Lengths& l : all) backlog.add(l.prompt, l.output);
    return static_cast<double>(run(backlog).steps);
  };
  SchedulerConfig narrow = config_of("s3"), coarse = narrow, wrong = narrow;
  narrow.length_buckets = 1000;
  wrong.queue.length_prediction_error = 0.5;
  const double bound = steps(config_of("trtllm"));
  CHECK(steps(narrow) == Approx(bound).epsilon(0.01));
  CHECK(steps(coarse) > bound);
  CHECK(steps(wrong) > steps(coarse));
  CHECK(steps(wrong) < steps(config_of("orca")));
}

// The tokens that those running hold if nobody joins, step by step, in a loop of its own.
TEST_CASE(
    "SRV-04 is the first in the queue admitted exactly when all running would end without a shortage?") {
  constexpr Tokens kCapacity = 3000;
  struct Running {
    Tokens stored, to_come;
  };
  const auto peak_of = [](std::vector<Running> set) {
    Tokens peak = 0;
    while (!set.empty()) {
      Tokens sum = 0;
      for (const Running& r : set) sum += r.stored;
      peak = std::max(peak, sum);
      std::erase_if(set, [](const Running& r) { return r.to_come == 0; });
      for (Running& r : set) ++r.stored, --r.to_come;
    }
    return peak;
  };
  const auto all = random_lengths(11, 300, 200, 500);
  Backlog backlog(config_of("lightllm"), kCapacity, 1);
  for (const Lengths& l : all) backlog.add(l.prompt, l.output);
  std::vector<Running> set;
  std::size_t next = 0;
  std::int64_t blocked = 0;
  for (; backlog.step() > 0; backlog.complete()) {
    const BatchPlan& plan = backlog.plan();
    REQUIRE(plan.preempted.empty());
    if (plan.chunks.empty()) {
      if (next < all.size()) {
        auto with = set;
        with.push_back({all[next].prompt, all[next].output - 1});
        REQUIRE(peak_of(with) > kCapacity);
        ++blocked;
      }
      for (Running& r : set) ++r.stored, --r.to_come;
    }
    for (std::size_t i = 0; i < plan.admitted.size(); ++i, ++next) {
      set.push_back({all[next].prompt, all[next].output - 1});
      REQUIRE(peak_of(set) <= kCapacity);
    }
    std::erase_if(set, [](const Running& r) { return r.to_come == 0; });
  }
  CHECK(next == all.size());
  CHECK(blocked > 1000);
}

// Counted for each sequence by its length alone: the blocks that hold it less its tokens.
TEST_CASE("SRV-03 are unfilled slots those between each sequence's tokens and the end of its last block?") {
  constexpr int kBlock = 16;
  const auto all = random_lengths(17, 200, 300, 300);
  for (const char* scheduler : {"vllm-v1", "orca", "s3", "sglang"}) {
    SchedulerConfig config = config_of(scheduler);
    config.max_num_batched_tokens = 400;
    config.enable_mixed_chunk = false;
    Backlog backlog(config, 500, kBlock);
    for (const Lengths& l : all) backlog.add(l.prompt, l.output);
    INFO(scheduler);
    std::int64_t seen = 0;
    for (; backlog.step() > 0; backlog.complete()) {
      const Scheduler& s = backlog.scheduler();
      std::vector<DecodeMember> members;
      s.expand(backlog.plan(), members);
      Tokens unfilled = 0;
      const auto room = [](Tokens stored) { return (kBlock - stored % kBlock) % kBlock; };
      for (const DecodeMember& m : members) unfilled += room(m.context + 1);
      for (const ScheduledChunk& c : backlog.plan().chunks)
        unfilled += room(c.tokens.past + c.tokens.new_tokens);
      // Who is not in this step holds blocks too: looked at where all are.
      const auto in_step = std::ssize(members) + std::ssize(backlog.plan().chunks);
      if (in_step != s.running()) continue;
      REQUIRE(s.unfilled_tokens() == unfilled);
      ++seen;
    }
    CHECK(seen > 100);
  }
}
