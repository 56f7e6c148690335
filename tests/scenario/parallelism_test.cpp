#include "scenario/parallelism.hpp"

#include <catch2/catch.hpp>

#include "base/error.hpp"
#include "scenario/deployment.hpp"

using namespace orrery;

namespace {

Deployment deployed(const std::string& model, const std::string& engine, Assignments more) {
  Assignments all{
      {"model", model, "flag", "", 0}, {"gpu", "h200-sxm", "flag", "", 0}, {"engine", engine, "flag", "", 0}};
  for (auto& a : more) {
    a.origin = "flag";
    all.push_back(a);
  }
  return deploy(resolve(all));
}

Assignment with(const std::string& name, const std::string& value) {
  return {name, value, "", "", 0};
}

std::string refusal(const std::string& model, const std::string& engine, Assignments more) {
  try {
    deployed(model, engine, std::move(more));
  } catch (const ConfigError& e) {
    return std::string(e.what()) + " | " + e.hint();
  }
  return "accepted";
}

}  // namespace

TEST_CASE("are vLLM's data-parallel ranks one replica in lockstep with experts, and replicas without?") {
  const auto experts = deployed("qwen3-30b-a3b", "vllm",
                                {with("data_parallel_size", "4"), with("enable_expert_parallel", "true")});
  CHECK(experts.replicas() == 1);
  CHECK(experts.cluster.replicas.front().engine_cores == 4);
  CHECK(name(experts.lowering.shard) == "dp4 ep4");
  CHECK(experts.lowering.shard.gpus() == 4);
  const auto dense = deployed("llama-3.1-8b", "vllm", {with("data_parallel_size", "4")});
  CHECK(dense.replicas() == 4);
  CHECK(dense.cluster.replicas.front().engine_cores == 1);
  CHECK(name(dense.lowering.shard) == "tp1");
}

TEST_CASE(
    "do SGLang's attention ranks lie within its tensor-parallel ones, and share the server's budgets?") {
  const auto whole = deployed("deepseek-v3", "sglang", {with("tensor_parallel_size", "8")});
  const auto divided = deployed("deepseek-v3", "sglang",
                                {with("tensor_parallel_size", "8"), with("data_parallel_size", "4"),
                                 with("enable_dp_attention", "true")});
  CHECK(name(divided.lowering.shard) == "tp2 dp4");
  CHECK(divided.lowering.shard.gpus() == 8);
  CHECK(divided.cluster.replicas.front().engine_cores == 4);
  CHECK(divided.settings.max_num_batched_tokens == whole.settings.max_num_batched_tokens / 4);
  // One latent in each of four ranks' caches, which is kept by two GPUs, not by eight.
  CHECK(static_cast<double>(divided.kv.tokens() * 4) > 3 * static_cast<double>(whole.kv.tokens()));
}

TEST_CASE("are sizes that do not fit each other refused, with one that does?") {
  CHECK_THAT(refusal("deepseek-v3", "sglang",
                     {with("tensor_parallel_size", "8"), with("data_parallel_size", "3"),
                      with("enable_dp_attention", "true")}),
             Catch::Contains("data_parallel_size 3 does not divide"));
  CHECK_THAT(refusal("llama-3.1-8b", "sglang",
                     {with("tensor_parallel_size", "2"), with("data_parallel_size", "2"),
                      with("enable_dp_attention", "true")}),
             Catch::Contains("is dense"));
  CHECK_THAT(refusal("deepseek-v3", "trtllm",
                     {with("tensor_parallel_size", "8"), with("expert_parallel_size", "3")}),
             Catch::Contains("--expert-parallel-size 8"));
}
