#include "scenario/validate_live.hpp"

#include <filesystem>
#include <fstream>

#include <catch2/catch.hpp>
#include <fmt/format.h>

#include "base/error.hpp"
#include "report/expand_steps.hpp"
#include "scenario/run_scenario.hpp"
#include "support/temporary_folder.hpp"

using namespace orrery;

namespace {

constexpr const char* kHeader =
    "start_s,duration_s,decode_seqs,context_tokens,prefill_tokens,chunks,padded,graph,device_s,gap_s,host_"
    "s\n";

/// Writes the steps it is told of as the live engine would, each `factor` times as long.
class StepsWriter final : public Observer {
 public:
  StepsWriter(const std::string& path, double factor) : file_(path), factor_(factor) { file_ << kHeader; }
  void on_decode_run(const DecodeRun& run) override {
    expand_steps(
        run, [&](const DecodeStep& s) { row(s.duration, run.seqs, run.context + s.index * run.seqs, ""); });
  }
  void on_mixed_step(const MixedStep& step) override {
    std::string chunks;
    for (const auto& c : step.chunks)
      chunks += fmt::format("{}{}@{}", chunks.empty() ? "" : ";", c.new_tokens, c.past);
    row(step.duration, step.decode_seqs, step.context, chunks);
  }

 private:
  void row(Ps duration, std::int64_t seqs, Tokens context, const std::string& chunks) {
    const double s = to_seconds(duration).value * factor_;
    file_ << fmt::format("0,{:.12f},{},{},0,{},{},1,{:.12f},0.00001,0.0005\n", s, seqs, context, chunks, seqs,
                         s - 1e-5);
  }
  std::ofstream file_;
  double factor_;
};

/// Run directories as the live engine leaves them, their steps made by the simulator.
struct LiveRuns {
  TemporaryFolder root{"live"};

  std::string add(const std::string& name, double factor, const std::string& rate = "6",
                  bool live = true) const {
    const std::string folder = (root.path / name).string();
    Assignments scenario;
    for (const auto& [key, value] : {std::pair<const char*, std::string>{"model", "llama-3.1-8b"},
                                     {"gpu", "h200-sxm"},
                                     {"engine", "live"},
                                     {"random_input_len", "300"},
                                     {"random_output_len", "40"},
                                     {"num_prompts", "50"},
                                     {"request_rate", rate}}) {
      scenario.push_back({key, value, "flag", "", 0});
    }
    RunOptions options;
    options.out = folder;
    options.timeline = TimelineDetail::off;
    if (live) options.platform = {{"device", "a GPU"}};
    std::filesystem::create_directories(folder);
    StepsWriter steps(folder + "/steps.csv", factor);
    options.observers = {&steps};
    run_scenario(resolve(scenario), options);
    return folder;
  }
};

}  // namespace

TEST_CASE("is a live run that went as predicted found without error?") {
  const LiveRuns runs;
  const auto reports = validate_live({runs.add("a", 1), runs.add("b", 1)});
  REQUIRE(reports.size() == 1);
  const LiveReport& report = reports.front();
  CHECK(report.device == "a GPU");
  CHECK(report.met());
  REQUIRE(report.rows.size() > 4);
  for (const auto& row : report.rows) {
    CHECK(std::abs(row.row.error()) < 1e-3);
    CHECK(row.spread == Approx(0).margin(1e-12));
  }
  REQUIRE(report.steps.size() > 2);
  CHECK(report.steps.front().name == "all steps");
  CHECK(report.steps.front().share == Approx(1));
  for (const auto& group : report.steps) CHECK(std::abs(group.error_of_mean()) < 1e-6);
  REQUIRE_FALSE(report.slices.empty());
  CHECK(report.slices.front().requests == 100);
  CHECK(report.overheads.host_ms == Approx(0.5));
  CHECK(report.overheads.gap_ms == Approx(0.01));
  CHECK(report.overheads.outside_device_ms == Approx(0.01));
}

TEST_CASE("are the error of steps and the spread of runs told apart?") {
  const LiveRuns runs;
  const LiveReport report = validate_live({runs.add("a", 1.0), runs.add("b", 1.2)}).front();
  const StepGroup& all = report.steps.front();
  CHECK(all.error_of_mean() == Approx(1 / 1.1 - 1).margin(1e-6));
  CHECK(all.spread == Approx(0.1 / 1.1).margin(1e-6));
  double share = 0;
  std::int64_t steps = 0;
  for (std::size_t i = 1; i < report.steps.size(); ++i)
    share += report.steps[i].share, steps += report.steps[i].steps;
  CHECK(share == Approx(1));
  CHECK(steps == all.steps);
}

TEST_CASE("are runs of different scenarios reported apart?") {
  const LiveRuns runs;
  const auto reports = validate_live({runs.add("a", 1), runs.add("b", 1, "7"), runs.add("c", 1)});
  REQUIRE(reports.size() == 2);
  CHECK(reports[0].runs.size() == 2);
  CHECK(reports[1].runs.size() == 1);
}

TEST_CASE("is what is no live run one clear error?") {
  const LiveRuns runs;
  const std::string live = runs.add("a", 1), simulated = runs.add("b", 1, "6", false);
  CHECK_THROWS_WITH(validate_live({simulated}), Catch::Contains("not served by orrery-live"));
  std::ofstream(live + "/steps.csv") << kHeader << "0,0.01,1,5,3,3@x,1,1,0,0,0\n";
  CHECK_THROWS_WITH(validate_live({live}), Catch::Contains("new@past"));
}
