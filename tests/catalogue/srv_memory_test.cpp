// Rows SRV-01 to SRV-05 and SRV-09: what engines set aside for a request's KV cache.
#include "catalogue/srv_support.hpp"
#include "scenario/run_scenario.hpp"
#include "scenario/settings.hpp"
#include "serving/reservation.hpp"

using namespace orrery;

namespace {

struct Lengths {
  Tokens prompt, output;
};

std::vector<Lengths> random_lengths(int n, Tokens most_prompt, Tokens most_output) {
  Rng rng(7, "lengths");
  std::vector<Lengths> all;
  for (int i = 0; i < n; ++i)
    all.push_back({rng.uniform_int(1, most_prompt), rng.uniform_int(1, most_output)});
  return all;
}

/// Tokens that the cache of a scheduler has room for and those stored in it, step by step.
struct Use {
  double reserved = 0, allocated = 0, steps = 0, running = 0;
  std::vector<std::int64_t> by_step;  ///< allocated tokens
};

Use use_of(const SchedulerConfig& config, std::int64_t tokens, int block_size,
           const std::vector<Lengths>& all) {
  Backlog backlog(config, tokens / block_size, block_size);
  for (const Lengths& l : all) backlog.add(l.prompt, l.output);
  Use use;
  for (; backlog.step() > 0; backlog.complete()) {
    const Scheduler& s = backlog.scheduler();
    if (const auto* p = dynamic_cast<const Preallocating*>(&s)) {
      use.reserved += static_cast<double>(p->reserved_blocks() * block_size);
    }
    use.by_step.push_back(s.kv().used_blocks() * block_size);
    use.allocated += static_cast<double>(use.by_step.back());
    use.running += static_cast<double>(s.running());
    ++use.steps;
  }
  return use;
}

}  // namespace

// A request of p and o tokens stores p, p + 1, .. p + o - 1 of them in its o steps: the law needs no
// scheduler.
TEST_CASE("SRV-01 do stored tokens fill mean length over max_model_len of what is reserved?") {
  const auto all = random_lengths(400, 200, 300);
  double stored = 0, set_aside = 0;
  for (const Lengths& l : all) {
    const auto p = static_cast<double>(l.prompt), o = static_cast<double>(l.output);
    stored += o * p + o * (o - 1) / 2;
    set_aside += o * 2048;
  }
  SchedulerConfig config = scheduler_of("SRV-01");
  config.max_model_len = 2048;
  const Use use = use_of(config, 8 * 2048, 1, all);
  CHECK(use.allocated == stored);
  CHECK(use.reserved == set_aside);
  CHECK(use.running / use.steps <= 8);
  CHECK(use.running / use.steps > 7.5);  // others wait for room that nobody will fill
}

TEST_CASE("SRV-01 is nobody preempted, and do fewer run than where tokens take blocks as they come?") {
  const auto all = random_lengths(400, 200, 300);
  SchedulerConfig config = scheduler_of("SRV-01");
  config.max_model_len = 2048;
  const Use reserving = use_of(config, 8 * 2048, 16, all);
  config = scheduler_of("SRV-03");
  config.max_model_len = 2048;
  const Use paged = use_of(config, 8 * 2048, 16, all);
  CHECK(paged.running / paged.steps > 5 * reserving.running / reserving.steps);
  CHECK(paged.steps < reserving.steps / 5);
}

// Stored tokens are those of the same steps with blocks of one token: there is room for all in both.
TEST_CASE("SRV-03 are (b - 1) / 2 tokens of a request's last block unused?") {
  const auto all = random_lengths(2000, 160, 600);
  const SchedulerConfig config = scheduler_of("SRV-03");
  const Use tokens = use_of(config, 4'000'000, 1, all);
  for (const int b : {8, 16, 32}) {
    const Use blocks = use_of(config, 4'000'000, b, all);
    REQUIRE(blocks.steps == tokens.steps);
    const double unused = (blocks.allocated - tokens.allocated) / tokens.running;
    INFO("blocks of " << b);
    CHECK(unused == Approx((b - 1) / 2.0).epsilon(0.02));
    if (b == 16) CHECK(unused < 0.04 * tokens.allocated / tokens.running);
  }
}

// Kwon et al., SOSP 2023, section 6.2: OPT-13B on one A100 of 40 GB with ShareGPT's lengths (means given
// there) keeps up with 2.7 to 8 times the requests of Orca that reserves the longest sequence.
TEST_CASE(
    "SRV-03 does paging serve at least twice the requests of reserving the longest, and at most 8 times?") {
  const auto throughput = [](const std::string& engine) {
    const Assignments values{{"model", "opt-13b", "", "", 0},         {"gpu", "a100-sxm-40g", "", "", 0},
                             {"engine", engine, "", "", 0},           {"random_input_len", "161", "", "", 0},
                             {"random_output_len", "338", "", "", 0}, {"num_prompts", "500", "", "", 0},
                             {"request_rate", "inf", "", "", 0}};
    return run_scenario(resolve(values)).summary.request_throughput;
  };
  const double ratio = throughput("vllm@0.6.6") / throughput("orca");
  CHECK(ratio > 2);
  CHECK(ratio < 8);
}

// The pool holds exactly what tokens are stored, whatever the lengths: p + k tokens after the k-th decode.
TEST_CASE("SRV-04 does a block of one token leave nothing unused?") {
  SchedulerConfig config = scheduler_of("SRV-04");
  const Use use = use_of(config, 40, 1, {{5, 3}, {11, 2}, {7, 1}});
  CHECK(use.by_step == std::vector<std::int64_t>{5 + 11 + 7, 6 + 12, 7});
}

// Jin et al., section 5, give 6.49 as the largest ratio of their models, in an upper band then; lengths here
// are Alpaca's means (Kwon et al., SOSP 2023, figure 11) on a model that leaves a reservation of 2048 tokens
// some tens of places.
TEST_CASE("SRV-02 is the throughput over twice that of reserving the longest, and at most 6.49 times?") {
  const auto throughput = [](const std::string& engine) {
    const Assignments values{{"model", "llama-2-13b", "", "", 0},    {"gpu", "a100-sxm-80g", "", "", 0},
                             {"engine", engine, "", "", 0},          {"max_model_len", "2048", "", "", 0},
                             {"max_num_seqs", "1024", "", "", 0},    {"random_input_len", "19", "", "", 0},
                             {"random_output_len", "58", "", "", 0}, {"num_prompts", "5000", "", "", 0},
                             {"request_rate", "inf", "", "", 0}};
    return run_scenario(resolve(values)).summary.request_throughput;
  };
  const double ratio = throughput(scheduler_of("SRV-02").scheduler) / throughput("orca");
  CHECK(ratio > 2);
  CHECK(ratio <= 6.49);
}

TEST_CASE("SRV-05 do blocks of any length cost decode attention what was measured?") {
  SKIP_UNTIL_MEASURED("paged decode attention by block size on one device");
}

TEST_CASE("SRV-09 does a ragged batch take the time of equal lengths with the same sum?") {
  SKIP_UNTIL_MEASURED("decode attention of ragged and of equal batches on one device");
}
