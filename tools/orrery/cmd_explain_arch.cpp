#include <cstdio>
#include <fstream>

#include <fmt/format.h>

#include "cmd_explain.hpp"
#include "options.hpp"
#include "report/text.hpp"
#include "scenario/architecture_report.hpp"
#include "scenario_options.hpp"

namespace orrery {
namespace {

/// What is asked of every architecture.
struct ArchQuestion {
  std::vector<std::string> models;
  std::string contexts = "1k..1M", plot = "throughput", svg;
  std::int64_t most_seqs = 256;
};

/// "1k..1M" (every doubling, k = 1024) or a list "4k,32k,128k".
std::vector<Tokens> parse_contexts(const std::string& text) {
  const auto one = [&](std::string part) {
    for (char& c : part) c = c == 'k' ? 'K' : c == 'm' ? 'M' : c;
    std::int64_t value = 0;
    Options::read_value(part, value);
    if (value < 1)
      throw ConfigError(fmt::format("--ctx: '{}' is not a length", part), "1k..1M, or 4k,32k",
                        ExitCode::usage);
    return value;
  };
  std::vector<Tokens> out;
  if (const auto dots = text.find(".."); dots != std::string::npos) {
    const Tokens low = one(text.substr(0, dots)), high = one(text.substr(dots + 2));
    for (Tokens n = low; n <= high; n *= 2) out.push_back(n);
  } else {
    for (std::size_t begin = 0; begin <= text.size();) {
      const auto end = std::min(text.find(',', begin), text.size());
      out.push_back(one(text.substr(begin, end - begin)));
      begin = end + 1;
    }
  }
  if (out.empty())
    throw ConfigError(fmt::format("--ctx: '{}' holds no length", text), "1k..1M, or 4k,32k", ExitCode::usage);
  return out;
}

Json to_json(const std::vector<ArchitectureCurve>& curves) {
  Json all = Json::array();
  for (const auto& curve : curves) {
    Json points = Json::array();
    for (const auto& p : curve.points) {
      points.push_back({{"context", p.context},
                        {"beyond_max_model_len", p.beyond},
                        {"sequence_bytes_per_gpu", p.sequence_bytes},
                        {"max_batch", p.batch},
                        {"limited_by", p.memory_bound ? "memory" : "max_num_seqs"},
                        {"decode_step_alone_s", p.alone_s},
                        {"decode_step_s", p.step_s},
                        {"prefill_s", p.prefill_s},
                        {"output_tokens_per_s", p.tokens_per_s()},
                        {"analytic_share", p.analytic}});
    }
    all.push_back({{"model", curve.model},
                   {"gpu", curve.gpu},
                   {"tensor_parallel_size", curve.tp},
                   {"parameters", curve.parameters},
                   {"active_parameters", curve.active_parameters},
                   {"weight_bytes_per_gpu", curve.weight_bytes},
                   {"points", std::move(points)}});
  }
  return all;
}

void print_curve(const ArchitectureCurve& curve) {
  fmt::print("{} on {}{}: {:.2f} B parameters, {:.2f} B per token, weights {:.1f} GiB per GPU\n", curve.model,
             curve.gpu, curve.tp > 1 ? fmt::format(" x {}", curve.tp) : "", curve.parameters * 1e-9,
             curve.active_parameters * 1e-9, curve.weight_bytes / kGiB);
  fmt::print("{:>10}{:>13}{:>11}{:>12}{:>12}{:>12}{:>12}{:>10}\n", "context", "KV+state", "prefill", "alone",
             "batch", "its step", "output", "analytic");
  fmt::print("{:>10}{:>13}{:>11}{:>12}{:>12}{:>12}{:>12}{:>10}\n", "tokens", "MiB/seq", "s", "ms/token",
             "fits", "ms", "tok/s", "share");
  for (const auto& p : curve.points) {
    fmt::print("{:>10}{:>13}{:>11}{:>12}{:>12}{:>12}{:>12}{:>10}\n",
               grouped(p.context) + (p.beyond ? "*" : ""), brief(p.sequence_bytes / (1 << 20)),
               brief(p.prefill_s), brief(p.alone_s * 1e3),
               fmt::format("{}{}", p.memory_bound ? "" : ">= ", grouped(p.batch)),
               p.batch > 0 ? brief(p.step_s * 1e3) : "-", p.batch > 0 ? brief(p.tokens_per_s()) : "-",
               p.batch > 0 ? percent(p.analytic) : "-");
  }
  fmt::print("\n");
}

bool any_beyond(const std::vector<ArchitectureCurve>& curves) {
  for (const auto& curve : curves) {
    for (const auto& p : curve.points) {
      if (p.beyond) return true;
    }
  }
  return false;
}

/// The scenario of one model; its own longest context is no limit here, only what fits.
Deployment deploy_model(Scenario scenario, const std::string& model) {
  scenario.model = model;
  if (!scenario.max_model_len) scenario.max_model_len = 1024;
  return deploy(scenario);
}

}  // namespace

int explain_arch(const std::vector<std::string>& args) {
  ArchQuestion q;
  Options options(
      "explain arch",
      "What architectures cost against the length of the context: memory, latency and throughput.");
  options.group("architectures", "Architectures")
      .value("ctx", q.contexts, "RANGE", "1k..1M (every doubling), or lengths: 4k,32k,128k")
      .value("max-batch", q.most_seqs, "N", "the largest batch looked at (256)")
      .value("plot", q.plot, "kv|alone|step|prefill|batch|throughput", "what is drawn (throughput)")
      .value("svg", q.svg, "FILE", "also write the drawing to this file")
      .positionals("MODEL", q.models, "names or paths; -m MODEL for a single one");
  ScenarioOptions scenario(options, {"model", "engine"});
  options.example("orrery explain arch llama-2-7b mistral-7b-v0.1 falcon-mamba-7b -g h100-sxm --ctx 1k..256k")
      .example("orrery explain arch deepseek-v3 llama-3.1-405b -g h200-sxm -tp 8 --plot kv");
  if (!options.parse(args)) return 0;
  const ArchitectureMetric metric = parse_architecture_metric(q.plot);
  const auto contexts = parse_contexts(q.contexts);
  const Scenario base = scenario.resolve();
  if (!base.model.empty()) q.models.insert(q.models.begin(), base.model);
  if (q.models.empty()) {
    throw ConfigError("no architecture is named",
                      "orrery explain arch llama-3.1-8b falcon-mamba-7b -g h100-sxm", ExitCode::usage);
  }
  std::vector<ArchitectureCurve> curves;
  for (const auto& model : q.models) {
    curves.push_back(
        architecture_curve(deploy_model(base, model), contexts, std::max<std::int64_t>(1, q.most_seqs)));
  }
  if (!q.svg.empty()) std::ofstream(q.svg) << architecture_svg(curves, metric);
  if (options.output().json) {
    std::printf("%s\n", to_json(curves).dump(2).c_str());
    return 0;
  }
  for (const auto& curve : curves) print_curve(curve);
  fmt::print("{}", architecture_plot(curves, metric, 76, 15));
  if (any_beyond(curves))
    fmt::print("\n * longer than the model was made for: what it would cost, not what it would answer\n");
  return 0;
}

}  // namespace orrery
