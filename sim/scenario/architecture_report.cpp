#include "scenario/architecture_report.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include <fmt/format.h>

#include "base/error.hpp"
#include "ops/equal_sequences.hpp"

namespace orrery {
namespace {

/// The prompt in chunks of the token budget, each against what came before it.
double prefill_seconds(StepPricer& pricer, Tokens prompt, Tokens budget) {
  double seconds = 0;
  for (Tokens past = 0; past < prompt; past += budget) {
    const PrefillChunk chunk{std::min(budget, prompt - past), past};
    seconds += to_seconds(pricer.mixed({}, {&chunk, 1})).value;
  }
  return seconds;
}

/// Share of a decode step's kernels that no measurement and no fit stands behind.
double analytic_share(const StepPricer& pricer, const ModelSpec& model, std::int64_t seqs, Tokens context) {
  const auto shape = equal_decodes(model.caps(), seqs, context);
  double all = 0, analytic = 0;
  for (const PricedCall& call : pricer.explain(shape).calls) {
    all += call.total.value;
    if (call.time.provenance == Provenance::analytic) analytic += call.total.value;
  }
  return all > 0 ? analytic / all : 0;
}

constexpr std::array<ArchitectureAxis, 6> kAxes{{{"kv", "KV and state per sequence, MiB per GPU"},
                                                 {"alone", "decode step of one sequence, ms"},
                                                 {"step", "decode step of the largest batch, ms"},
                                                 {"prefill", "prompt of this length, s"},
                                                 {"batch", "sequences that fit at once"},
                                                 {"throughput", "output tokens per second"}}};

}  // namespace

ArchitectureCurve architecture_curve(const Deployment& server, std::span<const Tokens> contexts,
                                     std::int64_t most_seqs) {
  StepPricer& pricer = server.pricer();
  const ModelSpec& model = server.model;
  ArchitectureCurve curve;
  curve.model = model.name;
  curve.gpu = server.device.name;
  curve.tp = server.lowering.shard.tp;
  curve.parameters = model.parameters();
  curve.active_parameters = model.active_parameters();
  curve.weight_bytes = server.kv.weight_bytes;
  for (const Tokens context : contexts) {
    ArchitecturePoint point;
    point.context = context;
    point.beyond = context > model.max_model_len;
    point.sequence_bytes = model.sequence_bytes(context, server.lowering);
    const double fits = std::floor(server.kv.concurrency(context));
    point.memory_bound = fits < static_cast<double>(most_seqs);
    point.batch = point.memory_bound ? static_cast<std::int64_t>(fits) : most_seqs;
    point.alone_s = to_seconds(pricer.decode(equal_sequences(model.caps(), 1, context)).first).value;
    if (point.batch > 0) {
      point.step_s =
          to_seconds(pricer.decode(equal_sequences(model.caps(), point.batch, context)).first).value;
      point.analytic = analytic_share(pricer, model, point.batch, context);
    }
    point.prefill_s = prefill_seconds(pricer, context, server.settings.max_num_batched_tokens);
    curve.points.push_back(point);
  }
  return curve;
}

const ArchitectureAxis& axis_of(ArchitectureMetric metric) {
  return kAxes[static_cast<std::size_t>(metric)];
}

double value_of(const ArchitecturePoint& point, ArchitectureMetric metric) {
  switch (metric) {
    case ArchitectureMetric::sequence_bytes:
      return point.sequence_bytes / (1 << 20);
    case ArchitectureMetric::alone:
      return point.alone_s * 1e3;
    case ArchitectureMetric::step:
      return point.step_s * 1e3;
    case ArchitectureMetric::prefill:
      return point.prefill_s;
    case ArchitectureMetric::batch:
      return static_cast<double>(point.batch);
    case ArchitectureMetric::throughput:
      return point.tokens_per_s();
  }
  return 0;
}

ArchitectureMetric parse_architecture_metric(const std::string& word) {
  std::string words;
  for (std::size_t i = 0; i < kAxes.size(); ++i) {
    if (word == kAxes[i].word) return static_cast<ArchitectureMetric>(i);
    words += (i > 0 ? " " : "") + std::string(kAxes[i].word);
  }
  throw ConfigError(fmt::format("nothing to plot is called '{}'", word), "valid values: " + words,
                    ExitCode::usage);
}

}  // namespace orrery
