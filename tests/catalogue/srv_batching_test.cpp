// Rows SRV-07, SRV-08 and SRV-10: who computes together.
#include "catalogue/srv_support.hpp"
#include "scenario/run_scenario.hpp"
#include "scenario/settings.hpp"

using namespace orrery;

namespace {

/// The share of a batch's slots that compute, with answers of exponential length.
double efficiency(SchedulerConfig config, int batch, int batches) {
  config.max_num_seqs = batch;
  config.max_model_len = 65536;
  Backlog backlog(config, 8'000'000, 1);
  Rng rng(11, "lengths");
  double work = 0, steps = 0;
  for (int i = 0; i < batch * batches; ++i) {
    const auto tokens = static_cast<Tokens>(std::ceil(rng.exponential(400)));
    backlog.add(1, tokens);
    work += static_cast<double>(tokens);
  }
  for (std::int64_t n = backlog.step(true); n > 0; n = backlog.step(true)) {
    steps += static_cast<double>(n);
    backlog.complete();
  }
  return work / (steps * batch);
}

/// Past tokens whose keys and values the chunks of one prompt of n tokens read again.
double read_again(SchedulerConfig config, Tokens n, Tokens chunk) {
  config.max_num_seqs = 1;
  config.max_num_batched_tokens = chunk;
  Backlog backlog(config, 1'000'000, 16);
  backlog.add(n, 1);
  double past = 0;
  for (; backlog.step() > 0; backlog.complete()) {
    for (const auto& c : backlog.plan().chunks) past += static_cast<double>(c.tokens.past);
  }
  return past;
}

}  // namespace

// The longest of B exponential lengths is H_B times their mean.
TEST_CASE("SRV-07 does a batch of B answers of exponential length work at 1 / H_B?") {
  const SchedulerConfig config = scheduler_of("SRV-07");
  CHECK(efficiency(config, 8, 8000) == Approx(0.368).epsilon(0.02));
  CHECK(efficiency(config, 32, 2000) == Approx(0.246).epsilon(0.02));
}

TEST_CASE("SRV-08 do slots not wait for the longest answer where requests join between iterations?") {
  CHECK(efficiency(scheduler_of("SRV-08"), 8, 2000) > 0.99);
  CHECK(efficiency(scheduler_of("SRV-08"), 32, 500) > 0.95);
}

TEST_CASE("SRV-10 does a prompt in chunks of c read n (n - c) / (2 c) tokens again, and none whole?") {
  const SchedulerConfig config = scheduler_of("SRV-10");
  for (const Tokens c : {128, 512, 1024, 4096}) {
    CHECK(read_again(config, 4096, c) ==
          Approx(4096.0 * static_cast<double>(4096 - c) / (2.0 * static_cast<double>(c))));
  }
}
