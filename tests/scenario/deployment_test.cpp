#include "scenario/deployment.hpp"

#include <catch2/catch.hpp>

#include "base/error.hpp"
#include "scenario/headroom.hpp"
#include "scenario/run_scenario.hpp"

using namespace orrery;

namespace {

Scenario small(Assignments more = {}) {
  Assignments all{{"model", "llama-3.1-8b", "flag", "", 0}, {"gpu", "h100-sxm", "flag", "", 0}};
  for (auto& a : more) {
    a.origin = "flag";
    all.push_back(a);
  }
  return resolve(all);
}

Assignment with(const std::string& name, const std::string& value) {
  return {name, value, "", "", 0};
}

std::string refusal(Assignments more, ExitCode code) {
  try {
    deploy(small(std::move(more)));
  } catch (const ConfigError& e) {
    CHECK(e.code() == code);
    return std::string(e.what()) + " | " + e.hint();
  }
  return "accepted";
}

std::string origin(const Deployment& d, const Scenario& s, const std::string& name) {
  for (const auto& v : resolved_values(s, &d)) {
    if (v.name == name) return v.origin + " = " + v.value.dump();
  }
  return "";
}

}  // namespace

TEST_CASE("what does an engine default to, and where does each value come from?") {
  const auto s = small({with("max_num_seqs", "64")});
  const auto d = deploy(s);
  CHECK(origin(d, s, "max_num_seqs") == "flag = 64");
  CHECK_THAT(origin(d, s, "max_num_batched_tokens"), Catch::Contains("engine default vllm@"));
  CHECK(origin(d, s, "max_model_len") == "config.json of llama-3.1-8b = 131072");
  CHECK(origin(d, s, "replicas") == "default = 1");
  CHECK(d.cluster.replicas.size() == 1);
}

TEST_CASE("does an engine gather tokens for its experts unless told to dispatch them?") {
  const auto plan = [](Assignments more) {
    more.push_back(with("model", "qwen3-30b-a3b"));
    return deploy(small(std::move(more))).lowering.fusion.experts;
  };
  CHECK_FALSE(plan({}).dispatch);
  CHECK_FALSE(plan({}).balance);
  CHECK(plan({with("all2all_backend", "deepep_high_throughput")}).dispatch);
  CHECK(plan({with("all2all_backend", "deepep_high_throughput")}).low_latency_tokens == 0);
  const auto balanced = plan({with("tensor_parallel_size", "4"), with("enable_expert_parallel", "true"),
                              with("enable_eplb", "true"), with("num_redundant_experts", "4")});
  CHECK(balanced.balance);
  CHECK(balanced.redundant == 4);
  CHECK_THAT(refusal({with("num_redundant_experts", "4")}, ExitCode::usage),
             Catch::Contains("--enable-eplb"));
  CHECK_THAT(refusal({with("enable_eplb", "true")}, ExitCode::bad_input),
             Catch::Contains("llama-3.1-8b has none"));
  CHECK_THAT(refusal({with("model", "qwen3-30b-a3b"), with("enable_eplb", "true")}, ExitCode::usage),
             Catch::Contains("--enable-expert-parallel"));
}

TEST_CASE("are an engine's own start-up errors mirrored?") {
  CHECK_THAT(refusal({with("max_num_seqs", "64"), with("max_num_batched_tokens", "32")}, ExitCode::bad_input),
             Catch::Contains("max_num_batched_tokens 32 is smaller than max_num_seqs 64"));
  CHECK_THAT(refusal({with("enable_chunked_prefill", "false"), with("max_num_batched_tokens", "2048")},
                     ExitCode::bad_input),
             Catch::Contains("chunked prefill is off"));
  CHECK_THAT(refusal({with("tensor_parallel_size", "3")}, ExitCode::bad_input),
             Catch::Contains("3 tensor-parallel"));
  CHECK_THAT(refusal({with("max_model_len", "1M")}, ExitCode::bad_input), Catch::Contains("131072"));
  CHECK_THAT(refusal({with("replicas", "0")}, ExitCode::usage), Catch::Contains("at least 1"));
  CHECK_THAT(refusal({with("pipeline_parallel_size", "33")}, ExitCode::bad_input),
             Catch::Contains("32 layers") && Catch::Contains("33 pipeline stages"));
  CHECK_THAT(refusal({with("pipeline_parallel_size", "2"),
                      with("speculative_config", R"({"method": "ngram", "num_speculative_tokens": 3})")},
                     ExitCode::usage),
             Catch::Contains("speculation over 2 pipeline stages is not modelled"));
  CHECK_THAT(refusal({with("tensor_parallel_size", "16")}, ExitCode::usage),
             Catch::Contains("crosses servers"));
  CHECK_THAT(refusal({with("model", "llama-3.1-70b")}, ExitCode::infeasible),
             Catch::Contains("does not fit"));
  CHECK_THAT(refusal({with("num_gpu_blocks_override", "100")}, ExitCode::infeasible),
             Catch::Contains("100 KV blocks"));
  CHECK_THAT(refusal({with("router", "least-requets")}, ExitCode::usage), Catch::Contains("least_requests"));
  CHECK_THAT(refusal({with("quantization", "gguf")}, ExitCode::usage),
             Catch::Contains("'gguf' is not modelled"));
}

TEST_CASE("does a default give way where a given value would be an error?") {
  const auto d = deploy(small({with("max_num_batched_tokens", "512")}));
  CHECK(d.settings.max_num_seqs == 512);  // the default of this device is more
  const auto e = deploy(small({with("enable_chunked_prefill", "false"), with("max_model_len", "16K")}));
  CHECK(e.settings.max_num_batched_tokens >= 16384);
}

TEST_CASE("what do the formats of a deployment become?") {
  const auto precision = [](Assignments more) { return deploy(small(std::move(more))).lowering.precision; };
  CHECK(precision({}).weight == DType::bf16);
  CHECK(precision({with("quantization", "fp8")}).compute == DType::fp8);
  CHECK(precision({with("quantization", "fp8")}).kv_cache == DType::bf16);
  CHECK(precision({with("quantization", "awq")}).weight == DType::int4);
  CHECK(precision({with("quantization", "awq")}).compute == DType::bf16);
  CHECK(precision({with("dtype", "float16")}).weight == DType::fp16);
  CHECK(precision({with("kv_cache_dtype", "fp8_e5m2")}).kv_cache == DType::fp8);

  const auto a100 = deploy(small({with("gpu", "a100"), with("quantization", "fp8")}));
  CHECK(a100.lowering.precision.weight == DType::fp8);    // stored
  CHECK(a100.lowering.precision.compute == DType::bf16);  // widened in the kernel
  REQUIRE_FALSE(a100.warnings.empty());
  CHECK_THAT(a100.warnings[0], Catch::Contains("W8A16"));
}

TEST_CASE("are the engine's logged block count and router names with '-' taken as given?") {
  const auto d = deploy(small(
      {with("num_gpu_blocks_override", "9000"), with("router", "least-requests"), with("replicas", "3")}));
  CHECK(d.kv.blocks == 9000);
  CHECK(d.cluster.replicas[2].kv.blocks == 9000);
  CHECK(d.cluster.router == "least_requests");
  CHECK(d.replicas() == 3);
}

TEST_CASE("is the saturation estimate near the rate a saturated server reaches?") {
  // All requests at once, many more than fit: the throughput is the capacity.
  for (const auto& [in, out] : {std::pair{"1024", "256"}, {"4096", "64"}, {"128", "512"}}) {
    INFO(in << " / " << out);
    const auto r = run_scenario(small({with("random_input_len", in), with("random_output_len", out),
                                       with("num_prompts", "3000"), with("max_num_seqs", "128")}));
    REQUIRE(r.saturation_rps.has_value());
    CHECK(*r.saturation_rps == Approx(r.summary.request_throughput).epsilon(0.15));
  }
}

// By three ways: the longest sequence, what each will take, the class of its length.
TEST_CASE("does the saturation estimate know of memory that is set aside and not used?") {
  for (const char* engine : {"orca", "trtllm", "s3"}) {
    INFO(engine);
    const auto r = run_scenario(
        small({with("engine", engine), with("random_input_len", "512"), with("random_output_len", "512"),
               with("num_prompts", "2000"), with("max_num_seqs", "512"), with("max_model_len", "8192"),
               with("num_gpu_blocks_override", "12000")}));
    REQUIRE(r.saturation_rps.has_value());
    CHECK(*r.saturation_rps == Approx(r.summary.request_throughput).epsilon(0.15));
  }
}

TEST_CASE("do equal scenarios give equal numbers, and does a seed change them?") {
  const auto run = [](const std::string& seed) {
    return to_json(run_scenario(
                       small({with("request_rate", "10"), with("num_prompts", "200"), with("seed", seed)})))
        .dump();
  };
  const auto first = run("1");
  CHECK(first == run("1"));
  CHECK(first != run("2"));
}

TEST_CASE("are a prompt beyond max_model_len and an interrupted run counted as what they are?") {
  const auto failed = run_scenario(small({with("max_model_len", "1000"), with("num_prompts", "5")}));
  CHECK(failed.summary.failed == 5);
  CHECK(failed.summary.completed == 0);
  const std::atomic<bool> stop{true};
  RunOptions options;
  options.stop = &stop;
  const auto stopped = run_scenario(small({with("num_prompts", "5")}), options);
  CHECK(stopped.summary.interrupted);
}
