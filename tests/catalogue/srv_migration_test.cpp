// Row SRV-19: sequences that change replicas while they decode.
#include <algorithm>

#include "catalogue/method.hpp"
#include "report/invariants.hpp"
#include "scenario/run_scenario.hpp"

using namespace orrery;

namespace {

/// The row's settings on four H100s; transfers do not contend, so that the test needs no SimGrid.
Scenario scenario(const std::string& row, Assignments values) {
  values.insert(values.end(), {{"model", "llama-3.1-8b", "", "", 0},
                               {"gpu", "h100-sxm", "", "", 0},
                               {"fabric", "uncontended", "", "", 0},
                               {"replicas", "4", "", "", 0},
                               {"num_gpu_blocks_override", "900", "", "", 0},
                               {"max_model_len", "9000", "", "", 0}});
  const Json settings = find_method(row).blocks.at("migration");
  for (const auto& [key, value] : settings.items())
    values.push_back({key, value.get<std::string>(), "", "", 0});
  return resolve(values);
}

class Kept final : public Observer {
 public:
  std::vector<Migration> migrations;
  void on_migration(const Migration& m) override { migrations.push_back(m); }
};

}  // namespace

// Llama-3.1-8B keeps 32 layers x 8 heads x 128 x 2 in 16 bits: 131,072 bytes a token.
TEST_CASE("SRV-19 are the bytes of a migration its sequence's KV cache, and no token lost or made twice?") {
  const Scenario s = scenario("SRV-19", {{"input", "lognormal:median=200,sigma=1,max=4000", "", "", 0},
                                         {"output", "lognormal:median=200,sigma=0.8,max=2000", "", "", 0},
                                         {"num_prompts", "2000", "", "", 0},
                                         {"request_rate", "60", "", "", 0}});
  Invariants invariants;
  Kept kept;
  RunOptions options;
  options.observers = {&invariants, &kept};
  const RunResult r = run_scenario(s, options);
  REQUIRE(r.migrations->moved > 50);
  for (const Migration& m : kept.migrations) {
    if (m.moved) CHECK(m.bytes == Approx(131072.0 * static_cast<double>(m.tokens)));
  }
  CHECK(r.summary.failed == 0);
  CHECK(invariants.tokens_delivered() == r.summary.total_output_tokens);
}

// Figure 10 of the paper: 20 to 30 ms whatever the length, two steps of decoding or so: here what nobody
// computes and a step to go on with. A lone sequence moves on at each look, since an idle replica has more
// room.
TEST_CASE("SRV-19 is the downtime of a migration as long at 256 tokens as at 8k?") {
  std::vector<double> downtime;
  for (const char* prompt : {"256", "1024", "4096", "8000"}) {
    const Scenario s = scenario("SRV-19", {{"random_input_len", prompt, "", "", 0},
                                           {"random_output_len", "400", "", "", 0},
                                           {"num_prompts", "10", "", "", 0},
                                           {"request_rate", "0.1", "", "", 0},
                                           {"migration_interval", "1s", "", "", 0},
                                           {"migrate_out_threshold", "890", "", "", 0},
                                           {"migration_last_stage_max_blocks", "1", "", "", 0}});
    Kept kept;
    RunOptions options;
    options.observers = {&kept};
    const RunResult r = run_scenario(s, options);
    INFO(prompt << " tokens");
    REQUIRE(r.migrations->moved >= 10);
    CHECK(r.simulation.preemptions == 0);
    const auto longer = [](const Migration& a, const Migration& b) {
      return a.end - a.paused < b.end - b.paused;
    };
    const Migration& m = *std::max_element(kept.migrations.begin(), kept.migrations.end(), longer);
    downtime.push_back(to_ms(m.end - m.paused) + r.summary[Metric::tpot].median);
  }
  INFO(downtime.front() << " to " << downtime.back() << " ms");
  const auto [least, most] = std::minmax_element(downtime.begin(), downtime.end());
  CHECK(*most < 1.1 * *least);
}
