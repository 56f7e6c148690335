#include "scenario/bench_table.hpp"

#include <filesystem>
#include <fstream>
#include <map>

#include <catch2/catch.hpp>

#include "base/error.hpp"
#include "scenario/validate_bench.hpp"
#include "support/reference_data.hpp"

using namespace orrery;

namespace {

const std::string header =
    "hardware,model,precision,framework,mode,isl_max,osl_max,concurrency,rate_rps,tp,pp,moe_ep,decode_gpus,"
    "mean_ttft_ms,mean_tpot_ms,use,max_num_seqs,kv_cache_dtype,length_range_ratio,source\n";

struct TemporaryTable {
  std::string path;
  explicit TemporaryTable(const std::string& text) {
    path = (std::filesystem::temp_directory_path() /
            ("orrery-bench-" + std::to_string(std::hash<std::string>{}(text)) + ".csv"))
               .string();
    std::ofstream(path) << text;
  }
  ~TemporaryTable() { std::filesystem::remove(path); }
};

std::string why(const std::string& text) {
  const TemporaryTable file(text);
  try {
    read_bench_table(file.path);
  } catch (const ConfigError& e) {
    return std::to_string(e.line()) + ": " + e.what();
  }
  return "accepted";
}

}  // namespace

TEST_CASE("does a row of a table become the closed loop it describes?") {
  const TemporaryTable file(
      header +
      "h100_sxm,meta-llama/Llama-3.1-70B,fp8,vllm,agg,1024,512,16,,8,1,1,,95.2,9.9,ttft+tpot,16,"
      "fp8,0.8,\"a, quoted \"\"source\"\"\"\r\n");
  const auto table = read_bench_table(file.path);
  REQUIRE(table.rows.size() == 1);
  const auto& row = table.rows[0];
  CHECK(row.skipped.empty());
  CHECK(table.at(row, "source") == "a, quoted \"source\"");
  CHECK(row.ttft_ms == 95.2);
  const Scenario s = resolve(row.assignments);
  CHECK(s.gpu == "h100_sxm");
  CHECK(s.quantization == "fp8");
  CHECK(s.engine == "vllm");
  CHECK(s.tensor_parallel_size == 8);
  CHECK(s.max_num_seqs == 16);
  CHECK_FALSE(s.max_num_batched_tokens.has_value());  // blank or absent = the version's default
  CHECK(s.kv_cache_dtype == "fp8");
  CHECK(s.workload.random_input_len == 1024);
  CHECK(s.workload.random_output_len == 512);
  CHECK(s.workload.random_range_ratio == 0.8);
  CHECK(s.workload.max_concurrency == 16);
  CHECK(s.workload.num_prompts == 160);
  CHECK(s.workload.client_delay_s > 0);  // else each user's next request ties with a step's end
}

TEST_CASE("is a row with a rate an open loop?") {
  const TemporaryTable file(header + "h100_sxm,m,bf16,vllm,agg,1024,512,16,2.5,1,1,1,,1,1,tpot,,,,\n");
  const auto table = read_bench_table(file.path);
  const Scenario s = resolve(table.rows.at(0).assignments);
  CHECK(s.workload.request_rate == 2.5);
  CHECK(s.workload.max_concurrency == 0);
  CHECK(s.quantization == "none");
  CHECK_FALSE(table.rows[0].trust_ttft);
  CHECK(table.rows[0].trust_tpot);
}

TEST_CASE("is a row that cannot be modelled kept, with the reason?") {
  const TemporaryTable file(header + "h100_sxm,m,fp8,vllm,disagg,1024,512,16,,1,1,1,4,1,1,,,,,\n" +
                            "h100_sxm,m,fp8,vllm,agg,1024,512,16,,1,2,1,,1,1,,,,,\n" +
                            "h100_sxm,m,fp8,vllm,agg,1024,512,16,,1,1,4,,1,1,,,,,\n" +
                            "h100_sxm,m,fp4,vllm,agg,1024,512,16,,1,1,1,,1,1,,,,,\n" +
                            "h100_sxm,m,fp8,vllm,agg,,512,16,,1,1,1,,1,1,,,,,\n");
  const auto table = read_bench_table(file.path);
  REQUIRE(table.rows.size() == 5);
  CHECK_THAT(table.rows[0].skipped, Catch::Contains("separate servers"));
  CHECK(table.rows[1].skipped.empty());
  CHECK(std::any_of(table.rows[1].assignments.begin(), table.rows[1].assignments.end(),
                    [](const auto& a) { return a.name == "pipeline_parallel_size" && a.value == "2"; }));
  CHECK_THAT(table.rows[2].skipped, Catch::Contains("expert"));
  CHECK_THAT(table.rows[3].skipped, Catch::Contains("fp4"));
  CHECK_THAT(table.rows[4].skipped, Catch::Contains("isl_max"));
}

TEST_CASE("is a broken table refused with the line?") {
  CHECK(why("") == "0: the table is empty");
  CHECK_THAT(why("a,b\n1,2\n"), Catch::StartsWith("1: the table has no column 'hardware'"));
  CHECK_THAT(why(header + "h100_sxm,m\n"), Catch::StartsWith("2: expected 20 fields, found 2"));
  CHECK_THAT(why(header + "h100_sxm,m,fp8,vllm,agg,1024,512,16,,1,1,1,,fast,1,,,,,\n"),
             Catch::StartsWith("2: mean_ttft_ms") && Catch::Contains("'fast'"));
}

TEST_CASE("does the number of threads change what is predicted?") {
  std::string text = header;
  for (const char* tp : {"1", "2", "4"}) {
    for (const char* users : {"1", "4", "16"}) {
      text += std::string("h100_sxm,llama-3.1-8b,bf16,vllm,agg,256,64,") + users + ",," + tp +
              ",1,1,,50,8,,,,0.8,\n";
    }
  }
  text += "h100_sxm,no-such-model,bf16,vllm,agg,256,64,4,,1,1,1,,50,8,,,,0.8,\n";
  const TemporaryTable file(text);
  BenchOptions one, three;
  one.threads = 1;
  three.threads = 3;
  const auto a = to_json(validate_bench(file.path, one)), b = to_json(validate_bench(file.path, three));
  CHECK(a.dump() == b.dump());
  REQUIRE(a["rows"].size() == 10);
  CHECK(a["rows"][0]["predicted"]["mean_tpot_ms"] > 0);
  CHECK(a["rows"][0]["interval"]["mean_tpot_ms"][0] < a["rows"][0]["predicted"]["mean_tpot_ms"]);
  CHECK_THAT(a["rows"][9]["skipped"].get<std::string>(), Catch::Contains("no-such-model"));
  REQUIRE(a["summary"].size() == 2);
  CHECK(a["summary"][0]["rows"] == 9);
  CHECK(a["summary"][1]["skipped"] == 1);
}

TEST_CASE("is every row of the published closed-loop table predicted or skipped with a reason?") {
  REQUIRE_REFERENCE_DATA(data)
  const auto report = validate_bench(data + "/endtoend/closed_loop.csv");
  std::size_t predicted = 0;
  for (std::size_t i = 0; i < report.table.rows.size(); ++i) {
    INFO("line " << report.table.rows[i].line << " " << report.table.rows[i].skipped);
    CHECK(report.predictions[i].has_value() == report.table.rows[i].skipped.empty());
    predicted += report.predictions[i].has_value();
  }
  CHECK(report.table.rows.size() == 669);
  CHECK(predicted >= 435);  // all the dense ones
}
