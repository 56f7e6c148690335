#include "scenario/scenario.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <set>

#include <catch2/catch.hpp>

#include "base/error.hpp"
#include "scenario/paper.hpp"
#include "scenario/settings.hpp"

using namespace orrery;

namespace {

/// A scenario file that is removed at the end of the test.
struct TemporaryFile {
  std::string path;
  explicit TemporaryFile(const std::string& text) {
    path = (std::filesystem::temp_directory_path() /
            ("orrery-scenario-" + std::to_string(std::hash<std::string>{}(text)) + ".json"))
               .string();
    std::ofstream(path) << text;
  }
  ~TemporaryFile() { std::filesystem::remove(path); }
};

std::string refusal(const std::string& text) {
  const TemporaryFile file(text);
  try {
    resolve(read_scenario_file(file.path));
  } catch (const ConfigError& e) {
    return "line " + std::to_string(e.line()) + ": " + e.what() + " | " + e.hint();
  }
  return "accepted";
}

Assignments layers(std::initializer_list<Assignments> all) {
  Assignments out;
  for (const auto& layer : all) out.insert(out.end(), layer.begin(), layer.end());
  return out;
}

}  // namespace

TEST_CASE("does a scenario file say what its sections say?") {
  const TemporaryFile file(R"({
    "model": "meta-llama/Llama-3.1-8B-Instruct",
    "hardware": {"gpu": "h200-sxm"},
    "engine": "vllm@0.15.1",
    "engine_args": {"tensor_parallel_size": 2, "max_num_seqs": "1K", "enable_prefix_caching": false,
                    "cudagraph_capture_sizes": [8, 1, 4]},
    "replicas": 2,
    "router": {"policy": "prefix_aware"},
    "workload": {"trace": "t.csv", "target_rps": 12, "duration": "20m", "request_rate": "inf",
                 "input": {"distribution": "lognormal", "median": 800, "sigma": 1.5},
                 "stages": ["10m@5", "300s@10"], "prefix": {"groups": 9, "users": 5, "system": 100}},
    "slo": ["ttft<=500ms@p99", "tpot<=30ms@p99"],
    "cost": {"gpu_hour_usd": 3.5}
  })");
  const Scenario s = resolve(read_scenario_file(file.path));
  CHECK(s.gpu == "h200-sxm");
  CHECK(s.tensor_parallel_size == 2);
  CHECK(s.max_num_seqs == 1024);
  CHECK(s.enable_prefix_caching == false);
  CHECK(s.cudagraph_capture_sizes == std::vector<std::int64_t>{1, 4, 8});
  CHECK(s.router == "prefix_aware");
  CHECK(s.workload.duration_s == 1200);
  CHECK(s.workload.input.distribution == "lognormal");
  CHECK(s.workload.input.median == 800);
  REQUIRE(s.workload.arrivals.stages.size() == 2);
  CHECK(s.workload.arrivals.stages[0].duration_s == 600);
  CHECK(s.workload.arrivals.stages[1].rate == 10);
  CHECK(s.workload.prefix.groups == 9);
  CHECK(s.slo == "ttft<=500ms@p99,tpot<=30ms@p99");
  CHECK(s.gpu_hour_usd == 3.5);
  CHECK(s.origin.at("max_num_seqs") == file.path + ":5");
}

TEST_CASE("which mistakes in a scenario file are named, with their line?") {
  CHECK_THAT(refusal("{\n\"modle\": \"x\"}"),
             Catch::Contains("line 2") && Catch::Contains("unknown key 'modle'") && Catch::Contains("model"));
  CHECK_THAT(refusal("{\"engine_args\": {\n\"max_num_sequences\": 3}}"),
             Catch::Contains("line 2") && Catch::Contains("max_num_seqs"));
  CHECK_THAT(refusal(R"({"gpu": "h100"})"), Catch::Contains("it belongs under \"hardware\""));
  CHECK_THAT(refusal("{\n\n\"engine_args\": {\"max_num_seqs\": -3}}"),
             Catch::Contains("line 3") && Catch::Contains("at least 1") && Catch::Contains("-3"));
  CHECK_THAT(refusal(R"({"workload": {"request_rate": "nan"}})"), Catch::Contains("request_rate"));
  CHECK_THAT(refusal(R"({"workload": {"rate_scale": 0}})"), Catch::Contains("rate_scale"));
  CHECK_THAT(refusal(R"({"workload": 3})"), Catch::Contains("expected an object"));
  CHECK_THAT(refusal("[]"), Catch::Contains("expected an object"));
  CHECK_THAT(refusal(R"({"workload": {"arrivals": {"process": "gamma", "cvv": 2}}})"),
             Catch::Contains("'cvv'"));
}

TEST_CASE("does a later layer win, and is the origin of each value kept?") {
  const Assignments file{{"max_num_seqs", "64", "s.json:3", "s.json", 3},
                         {"engine", "vllm@0.14.0", "s.json:1", "", 0},
                         {"slo", "ttft<=1s", "s.json:4", "s.json", 4}};
  const auto pasted = parse_engine_command("vllm serve M --max-num-seqs 128 --block-size 32").assignments;
  const Assignments flags{{"max_num_seqs", "256", "flag", "", 0},
                          {"slo", "ttft<=2s", "flag", "", 0},
                          {"slo", "tpot<=9ms", "flag", "", 0}};
  const Scenario s = resolve(layers({file, pasted, flags}));
  CHECK(s.max_num_seqs == 256);
  CHECK(s.origin.at("max_num_seqs") == "flag");
  CHECK(s.block_size == 32);
  CHECK(s.origin.at("block_size") == "--engine-args");
  CHECK(s.engine == "vllm@0.14.0");  // the pasted command names no version
  CHECK(s.slo == "ttft<=2s,tpot<=9ms");
  CHECK(s.origin.count("replicas") == 0);
}

TEST_CASE("does what a setting shows set the same value again?") {
  const Assignments given{{"input", "lognormal:median=800,sigma=1.5,max=4000", "flag", "", 0},
                          {"output", "quantiles:p0=1,p50=129,p99=601", "flag", "", 0},
                          {"arrivals", "on_off:on=5s,off=20s", "flag", "", 0},
                          {"stages", "10m@5,300s@10.5", "flag", "", 0},
                          {"prefix", "groups=9,users=5,system=100,question=50", "flag", "", 0},
                          {"spread_ties", "poisson", "flag", "", 0},
                          {"random_range_meaning", "around", "flag", "", 0},
                          {"cudagraph_capture_sizes", "1,2,4", "flag", "", 0}};
  const Scenario first = resolve(given);
  Scenario second;
  for (const auto& s : settings()) {
    const Json value = s.get(first);
    if (value.is_null()) continue;
    s.set(second, value.is_string() ? value.get<std::string>() : value.dump());
  }
  for (const auto& s : settings()) {
    INFO(s.name);
    CHECK(s.get(first) == s.get(second));
  }
}

TEST_CASE("is every setting known under one name and described?") {
  std::set<std::string> names;
  for (const auto& s : settings()) {
    INFO(s.name);
    CHECK(names.insert(s.name).second);
    CHECK_FALSE(s.help.empty());
    CHECK(std::any_of(setting_groups().begin(), setting_groups().end(),
                      [&](const auto& g) { return g.first == s.group; }));
  }
}

TEST_CASE("do the scenario files that are shipped say something that can be run?") {
  std::size_t files = 0;
  const std::string folder = ORRERY_SOURCE_DIR "/traces/scenarios";
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (!entry.is_regular_file()) continue;
    INFO(entry.path().string());
    std::vector<Scenario> scenarios;
    if (entry.path().parent_path().filename() == "papers") {
      const PaperClaim claim = read_paper(entry.path().string());
      scenarios = {claim.baseline, claim.system};
    } else {
      scenarios = {resolve(read_scenario_file(entry.path().string()))};
    }
    for (const Scenario& s : scenarios) {
      CHECK_FALSE(s.model.empty());
      CHECK_FALSE(s.gpu.empty());
    }
    ++files;
  }
  CHECK(files > 0);
}
