#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "base/error.hpp"
#include "scenario/engine_profile.hpp"
#include "scenario/plan.hpp"

namespace orrery {

namespace {

constexpr const char* kOrigin = "orrery plan";

int gpus_of(const Scenario& s) {
  return s.tensor_parallel_size * s.pipeline_parallel_size * s.data_parallel_size *
         s.prefill_context_parallel_size;
}

Scenario with(const PlanQuestion& question, const std::vector<std::pair<std::string, std::string>>& values) {
  Assignments all = question.base;
  for (const auto& [setting, value] : values) all.push_back({setting, value, kOrigin, "", 0});
  Scenario s = resolve(all);
  s.replicas = 1;
  return s;
}

PlanCandidate candidate_of(const PlanQuestion& question,
                           std::vector<std::pair<std::string, std::string>> values) {
  PlanCandidate out;
  out.scenario = with(question, values);
  out.values = std::move(values);
  out.gpus[load_device(out.scenario.gpu).name] = gpus_of(out.scenario);
  return out;
}

std::string flag(const std::string& setting) {
  std::string out = "--" + setting;
  std::replace(out.begin() + 2, out.end(), '_', '-');
  return out;
}

bool hardware(const std::string& setting) {
  return setting == "gpu" || setting == "tensor_parallel_size" || setting == "pipeline_parallel_size" ||
         setting == "data_parallel_size";
}

/// "tp2 pp2".
std::string split_name(const Scenario& s) {
  std::string out = fmt::format("tp{}", s.tensor_parallel_size);
  if (s.pipeline_parallel_size > 1) out += fmt::format(" pp{}", s.pipeline_parallel_size);
  if (s.data_parallel_size > 1) out += fmt::format(" dp{}", s.data_parallel_size);
  return out;
}

std::string device_of(const PlanCandidate& c) {
  return load_device(c.scenario.gpu).name;
}

/// What a server is told beside its model, device and split.
std::vector<std::pair<std::string, std::string>> server_settings(const PlanCandidate& c) {
  std::vector<std::pair<std::string, std::string>> out;
  for (const auto& value : c.values) {
    if (!hardware(value.first)) out.push_back(value);
  }
  return out;
}

/// The command that starts one replica; engines name a few of these settings in their own way.
std::string command_of(const PlanCandidate& c, int tensor_parallel_size) {
  const Scenario& s = c.scenario;
  const std::string engine = s.engine.substr(0, s.engine.find('@'));
  std::string out = engine == "sglang"   ? "python -m sglang.launch_server --model-path "
                    : engine == "trtllm" ? "trtllm-serve "
                                         : "vllm serve ";
  out += s.model;
  const auto size = [&](const char* name, int n) {
    if (n > 1) out += fmt::format(" {} {}", name, n);
  };
  size("--tensor-parallel-size", tensor_parallel_size);
  size("--pipeline-parallel-size", s.pipeline_parallel_size);
  size("--data-parallel-size", s.data_parallel_size);
  for (const auto& [setting, value] : server_settings(c)) {
    if (value == "true") {
      out += " " + flag(setting);
    } else if (value == "false") {
      out += " --no-" + flag(setting).substr(2);
    } else if (value != "auto") {
      out += " " + flag(setting) + " " + value;
    }
  }
  return out;
}

}  // namespace

int PlanCandidate::all_gpus() const {
  int all = 0;
  for (const auto& [device, n] : gpus) all += n;
  return all;
}

std::vector<PlanCandidate> plan_candidates(const PlanQuestion& question) {
  for (const Axis& axis : question.axes) {
    if (axis.values.empty())
      throw ConfigError("nothing to search: " + flag(axis.setting) + " has no value", {}, ExitCode::usage);
  }
  std::vector<PlanCandidate> out;
  for (std::size_t i = 0; i < grid_size(question.axes); ++i) {
    std::vector<std::string> point = grid_point(question.axes, i);
    std::vector<std::pair<std::string, std::string>> values;
    for (std::size_t a = 0; a < point.size(); ++a)
      values.emplace_back(question.axes[a].setting, std::move(point[a]));
    PlanCandidate c = candidate_of(question, std::move(values));
    if (question.max_gpus == 0 || c.all_gpus() <= question.max_gpus) out.push_back(std::move(c));
  }
  if (out.empty()) {
    throw ConfigError(
        fmt::format("nothing to search: no configuration takes {} GPUs or fewer", question.max_gpus),
        "--max-gpus, or a smaller --tensor-parallel-size", ExitCode::usage);
  }
  return out;
}

std::optional<Plan> plan_pools(const PlanQuestion& question, const Plan& prefill, const Plan& decode) {
  constexpr int kMost = 4;  // replicas of a pool: larger units waste less and are harder to size
  if (prefill.estimate.prefill_rate <= 0 || decode.estimate.decode_rate <= 0) return std::nullopt;
  if (server_settings(prefill.candidate) != server_settings(decode.candidate)) return std::nullopt;
  const int p_gpus = prefill.candidate.all_gpus(), d_gpus = decode.candidate.all_gpus();
  // GPUs that the target takes; without one, GPUs for each request per second.
  const auto spent = [&](int gpus, double rate) {
    return question.target_rps > 0 ? gpus * std::ceil(question.target_rps / rate) : gpus / rate;
  };
  double best = 0;
  int most_p = 0, most_d = 0;
  for (int p = 1; p <= kMost; ++p) {
    for (int d = 1; d <= kMost; ++d) {
      const int gpus = p * p_gpus + d * d_gpus;
      if (question.max_gpus > 0 && gpus > question.max_gpus) continue;
      const double now =
          spent(gpus, std::min(p * prefill.estimate.prefill_rate, d * decode.estimate.decode_rate));
      if (best == 0 || now < best * (1 - 1e-9)) best = now, most_p = p, most_d = d;
    }
  }
  if (best == 0) return std::nullopt;
  Plan out;
  PlanCandidate& c = out.candidate;
  c = prefill.candidate;
  c.prefill = most_p, c.decode = most_d;
  c.gpus.clear();
  c.gpus[device_of(prefill.candidate)] += most_p * p_gpus;
  c.gpus[device_of(decode.candidate)] += most_d * d_gpus;
  PoolSettings& pools = c.scenario.pools;
  pools.prefill_replicas = most_p, pools.decode_replicas = most_d;
  pools.decode_gpu = decode.candidate.scenario.gpu;
  pools.decode_tensor_parallel_size = decode.candidate.scenario.tensor_parallel_size;
  pools.fabric = "uncontended";  // for thousands of runs; the scenario of one plan may contend
  out.estimate = prefill.estimate;
  out.estimate.refused.clear();
  out.estimate.decode_rate = decode.estimate.decode_rate;
  out.estimate.tpot_ms = decode.estimate.tpot_ms;
  out.estimate.rate = std::min(most_p * out.estimate.prefill_rate, most_d * out.estimate.decode_rate);
  return out;
}

std::string describe(const PlanCandidate& c) {
  const Scenario& s = c.scenario;
  std::string out = device_of(c) + " " + split_name(s);
  if (c.prefill > 0) {
    Scenario decode = s;
    decode.tensor_parallel_size = s.pools.decode_tensor_parallel_size;
    const std::string other = load_device(s.pools.decode_gpu).name + " " + split_name(decode);
    out = out == other ? fmt::format("{}P+{}D {}", c.prefill, c.decode, out)
                       : fmt::format("{}P {} + {}D {}", c.prefill, out, c.decode, other);
  }
  for (const auto& [setting, value] : server_settings(c)) out += fmt::format(", {} {}", setting, value);
  return out;
}

std::string deploy_command(const PlanCandidate& c) {
  if (c.prefill == 0) return command_of(c, c.scenario.tensor_parallel_size);
  return command_of(c, c.scenario.tensor_parallel_size) + "   # prefill\n" +
         command_of(c, c.scenario.pools.decode_tensor_parallel_size) + "   # decode";
}

}  // namespace orrery
