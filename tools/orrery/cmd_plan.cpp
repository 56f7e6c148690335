#include <algorithm>
#include <cstdio>
#include <thread>

#include <unistd.h>

#include "base/error.hpp"
#include "command.hpp"
#include "options.hpp"
#include "plan_table.hpp"
#include "scenario/plan.hpp"
#include "scenario/value_forms.hpp"
#include "scenario_options.hpp"

namespace orrery {
namespace {

/// "h100-sxm=2.5,l40s=0.9".
void parse_prices(const std::string& text, std::map<std::string, double>& out) {
  for (const std::string& word : comma_words(text)) {
    const auto equals = word.find('=');
    if (equals == std::string::npos)
      throw ConfigError("expected a device and its price, found '" + word + "'",
                        "--price h100-sxm=2.5,l40s=0.9");
    out[load_device(word.substr(0, equals)).name] = parse_number(word.substr(equals + 1));
  }
}

bool has(const std::vector<Axis>& axes, const std::string& setting) {
  return std::any_of(axes.begin(), axes.end(), [&](const Axis& a) { return a.setting == setting; });
}

/// Moves the devices out of the scenario, and searches what nobody fixed.
void complete(PlanQuestion& q) {
  std::vector<std::string> gpus;
  const auto given = [&](const char* name) {
    return has(q.axes, name) ||
           std::any_of(q.base.begin(), q.base.end(), [&](const auto& a) { return a.name == name; });
  };
  for (const Assignment& a : q.base) {
    if (a.name == "gpu") gpus = comma_words(a.value);
  }
  q.base.erase(std::remove_if(q.base.begin(), q.base.end(), [](const auto& a) { return a.name == "gpu"; }),
               q.base.end());
  if (gpus.empty() && !has(q.axes, "gpu"))
    throw ConfigError("no GPU is given", "--gpu h100-sxm,l40s (orrery gpus list)", ExitCode::usage);
  if (!given("tensor_parallel_size"))
    q.axes.insert(q.axes.begin(), {"tensor_parallel_size", {"1", "2", "4", "8"}});
  if (!has(q.axes, "gpu")) q.axes.insert(q.axes.begin(), {"gpu", gpus});
  if (!given("max_num_batched_tokens")) q.axes.push_back({"max_num_batched_tokens", {"2048", "8192"}});
  if (!given("max_num_seqs")) q.axes.push_back({"max_num_seqs", {"128", "512"}});
}

/// Prices of devices that --price does not name: the scenario's, else the device's own.
void add_prices(PlanQuestion& q, const Scenario& scenario) {
  for (const Axis& axis : q.axes) {
    if (axis.setting != "gpu") continue;
    for (const std::string& name : axis.values) {
      const DeviceProfile device = load_device(name);
      const auto usd = scenario.gpu_hour_usd ? scenario.gpu_hour_usd : device.usd_per_hour;
      if (usd) q.usd_per_gpu_hour.emplace(device.name, *usd);
    }
  }
  if (scenario.workload.max_concurrency > 0)
    throw ConfigError("a plan is made for a rate of requests, not for a number of users",
                      "drop --max-concurrency; --target-rps 50", ExitCode::usage);
}

int run(const std::vector<std::string>& args) {
  std::string file;
  bool no_pools = false;
  std::int64_t top = 12, simulate = 24;
  PlanQuestion question;
  question.threads = static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
  Options options("plan",
                  "Finds the cheapest GPUs, split and settings that serve a load within its promises.");
  options.positional("SCENARIO", file, "a scenario file (JSON); flags win over it", false);
  options.group("plan", "Plan")
      .value("max-gpus", question.max_gpus, "N", "no more GPUs than these")
      .value(
          "vary", [&](const std::string& v) { question.axes.push_back(parse_axis(v)); }, "SETTING=A,B",
          "values to try for any setting; may be repeated (default: tensor parallelism, the token budget, "
          "sequences)")
      .value(
          "price", [&](const std::string& v) { parse_prices(v, question.usd_per_gpu_hour); }, "GPU=USD,...",
          "of a GPU for an hour; without prices, GPUs are counted")
      .flag("no-pools", no_pools, "do not try prefill and decode on GPUs of their own")
      .value("simulate", simulate, "N", "configurations that are simulated, the most promising (default 24)")
      .value("top", top, "N", "rows of the table (default 12)")
      .value("threads", question.threads, "N", "configurations simulated at once (default: all cores)");
  ScenarioOptions scenario(options);
  options.example(
      "orrery plan -m llama-3.1-8b --gpu h200,l40s --trace builtin:conversation --target-rps 50 "
      "--slo 'ttft<=1000ms@p99,tpot<=50ms@p99' --max-gpus 16");
  if (!options.parse(args)) return 0;
  if (!file.empty()) question.base = read_scenario_file(file);
  const Assignments own = scenario.assignments(resolve(question.base).engine);
  question.base.insert(question.base.end(), own.begin(), own.end());
  const Scenario asked = resolve(question.base);
  question.target_rps = asked.workload.target_rps;
  question.disaggregated = !no_pools;
  question.simulate = static_cast<std::size_t>(simulate);
  complete(question);
  add_prices(question, asked);
  if (options.output().progress()) {
    question.progress = [](std::size_t done, std::size_t all) {
      std::fprintf(stderr, "\r%zu of %zu configurations%s", done, all, done == all ? "\r\033[K" : "");
    };
  }
  const PlanAnswer answer = make_plan(question);
  if (options.output().json) {
    std::fputs((to_json(answer).dump(1) + "\n").c_str(), stdout);
  } else {
    RenderOptions how = render_options_for(STDOUT_FILENO);
    if (options.output().color != "auto") how.color = options.output().color == "always";
    std::fputs(render_plan(answer, static_cast<std::size_t>(top), how).c_str(), stdout);
  }
  return static_cast<int>(answer.infeasible.empty() ? ExitCode::ok : ExitCode::infeasible);
}

const Registration<Commands> registered{"plan", "find the cheapest GPUs and settings that keep the promises",
                                        run};

}  // namespace
}  // namespace orrery
