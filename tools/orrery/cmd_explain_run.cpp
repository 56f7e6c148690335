#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>

#include <fmt/format.h>
#include <unistd.h>

#include "base/error.hpp"
#include "cmd_explain.hpp"
#include "options.hpp"
#include "report/text.hpp"
#include "scenario/explain_run.hpp"
#include "scenario/run_scenario.hpp"

namespace orrery {
namespace {

struct Part {
  const char* label;
  double ms;
  std::string why;
};

std::vector<Part> parts_of(const RunExplanation& e) {
  const TimeParts& p = e.parts;
  return {
      {"waiting for a slot", p.slot_wait, fmt::format("max_num_seqs = {} ran", e.summary.info.max_num_seqs)},
      {"waiting for KV blocks", p.memory_wait, "fewer were free than its prompt takes"},
      {"waiting its turn", p.turn_wait, "the step in flight, and prompts before it"},
      {"prefill", p.prefill, "its own prompt, by its share of the tokens"},
      {"prefill, shared steps", p.prefill_shared, "other prompts and decodes in the same steps"},
      {"prefill, paused", p.prefill_paused, "between its chunks, or preempted"},
      {"decode", p.decode, "steps that only decode"},
      {"decode beside prompts", p.decode_interfered, "others' prompts in the same steps"},
      {"decode, paused", p.decode_paused, "in no step: preempted, or on its way between replicas"},
      {"front end", p.front_end, "on the way in and out"}};
}

std::string bar(double share, bool ascii) {
  constexpr double kCells = 28;
  const auto cells = static_cast<int>(std::lround(share * kCells));
  std::string out;
  for (int i = 0; i < cells; ++i) out += ascii ? "#" : "█";
  return out + std::string(static_cast<std::size_t>(std::max(0, 28 - cells)), ' ');
}

std::string render(const RunExplanation& e, const RenderOptions& options) {
  const Style style(options);
  const bool per_token = e.question.metric == Metric::tpot || e.question.metric == Metric::itl;
  std::string out = fmt::format(" {} = {} ms. Where it goes{} (mean over {} of {} requests{}):\n",
                                style.bold(e.question.text), brief(e.value),
                                per_token ? ", from the first token to the last" : "", e.band, e.requests,
                                e.question.mean ? "" : ", those around it");
  double sum = 0;
  for (const Part& part : parts_of(e)) sum += part.ms;
  for (const Part& part : parts_of(e)) {
    if (part.ms < 0.005 * sum) continue;
    out += fmt::format("   {:<23}{:>9} ms {} {}\n", part.label, brief(part.ms),
                       bar(part.ms / sum, options.ascii), style.dim(part.why));
  }
  out += "\n What would change it (each simulated):\n";
  for (const WhatIf& w : e.what_ifs) {
    if (!w.refused.empty()) {
      out += style.dim(fmt::format("   {:<40} cannot be done: {}", w.change, w.refused)) + "\n";
      continue;
    }
    const double share = w.value / e.value - 1;
    const std::string percent = fmt::format("{:+.0f} %", 100 * share + 0.0);
    out += fmt::format("   {:<40}{:>9} ms  {}   {}\n", w.change, brief(w.value),
                       share < -0.01  ? style.green(fmt::format("{:>6}", percent))
                       : share > 0.01 ? style.red(fmt::format("{:>6}", percent))
                                      : fmt::format("{:>6}", percent),
                       style.dim(fmt::format("TTFT p99 {} ms {} TPOT p99 {} ms", brief(w.ttft_p99),
                                             style.dot(), brief(w.tpot_p99))));
  }
  return out;
}

}  // namespace

int explain_run_command(const std::vector<std::string>& args) {
  std::string folder, metric = "ttft@p99";
  Options options("explain run",
                  "Where a latency of a run comes from, and which single change would help most.");
  options.positional("DIR", folder, "a run directory")
      .group("explain", "Explain")
      .value("metric", metric, "METRIC", "ttft@p99 (default), tpot@mean, e2e@p50, ...");
  options.example("orrery explain run runs/mine --metric tpot@p99");
  if (!options.parse(args)) return 0;
  const MetricQuestion question = parse_metric_question(metric);
  std::error_code ignored;
  const std::string manifest = folder + "/manifest.json";
  if (!std::filesystem::exists(manifest, ignored)) {
    throw ConfigError(folder + " is no run directory: it has no manifest.json",
                      "runs write one with --out DIR");
  }
  const RunExplanation e = explain_run(resolve(read_manifest(manifest)), question);
  if (options.output().json) {
    std::fputs((to_json(e).dump(2) + "\n").c_str(), stdout);
  } else {
    RenderOptions how = render_options_for(STDOUT_FILENO);
    if (options.output().color != "auto") how.color = options.output().color == "always";
    std::fputs(render(e, how).c_str(), stdout);
  }
  return 0;
}

}  // namespace orrery
