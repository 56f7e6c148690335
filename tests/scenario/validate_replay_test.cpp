#include "scenario/validate_replay.hpp"

#include <cmath>
#include <filesystem>
#include <fstream>

#include <catch2/catch.hpp>
#include <fmt/format.h>

#include "base/error.hpp"
#include "scenario/replay_slices.hpp"
#include "scenario/run_scenario.hpp"
#include "support/reference_data.hpp"
#include "support/temporary_folder.hpp"

using namespace orrery;

namespace {

Assignments assigned(std::initializer_list<std::pair<const char*, const char*>> values) {
  Assignments out;
  for (const auto& [name, value] : values) out.push_back({name, value, "flag", "", 0});
  return out;
}

Assignments server() {
  return assigned({{"model", "llama-3.1-8b"}, {"gpu", "h100-sxm"}, {"max_num_seqs", "32"}});
}

Assignments with_load(std::initializer_list<std::pair<const char*, const char*>> load) {
  Assignments out = server();
  for (const auto& a : assigned(load)) out.push_back(a);
  return out;
}

/// Runs a scenario and keeps what happened to each request, by id.
struct Recorded {
  RunResult result;
  ReplayRecorder recorder;
  Recorded(const Assignments& scenario, std::size_t n, const std::string& out = "") : recorder(n) {
    RunOptions options;
    options.out = out;
    options.timeline = TimelineDetail::off;
    options.percentiles = {99};
    options.observers = {&recorder};
    result = run_scenario(resolve(scenario), options);
  }
};

/// What `vllm bench serve --save-detailed` would have written had it measured this run. The gaps of a request
/// are equal: their sum is what TPOT and E2E come from.
OrderedJson bench_result(const Recorded& run) {
  OrderedJson json = to_json(run.result.summary);
  json.erase("orrery");
  for (const auto& record : run.recorder.records()) {
    const auto& r = record.value();
    json["input_lens"].push_back(r.prompt_tokens);
    json["output_lens"].push_back(r.output_tokens);
    json["ttfts"].push_back(to_seconds(r.first_token - r.arrival).value);
    json["start_times"].push_back(1.7e9 + to_seconds(r.arrival).value);
    json["errors"].push_back("");
    const auto gaps = static_cast<std::size_t>(r.output_tokens - 1);
    const double gap =
        to_seconds(r.done - r.first_token).value / std::max<double>(1, static_cast<double>(gaps));
    json["itls"].push_back(std::vector<double>(gaps, gap));
  }
  return json;
}

ReplayReport replay(const std::string& path, const Assignments& scenario, const std::string& limits = "") {
  ReplayOptions options;
  options.scenario = scenario;
  if (!limits.empty()) options.limits = parse_error_limits(limits);
  return validate_replay(path, options);
}

const ReplayRow& row(const ReplayReport& report, const std::string& key) {
  for (const auto& r : report.rows) {
    if (r.key == key) return r;
  }
  FAIL("no row " << key);
  throw std::logic_error("unreachable");
}

std::string refusal(const std::string& path) {
  try {
    read_measured_run(path);
  } catch (const ConfigError& e) {
    return fmt::format("{}: {}", e.line(), e.what());
  }
  return "accepted";
}

}  // namespace

TEST_CASE("is a replay of Orrery's own requests.csv under the same scenario the same run?") {
  const char* rate = GENERATE("3", "12", "inf");  // idle, busy and everything queued at once
  const TemporaryFolder folder("own");
  const std::string out = (folder.path / "run").string();
  const Recorded original(with_load({{"num_prompts", "120"},
                                     {"input", "lognormal:median=600,sigma=1,max=6000"},
                                     {"output", "uniform:200,ratio=0.1"},
                                     {"request_rate", rate}}),
                          120, out);
  const auto report = replay(out + "/requests.csv", server(), "tpot=0.1%,ttft=0.1%,e2e@p99=0.1%");
  CHECK(report.measured.completed == 120);
  CHECK(report.met());
  for (const auto& r : report.rows) {
    INFO(r.key << " measured " << r.measured << " predicted " << r.predicted);
    // The file rounds to the microsecond, and ITL's tail can move by a step's order.
    CHECK(std::abs(r.error()) < 1e-3);
    if (r.interval) CHECK(r.inside().value());
  }
  for (const auto& slice : report.slices) {
    for (const auto& e : slice.errors) CHECK(e.p90_abs < 1e-3);
  }
  // The folder names its servers itself; a flag wins over them.
  CHECK(row(replay(out, {}), "mean_e2el_ms").predicted == row(report, "mean_e2el_ms").predicted);
  CHECK(replay(out, assigned({{"gpu", "h200-sxm"}})).predicted.info.gpu == "h200-sxm");
}

TEST_CASE("is a closed loop replayed as one, whatever the recorded start times say?") {
  const TemporaryFolder folder("closed");
  const auto load = with_load({{"num_prompts", "90"},
                               {"random_input_len", "512"},
                               {"random_output_len", "128"},
                               {"random_range_ratio", "0.3"},
                               {"max_concurrency", "16"}});
  const Recorded original(load, 90);
  const auto path = folder.add("result.json", bench_result(original).dump());
  const auto same = replay(path, server());
  CHECK_FALSE(same.measured.load.arrivals_recorded);
  CHECK_THAT(same.arrivals, Catch::Contains("at most 16 at a time"));
  CHECK(std::abs(row(same, "output_throughput").error()) < 1e-3);
  CHECK(std::abs(row(same, "mean_tpot_ms").error()) < 1e-3);
  CHECK(std::abs(row(same, "p99_itl_ms").error()) < 1e-3);  // the file's own figure, not of its equal gaps

  // A slower server shows in the throughput: its clients wait for it.
  Assignments slower = server();
  slower.push_back({"gpu", "a100-sxm-80g", "flag", "", 0});
  const auto other = replay(path, slower);
  CHECK(row(other, "output_throughput").error() < -0.1);
  CHECK(row(other, "mean_tpot_ms").error() > 0.1);
}

TEST_CASE("are the start times of an open loop replayed?") {
  const TemporaryFolder folder("open");
  const Recorded original(with_load({{"num_prompts", "60"}, {"request_rate", "8"}, {"seed", "5"}}), 60);
  const auto path = folder.add("result.json", bench_result(original).dump(1));
  const auto report = replay(path, server());  // another seed: only the recorded times can make it the same
  CHECK(report.measured.load.arrivals_recorded);
  CHECK(std::abs(row(report, "mean_ttft_ms").error()) < 1e-3);
  CHECK(report.slices.front().errors[0].p90_abs < 1e-3);
}

TEST_CASE("does a result without details still give the load, with mean lengths?") {
  const TemporaryFolder folder("aggregates");
  const auto load = with_load({{"num_prompts", "50"},
                               {"random_input_len", "300"},
                               {"random_output_len", "60"},
                               {"max_concurrency", "8"}});
  OrderedJson json = bench_result(Recorded(load, 50));
  for (const char* key : {"input_lens", "output_lens", "ttfts", "itls", "start_times", "errors"})
    json.erase(key);
  const auto path = folder.add("result.json", json.dump());
  const auto report = replay(path, server());
  CHECK(report.slices.empty());
  CHECK_FALSE(report.notes.empty());
  CHECK(report.rows.size() == 14);  // two throughputs, three statistics of four latencies
  for (const auto& r : report.rows) CHECK(std::abs(r.error()) < 1e-3);  // all lengths are the mean
  Assignments shorter = server();
  shorter.push_back({"random_output_len", "30", "flag", "", 0});
  CHECK(row(replay(path, shorter), "mean_e2el_ms").error() < -0.3);
}

TEST_CASE("does each slice say where the prediction is off?") {
  // Four requests: the 3rd and 4th were measured twice as slow as they are predicted.
  std::vector<MeasuredRequest> measured(4);
  std::vector<std::optional<RequestRecord>> predicted(4);
  for (std::size_t i = 0; i < 4; ++i) {
    RequestRecord r;
    r.output_tokens = 11;
    r.first_token = to_ps(Seconds(0.1));
    r.done = to_ps(Seconds(1.1));
    predicted[i] = r;
    const double factor = i < 2 ? 1 : 2;
    measured[i] = {0, i % 2 ? 100 : 1000, 11, 100 * factor, 1100 * factor, 100 * factor};
  }
  predicted[1].reset();  // refused by the simulated engine
  const auto slices = replay_slices(measured, predicted);
  REQUIRE(slices.size() == 7);  // all, quarters, two bands
  CHECK(slices[0].requests == 4);
  CHECK(slices[0].errors[1].pairs == 3);
  CHECK(slices[0].errors[1].measured_mean == Approx(500 / 3.0));
  CHECK(slices[0].errors[1].median == Approx(-0.5));
  CHECK(slices[1].errors[2].error_of_mean() == Approx(0).margin(1e-9));
  CHECK(slices[2].errors[0].pairs == 0);
  CHECK(slices[3].errors[2].error_of_mean() == Approx(-0.5));
  CHECK(slices[5].name == "prompt below 128");
  CHECK(slices[6].name == "prompt 512 to 2,047");
  CHECK(slices[6].errors[0].median_abs == Approx(0.25));  // of 0 and 0.5
}

TEST_CASE("does a log give what it does not write from what it does?") {
  const TemporaryFolder folder("log");
  const auto path = folder.add("log.csv",
                               "# measured somewhere\n"
                               "id,arrival_s,input_tokens,output_tokens,ttft_ms,tpot_ms,failure\n"
                               "1,100.5,20,1,30,,\n"
                               "0,100,10,5,50,10,\n"
                               "2,101,30,0,,,refused\n");
  const auto run = read_measured_run(path);
  REQUIRE(run.requests.size() == 2);
  CHECK(run.failed == 1);
  CHECK(run.requests[0].prompt_tokens == 10);
  CHECK(run.requests[0].e2e_ms == 90.0);
  CHECK(run.requests[1].arrival_s == 0.5);
  CHECK(run.requests[1].e2e_ms == 30.0);
  CHECK_FALSE(run.requests[1].tpot_ms);
  CHECK(run.duration_s == Approx(0.53));
  CHECK(run.request_throughput.value() == Approx(2 / 0.53));
  CHECK(run.latency[static_cast<std::size_t>(Metric::ttft)].median == 40.0);  // type 7
  CHECK(run.notes.front() == "the file says: measured somewhere");
}

TEST_CASE("is a file that is no saved run refused in one sentence, with its place?") {
  const TemporaryFolder folder("bad");
  const auto why = [&](const std::string& text) { return refusal(folder.add("x", text)); };
  const std::string start = R"({"duration": 1, "completed": 1, "request_throughput": 1, )";
  CHECK_THAT(why(""), Catch::Contains("empty"));
  CHECK_THAT(why("{\"a\": 1}"), Catch::Contains("not a result of vllm bench serve"));
  CHECK_THAT(why("[1]"), Catch::Contains("expected an object"));
  CHECK_THAT(why("{\"duration\": "), Catch::StartsWith("1: "));
  CHECK_THAT(why("{\"a\": 1}\n{\"a\": 2}\n"), Catch::Contains("more than one result"));
  CHECK_THAT(why("time,tokens\n1,2\n"), Catch::Contains("no column 'arrival_s'"));
  CHECK_THAT(why("arrival_s,input_tokens,output_tokens\n0,1,1\n"), Catch::Contains("no column of latencies"));
  CHECK_THAT(why("arrival_s,input_tokens,output_tokens,ttft_ms\n0,1,1,fast\n"),
             Catch::StartsWith("2: ") && Catch::Contains("ttft_ms"));
  CHECK_THAT(why("arrival_s,input_tokens,output_tokens,ttft_ms\n0,1,1,-4\n"), Catch::Contains("at least 0"));
  CHECK_THAT(why("arrival_s,input_tokens,output_tokens,ttft_ms\n"), Catch::Contains("no request"));
  CHECK_THAT(why("arrival_s,input_tokens,output_tokens,ttft_ms\n0,1,1,4\n1.7e9,1,1,4\n"),
             Catch::Contains("106 days"));
  CHECK_THAT(why(start + R"("input_lens": [1.5], "output_lens": [1], "ttfts": [1]})"),
             Catch::Contains("whole"));
  CHECK_THAT(why(start + R"("request_rate": "fast"})"), Catch::Contains("request_rate"));
  CHECK_THAT(why(start + R"("input_lens": [1, 2], "output_lens": [1], "ttfts": [1, 1]})"),
             Catch::Contains("output_lens: expected 2 entries"));
  CHECK_THAT(why(start + R"("input_lens": [1], "output_lens": [1], "ttfts": ["x"]})"),
             Catch::Contains("ttfts"));
  CHECK_THAT(why(start + R"("input_lens": [1], "output_lens": [2], "ttfts": [1], "itls": [3]})"),
             Catch::Contains("itls"));
}

TEST_CASE("are failed requests of a result left out, and said so?") {
  const TemporaryFolder folder("failed");
  const auto run = read_measured_run(folder.add(
      "x",
      R"({"duration": 2, "completed": 1, "failed": 1, "request_throughput": 0.5, "request_rate": Infinity,
               "input_lens": [10, 20], "output_lens": [3, 0], "ttfts": [0.1, 0], "itls": [[0.1, 0.1], []],
               "errors": ["", "boom"], "mean_ttft_ms": 100.0, "new_key": {}})"));
  REQUIRE(run.requests.size() == 1);
  CHECK(run.requests[0].tpot_ms.value() == Approx(100));
  CHECK(run.requests[0].e2e_ms.value() == Approx(300));
  CHECK(std::isinf(run.load.request_rate.value()));
  CHECK(run.failed == 1);
  CHECK_THAT(run.notes.back(), Catch::Contains("failed when measured: 1"));
}

TEST_CASE("are flags that the file's requests would win over refused?") {
  const TemporaryFolder folder("flags");
  const auto log =
      folder.add("log.csv", "arrival_s,input_tokens,output_tokens,ttft_ms\n0,10,5,50\n1,10,5,50\n");
  for (const char* name : {"random_input_len", "num_prompts", "request_rate", "trace"}) {
    Assignments given = server();
    given.push_back({name, "4", "flag", "", 0});
    CHECK_THROWS_WITH(replay(log, given), Catch::Contains(name) && Catch::Contains("no effect"));
  }
  Assignments limited = server();
  limited.push_back({"max_concurrency", "1", "flag", "", 0});
  CHECK_THAT(replay(log, limited).arrivals, Catch::Contains("at most 1"));
}

TEST_CASE("are error limits understood, and one on something unmeasured an error?") {
  const auto limits = parse_error_limits("tpot=5%,ttft@p99=0.2,throughput=3%,e2e@median=1%");
  REQUIRE(limits.size() == 4);
  CHECK(limits[0].key == "mean_tpot_ms");
  CHECK(limits[0].limit == Approx(0.05));
  CHECK(limits[1].key == "p99_ttft_ms");
  CHECK(limits[1].limit == Approx(0.2));
  CHECK(limits[2].key == "output_throughput");
  CHECK(limits[3].key == "median_e2el_ms");
  for (const char* bad :
       {"", "tpot", "tpot=", "=5%", "speed=5%", "ttft@p12=5%", "tpot=-1%", "throughput@p99=1%"})
    CHECK_THROWS_AS(parse_error_limits(bad), ConfigError);

  const TemporaryFolder folder("limits");
  const auto log = folder.add("log.csv", "arrival_s,input_tokens,output_tokens,ttft_ms\n0,10,5,1e6\n");
  CHECK_FALSE(replay(log, server(), "ttft=5%").met());
  CHECK_THROWS_WITH(replay(log, server(), "itl=5%"), Catch::Contains("mean_itl_ms"));
}

TEST_CASE("does the real vLLM log read as its publisher summarised it, and can it be replayed?") {
  REQUIRE_REFERENCE_DATA(data)
  const auto report = replay(data + "/endtoend/llmservingsim_RTXPRO6000_Llama-3.1-8B_requests.csv",
                             assigned({{"model", "llama-3.1-8b"},
                                       {"gpu", "rtx-pro-6000"},
                                       {"engine", "vllm@0.19.0"},
                                       {"max_num_seqs", "128"},
                                       {"max_num_batched_tokens", "2048"}}));
  const auto& run = report.measured;
  CHECK(run.completed == 300);
  const auto& ttft = run.latency[static_cast<std::size_t>(Metric::ttft)];
  CHECK(ttft.mean.value() == Approx(7097.16).epsilon(1e-5));  // llmservingsim_vllm_measured.csv
  CHECK(ttft.p99.value() == Approx(19755.3).epsilon(1e-5));
  CHECK(run.latency[static_cast<std::size_t>(Metric::tpot)].median.value() == Approx(33.4246).epsilon(1e-5));
  CHECK(report.slices.front().errors[0].pairs == 300);
  CHECK(report.predicted.completed == 300);
}

TEST_CASE("do data-parallel ranks that share experts foretell a real server of two?") {
  REQUIRE_REFERENCE_DATA(data)
  const auto report =
      replay(data + "/endtoend/llmservingsim_RTXPRO6000_Qwen3-30B-A3B-Instruct-2507_requests.csv",
             assigned({{"model", "qwen3-30b-a3b"},
                       {"gpu", "rtx-pro-6000"},
                       {"engine", "vllm@0.19.0"},
                       {"data_parallel_size", "2"},
                       {"enable_expert_parallel", "true"},
                       {"max_num_seqs", "128"},
                       {"max_num_batched_tokens", "2048"}}));
  // Nothing was fitted on it, nor on its device: kernels are those of an A100 scaled by datasheets.
  CHECK(report.predicted.completed == 300);
  CHECK(report.predicted.request_throughput == Approx(300 / 64.0).epsilon(0.15));
}
