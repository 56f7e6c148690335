#include "cmd_explain.hpp"

#include <algorithm>
#include <cstdio>

#include <fmt/format.h>
#include <unistd.h>

#include "command.hpp"
#include "ops/context_parallel.hpp"
#include "ops/equal_sequences.hpp"
#include "options.hpp"
#include "report/text.hpp"
#include "scenario/deployment.hpp"
#include "scenario/step_table.hpp"
#include "scenario_options.hpp"

namespace orrery {
namespace {

/// The step a user asks about.
struct StepQuestion {
  std::int64_t batch = 0;  ///< sequences that decode
  Tokens ctx = 0;          ///< tokens each of them reads
  Tokens prefill = 0, past = 0;
};

void check(const StepQuestion& q, const Deployment& server) {
  if (q.batch == 0 && q.prefill == 0) {
    throw ConfigError("no step to explain: it has neither decoding sequences nor a prompt",
                      "--batch 32 --ctx 2048 for a decode step, --prefill 4096 for a prompt, or both",
                      ExitCode::usage);
  }
  if (q.batch > 0 && q.ctx == 0) {
    throw ConfigError(
        fmt::format("{} sequences decode, and how much context each reads is not said", q.batch),
        "--ctx N: tokens in the KV cache, the new one included", ExitCode::usage);
  }
  const Tokens longest = std::max(q.ctx, q.prefill + q.past);
  if (longest > server.max_model_len) {
    throw ConfigError(fmt::format("a context of {} tokens is beyond the {} of {}", grouped(longest),
                                  grouped(server.max_model_len), server.model.name));
  }
}

BatchShape shape_of(const StepQuestion& q, const ModelSpec& model) {
  BatchShape shape = equal_decodes(model.caps(), q.batch, q.ctx);
  if (q.prefill > 0) shape.chunks.push_back({q.prefill, q.past});
  return shape;
}

/// "one step of 32 sequences at 2,048 tokens, beside 512 prompt tokens after 1,024".
std::string describe(const StepQuestion& q) {
  std::string out = "one step of ";
  if (q.batch > 0) {
    out += fmt::format("{} decoding sequence{} at {} tokens", grouped(q.batch), q.batch == 1 ? "" : "s",
                       grouped(q.ctx));
  }
  if (q.prefill > 0) {
    out += fmt::format("{}{} prompt tokens", q.batch > 0 ? " and " : "", grouped(q.prefill));
    if (q.past > 0) out += fmt::format(" after {} cached", grouped(q.past));
  }
  return out;
}

/// "llama-3.1-8b bf16 on h100-sxm, vllm@0.15.1: one step of 33 decoding sequences (padded to a graph of 40)".
std::string heading(const StepQuestion& q, const Deployment& server, const BatchShape& shape) {
  const Shard& shard = server.lowering.shard;
  const Tokens own = tokens_of_rank(shape, shard.cp).tokens();
  const std::int64_t padded = server.pricer().plan().padded(own, q.prefill > 0);
  return fmt::format(
      "{} {} on {}{}, {}: {}{}", server.model.name, name(server.lowering.precision.weight),
      server.device.name,
      shard.gpus() > 1
          ? fmt::format(" ({}, times of one GPU{})", name(shard), shard.pp > 1 ? " of each stage" : "")
          : "",
      server.engine.id(), describe(q), padded > own ? fmt::format(" (padded to a graph of {})", padded) : "");
}

std::string notes(const StepQuestion& q, const Deployment& server) {
  std::string out;
  const Tokens budget = server.settings.max_num_batched_tokens;
  if (q.batch + q.prefill > budget) {
    out += fmt::format(" {} would split this over several steps: max_num_batched_tokens is {}.\n",
                       server.engine.id(), grouped(budget));
  }
  if (q.batch > server.settings.max_num_seqs) {
    out += fmt::format(" {} would not run this many at once: max_num_seqs is {}.\n", server.engine.id(),
                       grouped(server.settings.max_num_seqs));
  }
  if (q.batch * q.ctx > server.kv.tokens()) {
    out += fmt::format(" The KV cache holds {} tokens: this set needs {}.\n", grouped(server.kv.tokens()),
                       grouped(q.batch * q.ctx));
  }
  for (const auto& line : server.cost->sources()) {
    if (line.rfind("engine kernel factor", 0) == 0) out += " " + line + "\n";
  }
  return out;
}

/// Tokens each decoding sequence gains: 1, or what speculation is expected to bring.
double tokens_per_step(const Deployment& server) {
  return server.speculation.decoder.tokens_per_step();
}

/// The part of the step that drafting models take.
double draft_share_of(const StepQuestion& q, const Deployment& server, const BatchShape& shape) {
  const DecodeSet set = equal_sequences(server.model.caps(), q.batch, q.ctx);
  StepPricer& pricer = server.pricer();
  if (shape.chunks.empty()) {
    pricer.account_decode(set, pricer.decode(set), 1);
  } else {
    pricer.account_mixed(set, shape.chunks, pricer.mixed(set, shape.chunks));
  }
  const TimeShares shares = pricer.shares();
  double all = shares.host;
  for (const double seconds : shares.by_provenance) all += seconds;
  return all > 0 ? shares.draft / all : 0;
}

/// What speculation does to the step, one line; "" without it.
std::string speculation(const StepQuestion& q, const Deployment& server, const BatchShape& shape) {
  if (server.speculation.decoder.plain()) return "";
  return fmt::format(" Speculation: {}; drafting is {:.1f} % of the step.\n", describe(server.speculation),
                     100 * draft_share_of(q, server, shape));
}

/// What the step yields: "3,315 output tok/s (104 per sequence)", of each of `ranks` that step together.
std::string rates(const StepQuestion& q, double tokens, double step_s, int ranks) {
  std::string out;
  if (q.batch > 0) {
    out += fmt::format(" {} output tok/s ({} per sequence)",
                       grouped(static_cast<double>(q.batch) * tokens / step_s, 0), brief(tokens / step_s));
  }
  if (q.prefill > 0) {
    out += fmt::format("{} {} prompt tok/s", out.empty() ? "" : ",",
                       grouped(static_cast<double>(q.prefill) / step_s, 0));
  }
  if (ranks > 1) out += fmt::format(" on each of {} data-parallel ranks", ranks);
  return out + " if every step is like this one.\n";
}

/// " Stages take 5.1, 5.2 ms and links between them 40 us: with a batch in each, one is done every 5.2 ms."
std::string pipeline(const StepExplanation& step, const Shard& shard) {
  if (shard.pp < 2) return "";
  std::vector<std::string> each;
  double sum = 0, slowest = 0;
  for (const Seconds stage : step.stages) {
    each.push_back(brief(stage.value * 1e3));
    sum += stage.value, slowest = std::max(slowest, stage.value);
  }
  return fmt::format(
      " Stages take {} ms, what is sent between them {} ms in all: with a batch in each, one is done every "
      "{} ms.\n",
      fmt::join(each, ", "), brief((step.device.value - sum) * 1e3), brief(slowest * 1e3));
}

/// " Offloading: weights 50 % in host memory ...: computing takes 3.1 ms, loading 170.2." "" without it.
std::string offloading(const StepExplanation& step, const Offload& offload) {
  if (offload.policy.none()) return "";
  const std::string policy = fmt::format(" Offloading: {}.\n", describe(offload));
  if (offload.policy.still()) return policy;
  std::string lanes = fmt::format("computing {} ms", brief(step.computed.value * 1e3));
  for (std::size_t i = 0; i < step.lanes.size(); ++i) {
    if (step.lanes[i].value > 0)
      lanes += fmt::format(", {} {}", name(static_cast<OffloadLane>(i)), brief(step.lanes[i].value * 1e3));
  }
  return policy + fmt::format(" Device time: {}, {} {} ms.\n", lanes,
                              offload.policy.overlap ? "of which the longest shows:" : "one after the other:",
                              brief(step.device.value * 1e3));
}

void print_json(const StepQuestion& q, const Deployment& server, const BatchShape& shape,
                const StepExplanation& step, const StepTable& table) {
  const Tokens own = tokens_of_rank(shape, server.lowering.shard.cp).tokens();
  Json out = {{"model", server.model.name},
              {"gpu", server.device.name},
              {"engine", server.engine.id()},
              {"tensor_parallel_size", server.lowering.shard.tp},
              {"pipeline_parallel_size", server.lowering.shard.pp},
              {"data_parallel_ranks", server.lowering.shard.dp},
              {"batch", q.batch},
              {"context", q.ctx},
              {"prefill", q.prefill},
              {"past", q.past},
              {"tokens", shape.tokens()},
              {"padded_tokens", server.pricer().plan().padded(own, q.prefill > 0)}};
  if (server.lowering.shard.pp > 1) {
    for (const Seconds stage : step.stages) out["stages_s"].push_back(stage.value);
  }
  out.update(to_json(table));
  if (!server.offload.policy.none()) {
    out["offloading"] = {{"policy", describe(server.offload)}, {"computing_s", step.computed.value}};
    for (std::size_t i = 0; i < step.lanes.size(); ++i)
      out["offloading"][std::string(name(static_cast<OffloadLane>(i))) + "_s"] = step.lanes[i].value;
  }
  if (q.batch > 0)
    out["output_tokens_per_s"] = static_cast<double>(q.batch) * tokens_per_step(server) / table.total_s;
  if (!server.speculation.decoder.plain()) {
    out["speculation"] = Json::parse(to_json(server.speculation, draft_share_of(q, server, shape)).dump());
  }
  std::printf("%s\n", out.dump(2).c_str());
}

int step(const std::vector<std::string>& args) {
  StepQuestion q;
  Options options(
      "explain step",
      "Where the time of one engine step goes: each operator's FLOPs, bytes, time and what bounds it.");
  options.group("step", "Step")
      .value("batch,b", q.batch, "N", "sequences that decode one token each")
      .value("ctx", q.ctx, "N", "tokens each of them reads from the KV cache")
      .value("prefill", q.prefill, "N", "prompt tokens computed in the same step")
      .value("past", q.past, "N", "tokens of that prompt that are already in the KV cache");
  ScenarioOptions scenario(options, {"model", "offload", "engine"});
  options.example("orrery explain step -m llama-3.1-8b -g h100-sxm --batch 32 --ctx 2048")
      .example("orrery explain step -m llama-3.1-70b -g h100-sxm -tp 8 --prefill 8k --past 16k");
  if (!options.parse(args)) return 0;
  const Deployment server = deploy(scenario.resolve());
  check(q, server);
  const BatchShape shape = shape_of(q, server.model);
  const StepExplanation explained = server.pricer().explain(shape);
  const StepTable table = step_table(explained, server.device, server.topology);
  if (options.output().json) {
    print_json(q, server, shape, explained, table);
    return 0;
  }
  RenderOptions how = render_options_for(STDOUT_FILENO);
  how.color = options.output().color_stdout();
  fmt::print("{}\n\n", heading(q, server, shape));
  fmt::print("{}{}{}{}", render(table, server.device, how), pipeline(explained, server.lowering.shard),
             rates(q, tokens_per_step(server), table.total_s, server.lowering.shard.dp) +
                 offloading(explained, server.offload) + speculation(q, server, shape),
             notes(q, server));
  for (const auto& warning : server.warnings) fmt::print(stderr, "warning: {}\n", warning);
  return 0;
}

int run(const std::vector<std::string>& args) {
  return dispatch(
      "explain", "Why a prediction is what it is.",
      {{"step", "the kernels of one engine step and what bounds them", step},
       {"run", "where a latency of a run comes from, and what would change it", explain_run_command},
       {"arch", "architectures against the length of the context", explain_arch}},
      args);
}

const Registration<Commands> registered{"explain", "why a step takes as long as it does, kernel by kernel",
                                        run};

}  // namespace
}  // namespace orrery
