#include "scenario/offloading.hpp"

#include <catch2/catch.hpp>

#include "base/error.hpp"
#include "scenario/deployment.hpp"

using namespace orrery;

namespace {

Scenario scenario(const std::string& model, std::initializer_list<Assignment> more) {
  Assignments all{{"model", model, "flag", "", 0}, {"gpu", "h100-sxm", "flag", "", 0}};
  all.insert(all.end(), more.begin(), more.end());
  return resolve(all);
}

Assignment flag(const std::string& name, const std::string& value) {
  return {name, value, "flag", "", 0};
}

std::string refusal(const Scenario& s) {
  try {
    deploy(s);
  } catch (const ConfigError& e) {
    return e.what();
  }
  return "";
}

}  // namespace

TEST_CASE("does a model that is too large for a GPU run with a part of its weights on the host?") {
  const auto length = flag("max_model_len", "4096");
  CHECK(refusal(scenario("llama-3.1-70b", {length})).find("does not fit") != std::string::npos);
  const Deployment d = deploy(scenario("llama-3.1-70b", {length, flag("cpu_offload_gb", "80")}));
  CHECK(d.kv.tokens() > 4096);
  CHECK_FALSE(d.offload.policy.overlap);  // kernels read over the link
  CHECK(d.offload.host.name == "dual-xeon-8480c");
  // Of 80 layers' 127.5 GiB.
  CHECK(d.offload.policy.weights.host == Approx(80 / 127.5).epsilon(0.01));
}

TEST_CASE("are FlexGen's six numbers shares of GPU, host and disk, and refused where they are none?") {
  const OffloadPolicy p = parse_percent("20,50,30 40,0,100");
  CHECK(p.weights.gpu() == Approx(0.2));
  CHECK(p.weights.host == Approx(0.5));
  CHECK(p.weights.disk == Approx(0.3));
  CHECK(p.kv.disk == Approx(0.3));
  CHECK(p.activations.host == 1);
  CHECK(p.activations.disk == 0);
  CHECK_THROWS_AS(parse_percent("20,50,30"), ConfigError);
  CHECK_THROWS_AS(parse_percent("20,90,100,0,100,0"), ConfigError);
}

TEST_CASE("do llama.cpp's layers leave the GPU room, with their keys and values?") {
  const Deployment all = deploy(scenario("llama-3.1-8b", {}));
  const Deployment half = deploy(scenario("llama-3.1-8b", {flag("n_gpu_layers", "16")}));
  CHECK(half.offload.policy.host_layers == 16);
  CHECK(half.kv.weight_bytes < 0.6 * all.kv.weight_bytes);
  CHECK(half.kv.block_bytes == Approx(all.kv.block_bytes / 2));
  CHECK(half.kv.moved_block_bytes == Approx(all.kv.block_bytes / 2));
}

TEST_CASE("does the host's memory limit the blocks it keeps a share of?") {
  const auto s = [](const char* share) {
    return deploy(
        scenario("llama-3.1-8b", {flag("offload_config", std::string("{\"kv\": {\"host\": ") + share + "}}"),
                                  flag("offload_host", "i9-13900k")}));
  };
  const Deployment some = s("0.5"), most = s("1");
  CHECK(some.kv.moved_block_bytes == Approx(some.kv.block_bytes));
  // 192 GB, and 2 MiB a block of 16 tokens.
  CHECK(static_cast<double>(most.kv.blocks) == Approx(1.92e11 / (16 * 131072.0)).epsilon(1e-3));
}

TEST_CASE("is offloading that contradicts itself, a split or the host refused by name?") {
  const auto refused = [](std::initializer_list<Assignment> more, const char* word) {
    const std::string why = refusal(scenario("llama-3.1-8b", more));
    INFO(why);
    CHECK(why.find(word) != std::string::npos);
  };
  refused({flag("cpu_offload_gb", "4"), flag("percent", "50,50,100,0,100,0")}, "cpu_offload_gb");
  refused({flag("cpu_offload_gb", "4"), flag("pipeline_parallel_size", "2")}, "pp2");
  refused({flag("n_gpu_layers", "4"), flag("tensor_parallel_size", "2")}, "layers on the host");
  refused({flag("percent", "50,0,100,0,100,0"), flag("offload_host", "i9-13900k")}, "disk");
  refused({flag("cpu_offload_gb", "4"), flag("offload_host", "nowhere")}, "nowhere");
  CHECK_THROWS_AS(parse_offload_config("{\"host_attention\": true}"), ConfigError);
  CHECK_THROWS_AS(parse_offload_config("{\"wieghts\": {}}"), ConfigError);
}
