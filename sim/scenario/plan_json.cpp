#include <cmath>

#include "scenario/plan.hpp"

namespace orrery {

namespace {

OrderedJson number_or_null(double value) {
  return std::isfinite(value) ? OrderedJson(value) : OrderedJson(nullptr);
}

OrderedJson to_json(const Plan& p, const PlanQuestion& question) {
  OrderedJson values = OrderedJson::object();
  for (const auto& [setting, value] : p.candidate.values) values[setting] = value;
  OrderedJson devices = OrderedJson::object();
  for (const auto& [device, n] : p.candidate.gpus) devices[device] = n * p.units;
  OrderedJson out = {{"config", describe(p.candidate)},
                     {"gpus_by_device", devices},
                     {"tensor_parallel_size", p.candidate.scenario.tensor_parallel_size},
                     {"settings", values},
                     {"units", p.units},
                     {"gpus", p.gpus()},
                     {"meets", p.meets},
                     {"unit_rps", p.unit_rps},
                     {"max_rps", p.unit_rps * p.units},
                     {"first_limit", p.limit}};
  if (p.candidate.prefill > 0)
    out["prefill_replicas"] = p.units * p.candidate.prefill,
    out["decode_replicas"] = p.units * p.candidate.decode;
  else
    out["replicas"] = p.units;
  if (question.target_rps > 0 && p.meets) out["spare"] = p.unit_rps * p.units / question.target_rps - 1;
  if (p.usd_per_hour) out["usd_per_hour"] = *p.usd_per_hour;
  if (p.usd_per_million_output_tokens)
    out["usd_per_million_output_tokens"] = *p.usd_per_million_output_tokens;
  if (p.at) {
    out["output_tokens_per_s_per_gpu"] = p.tokens_per_s_per_gpu();
    out["tokens_per_s_per_user"] = number_or_null(p.tokens_per_s_per_user());
    for (const Metric m : {Metric::ttft, Metric::tpot, Metric::e2el})
      out[std::string("p99_") + std::string(name(m)) + "_ms"] = number_or_null((*p.at)[m].at(99));
    if (p.at->confidence) out["step_time_error"] = p.at->confidence->step_time_error;
  }
  out["command"] = deploy_command(p.candidate);
  return out;
}

}  // namespace

OrderedJson to_json(const PlanAnswer& answer) {
  OrderedJson plans = OrderedJson::array(), refused = OrderedJson::array();
  for (const Plan& p : answer.plans) plans.push_back(to_json(p, answer.question));
  for (const Plan& p : answer.refused)
    refused.push_back({{"config", describe(p.candidate)}, {"why", p.estimate.refused}});
  OrderedJson out = {{"plans", plans},
                     {"refused", refused},
                     {"configurations", answer.configurations},
                     {"not_simulated", answer.not_simulated}};
  if (answer.question.target_rps > 0) out["target_rps"] = answer.question.target_rps;
  if (!answer.infeasible.empty()) out["infeasible"] = answer.infeasible;
  return out;
}

}  // namespace orrery
