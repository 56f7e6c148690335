#include "scenario/expert_settings.hpp"

#include <algorithm>
#include <limits>
#include <optional>

#include <fmt/format.h>

#include "base/error.hpp"

namespace orrery {

namespace {

struct Backend {
  const char* name;
  bool dispatch;  ///< rows go to their experts' ranks; else all tokens are gathered
  std::optional<Tokens> low_latency_tokens;
};

constexpr Tokens kAllSteps = std::numeric_limits<Tokens>::max();
// vllm/config/parallel.py: All2AllBackend (0.14); SGLang's documentation of expert parallelism (0.5): "none"
// gathers. DeepEP's two modes are backends of their own in vLLM, one that chooses by step in SGLang.
constexpr Backend kBackends[] = {
    {"allgather_reducescatter", false, {}},
    {"naive", false, {}},
    {"none", false, {}},
    {"pplx", true, {}},
    {"deepep", true, {}},
    {"deepep_high_throughput", true, 0},
    {"deepep_low_latency", true, kAllSteps},
    {"flashinfer_all2allv", true, 0},
    {"mooncake", true, {}},
};

}  // namespace

void choose_all2all(const std::string& backend, ExpertPlan& plan) {
  const auto* found = std::find_if(std::begin(kBackends), std::end(kBackends),
                                   [&](const Backend& b) { return backend == b.name; });
  if (found == std::end(kBackends)) {
    std::vector<std::string> names;
    for (const Backend& b : kBackends) names.emplace_back(b.name);
    throw ConfigError(fmt::format("all2all_backend: '{}' is not modelled", backend),
                      suggestion(backend, names), ExitCode::usage);
  }
  plan.dispatch = found->dispatch;
  if (found->low_latency_tokens) plan.low_latency_tokens = *found->low_latency_tokens;
}

void override_experts(const Scenario& s, const ModelSpec& model, const Shard& shard, ExpertPlan& plan) {
  if (!s.all2all_backend.empty()) choose_all2all(s.all2all_backend, plan);
  if (s.enable_eplb) plan.balance = *s.enable_eplb;
  if (s.num_redundant_experts) plan.redundant = static_cast<int>(*s.num_redundant_experts);
  if (plan.redundant > 0 && !plan.balance) {
    throw ConfigError(
        fmt::format("num_redundant_experts is {}, and copies are placed by the load balancer alone",
                    plan.redundant),
        "--enable-eplb", ExitCode::usage);
  }
  if (!plan.balance) return;
  if (!model.has_experts()) {
    throw ConfigError(fmt::format("enable_eplb balances experts, and {} has none", model.name));
  }
  if (shard.ep == 1) {
    throw ConfigError("enable_eplb places whole experts on ranks, and each rank holds a part of all",
                      "--enable-expert-parallel with --tensor-parallel-size above 1", ExitCode::usage);
  }
  for (const auto& kind : model.kinds) {
    if (const auto* moe = std::get_if<MoeParams>(&kind.ffn)) check_split(*moe, shard, plan);
  }
}

}  // namespace orrery
