#include "scenario/deployment.hpp"

#include <algorithm>
#include <filesystem>

#include <fmt/format.h>

#include "base/error.hpp"
#include "cost/scaled.hpp"
#include "scenario/expert_settings.hpp"
#include "scenario/fleet.hpp"
#include "scenario/kv_offloading.hpp"
#include "scenario/migration.hpp"
#include "scenario/mixed_replicas.hpp"
#include "scenario/parallelism.hpp"
#include "scenario/pools.hpp"
#include "scenario/precision.hpp"
#include "serving/router.hpp"

namespace orrery {

namespace {

std::string origin_of(const Scenario& s, const std::string& name) {
  const auto it = s.origin.find(name);
  return it == s.origin.end() ? "default" : it->second;
}

/// The scenario's engine arguments over the engine's defaults.
void override_settings(const Scenario& s, EngineSettings& e) {
  const auto take = [&](const char* name, const auto& given, auto& target) {
    if (!given) return false;
    target = static_cast<std::remove_reference_t<decltype(target)>>(*given);
    e.origin[name] = origin_of(s, name);
    return true;
  };
  take("max_num_batched_tokens", s.max_num_batched_tokens, e.max_num_batched_tokens);
  take("gpu_memory_utilization", s.gpu_memory_utilization, e.gpu_memory_utilization);
  take("block_size", s.block_size, e.block_size);
  take("enable_prefix_caching", s.enable_prefix_caching, e.enable_prefix_caching);
  take("enable_chunked_prefill", s.enable_chunked_prefill, e.enable_chunked_prefill);
  take("scheduler_reserve_full_isl", s.scheduler_reserve_full_isl, e.scheduler_reserve_full_isl);
  take("long_prefill_token_threshold", s.long_prefill_token_threshold, e.long_prefill_token_threshold);
  take("scheduling_policy", s.scheduling_policy, e.scheduling_policy);
  take("async_scheduling", s.async_scheduling, e.async_scheduling);
  take("enable_mixed_chunk", s.enable_mixed_chunk, e.enable_mixed_chunk);
  e.capture_size_given =
      take("max_cudagraph_capture_size", s.max_cudagraph_capture_size, e.max_cudagraph_capture_size);
  const auto flag = [&](const char* name, bool given, bool& target) {
    target = given;
    if (s.origin.count(name)) e.origin[name] = origin_of(s, name);
  };
  flag("enforce_eager", s.enforce_eager, e.enforce_eager);
  flag("disable_custom_all_reduce", s.disable_custom_all_reduce, e.disable_custom_all_reduce);
  if (!take("max_num_seqs", s.max_num_seqs, e.max_num_seqs) && e.max_num_seqs > e.max_num_batched_tokens) {
    e.max_num_seqs = e.max_num_batched_tokens;  // as vLLM lowers a default, never a given value
    e.origin["max_num_seqs"] += ", lowered to max_num_batched_tokens";
  }
}

Tokens choose_max_model_len(const Scenario& s, const ModelSpec& model) {
  if (!s.max_model_len) return model.max_model_len;
  if (*s.max_model_len > model.max_model_len) {
    throw ConfigError(fmt::format("max_model_len {} is beyond the {} tokens that {} was made for",
                                  *s.max_model_len, model.max_model_len, model.name),
                      fmt::format("--max-model-len {} or less", model.max_model_len));
  }
  return *s.max_model_len;
}

/// A budget that no full prompt fits is raised when it is a default, as vLLM does, and refused when it was
/// given.
void check_settings(const Scenario& s, EngineSettings& e, Tokens max_model_len) {
  if (!e.enable_chunked_prefill && e.max_num_batched_tokens < max_model_len) {
    if (s.max_num_batched_tokens) {
      throw ConfigError(
          fmt::format("max_num_batched_tokens {} is smaller than max_model_len {} and chunked prefill "
                      "is off: the longest prompts could never run",
                      e.max_num_batched_tokens, max_model_len),
          fmt::format("--max-num-batched-tokens {}, or --max-model-len {}, or "
                      "--enable-chunked-prefill",
                      max_model_len, e.max_num_batched_tokens));
    }
    e.max_num_batched_tokens = max_model_len;
    e.origin["max_num_batched_tokens"] += ", raised to max_model_len (chunked prefill is off)";
  }
  if (e.max_num_batched_tokens < e.max_num_seqs) {
    throw ConfigError(
        fmt::format("max_num_batched_tokens {} is smaller than max_num_seqs {}: each running sequence "
                    "needs a token in every step",
                    e.max_num_batched_tokens, e.max_num_seqs),
        fmt::format("--max-num-seqs {} or less, or --max-num-batched-tokens {} or more",
                    e.max_num_batched_tokens, e.max_num_seqs));
  }
}

/// Each running sequence needs its drafted tokens of a step's budget: a default is lowered to what fits.
void leave_room_for_drafts(const Scenario& s, const Decoder& decoder, EngineSettings& e) {
  const std::int64_t fit = e.max_num_batched_tokens / decoder.queries();
  if (e.max_num_seqs <= fit) return;
  if (s.max_num_seqs) {
    throw ConfigError(
        fmt::format("max_num_batched_tokens {} is smaller than max_num_seqs {} times the {} tokens "
                    "each verifies in a step",
                    e.max_num_batched_tokens, e.max_num_seqs, decoder.queries()),
        fmt::format("--max-num-seqs {} or less, or --max-num-batched-tokens {} or more", fit,
                    e.max_num_seqs * decoder.queries()));
  }
  e.max_num_seqs = fit;
  e.origin["max_num_seqs"] += ", lowered to leave room for drafted tokens";
}

/// SGLang divides its budgets among the ranks of attention (server_args.py: "the chunked prefill size is
/// adjusted"; scheduler: max_running_requests // dp_size).
void share_budgets(EngineSettings& e, int ranks) {
  e.max_num_batched_tokens = std::max<Tokens>(1, e.max_num_batched_tokens / ranks);
  e.max_num_seqs = std::max<std::int64_t>(1, e.max_num_seqs / ranks);
  for (const char* name : {"max_num_batched_tokens", "max_num_seqs"})
    e.origin[name] += fmt::format(", a {}th for each data-parallel rank", ranks);
}

/// What several stages cannot be given.
void check_pipeline(const Scenario& s, const Speculation& speculation) {
  if (s.pipeline_parallel_size > 1 && !speculation.decoder.plain()) {
    throw ConfigError(fmt::format("speculative_config: speculation over {} pipeline stages is not modelled",
                                  s.pipeline_parallel_size),
                      "--pipeline-parallel-size 1, or no --speculative-config", ExitCode::usage);
  }
}

KvCapacity choose_capacity(const Scenario& s, const Deployment& d) {
  MemoryPolicy policy = d.engine.memory_policy(d.settings);
  // vLLM turns groups of layers off where a connector moves blocks (config/vllm.py).
  policy.hybrid_groups = policy.hybrid_groups && !offloads_kv(s);
  policy.draft_weight_bytes = d.speculation.draft_weight_bytes;
  policy.draft_kv_bytes_per_token = d.speculation.draft_kv_bytes_per_token;
  policy.offload = d.offload.policy;
  const auto capacity = [&](Tokens length) {
    return kv_capacity(d.model, d.lowering, d.device, policy, d.settings.max_num_batched_tokens, length);
  };
  if (!s.num_gpu_blocks_override && !s.kv_cache_memory_bytes) return capacity(d.max_model_len);
  KvCapacity kv = capacity(1);  // the weights must fit all the same
  if (s.kv_cache_memory_bytes) {
    kv.blocks =
        static_cast<std::int64_t>(static_cast<double>(*s.kv_cache_memory_bytes) / kv.largest_block_bytes);
  }
  if (s.num_gpu_blocks_override) kv.blocks = *s.num_gpu_blocks_override;
  kv.kv_bytes = static_cast<double>(kv.blocks) * kv.block_bytes;
  if (const Tokens fits = kv.longest(d.max_model_len); fits < d.max_model_len) {
    throw ConfigError(fmt::format("{} KV blocks of {} tokens hold less than one sequence of max_model_len {}",
                                  kv.blocks, kv.block_size, d.max_model_len),
                      fits > 0 ? fmt::format("--max-model-len {}", fits) : std::string(),
                      ExitCode::infeasible);
  }
  return kv;
}

/// Router names are written with '-' or '_'.
std::string choose_router(std::string name) {
  std::replace(name.begin(), name.end(), '-', '_');
  const auto names = Registry<Routers>::names();
  for (const auto& known : names) {
    std::string plain = known;
    std::replace(plain.begin(), plain.end(), '-', '_');
    if (plain == name) return known;
  }
  throw ConfigError("unknown router '" + name + "'", suggestion(name, names), ExitCode::usage);
}

KernelCostModelPtr choose_cost_model(const Scenario& s, const Deployment& d,
                                     std::vector<std::string>& warnings) {
  std::error_code ignored;
  const bool calibrated = std::filesystem::exists(d.device.folder + "/fit.json", ignored) ||
                          std::filesystem::exists(d.device.folder + "/measured", ignored);
  if (s.cost_model != "auto") return Registry<CostModels>::find(s.cost_model).make(d.device, d.topology, "");
  if (!calibrated) {
    const auto from = nearest_fitted(d.device);
    warnings.push_back(fmt::format(
        "{} has no calibration: step times {}; 'orrery gpus list' shows which have one", d.device.name,
        from ? fmt::format("are those of {} scaled by the two datasheets (extrapolated)", from->name)
             : "come from its datasheet (analytic)"));
  }
  return best_cost_model(d.device, d.topology);
}

/// An engine's overheads that nobody measured yet are zero; a prediction that leaves them out says so.
void warn_unmeasured(const EngineProfile& engine, std::vector<std::string>& warnings) {
  const auto unmeasured = [](const SourcedFigure& f) {
    return f.key.rfind("overheads.", 0) == 0 && f.source.rfind("not measured", 0) == 0;
  };
  if (std::any_of(engine.figures.begin(), engine.figures.end(), unmeasured)) {
    warnings.push_back(
        fmt::format("overheads of {} are not measured: host time and gaps between kernels are "
                    "left out",
                    engine.id()));
  }
}

KernelPlan choose_plan(const Scenario& s, const Deployment& d) {
  KernelPlan plan = d.engine.kernel_plan(d.settings, d.device, d.lowering.precision);
  if (!s.cudagraph_capture_sizes.empty() && !s.enforce_eager) {
    plan.graph_sizes.assign(s.cudagraph_capture_sizes.begin(), s.cudagraph_capture_sizes.end());
  }
  override_experts(s, d.model, d.lowering.shard, plan.fusion.experts);
  return plan;
}

/// Feedback queues reckon with profiled times: of an iteration that decodes a full batch of short contexts,
/// and of a prompt per token.
void profile_iterations(const Scenario& s, const ReplicaConfig& replica, QueueParams& queue) {
  if (queue.policy != "mlfq") return;
  constexpr Tokens kContext = 512, kPrompt = 1024;
  queue.mlfq_queues = s.mlfq_queues, queue.mlfq_ratio = s.mlfq_ratio;
  queue.mlfq_quantum_s = s.mlfq_quantum_s, queue.mlfq_starvation_s = s.mlfq_starvation_s;
  DecodeSet set;
  set.seqs = std::min<std::int64_t>(replica.scheduler.max_num_seqs, 64);
  set.context = set.seqs * kContext;
  queue.mlfq_iteration_s = to_seconds(replica.pricer->decode(set).first).value;
  const PrefillChunk chunk{kPrompt, 0};
  queue.mlfq_prompt_token_s = to_seconds(replica.pricer->mixed({}, {&chunk, 1})).value / kPrompt;
}

Image image_of(const WorkloadSpec& workload) {
  return {workload.image_width, workload.image_height};
}

}  // namespace

WorkloadSpec workload_for(const Scenario& scenario, const Deployment& deployment) {
  const ModelSpec& model = deployment.model;
  WorkloadSpec workload = scenario.workload;
  if (workload.sessions.block_tokens == 0) workload.sessions.block_tokens = deployment.kv.block_size;
  if (workload.images_per_request == 0) return workload;
  if (!model.encoder) {
    throw ConfigError(fmt::format("images-per-request: {} has no encoder of images (found {})", model.name,
                                  workload.images_per_request),
                      "valid: 0, or a model with one, such as qwen2.5-vl-7b", ExitCode::usage);
  }
  workload.image_tokens = static_cast<std::int32_t>(model.encoder->tokens(image_of(workload)));
  return workload;
}

Deployment deploy(const Scenario& s) {
  if (has_mixed_replicas(s)) return deploy_mixed(s);
  if (has_pools(s)) return deploy_pools(s);
  if (s.model.empty()) {
    throw ConfigError("no model is given", "-m llama-3.1-8b (orrery models list)", ExitCode::usage);
  }
  if (s.gpu.empty()) throw ConfigError("no GPU is given", "-g h100-sxm (orrery gpus list)", ExitCode::usage);
  Deployment d;
  d.model = load_model(s.model);
  d.device = load_device(s.gpu);
  d.topology = topology_for(d.device);
  d.engine = load_engine(s.engine);
  const Parallelism parallelism = choose_parallelism(s, d.model, d.engine, d.topology);
  d.lowering.shard = parallelism.shard;
  warn_unmeasured(d.engine, d.warnings);
  d.settings = d.engine.settings_for(d.device);
  override_settings(s, d.settings);
  if (s.enable_dp_attention && d.engine.attention_dp_shares_budget)
    share_budgets(d.settings, parallelism.engine_cores);
  d.max_model_len = choose_max_model_len(s, d.model);
  check_settings(s, d.settings, d.max_model_len);
  d.lowering.precision = choose_precision(s, d.model, d.device, d.warnings);
  if (d.engine.fp8_weights_bring_fp8_kv && s.kv_cache_dtype == "auto" &&
      d.lowering.precision.compute == DType::fp8) {
    d.lowering.precision.kv_cache = DType::fp8;
  }
  KernelPlan plan = choose_plan(s, d);
  d.lowering.fusion = plan.fusion;
  d.speculation = choose_speculation(s, d.model, d.lowering, d.device, d.warnings);
  plan.host_per_seq = plan.host_per_seq + d.speculation.host_per_sequence;
  check_pipeline(s, d.speculation);
  leave_room_for_drafts(s, d.speculation.decoder, d.settings);
  d.offload = choose_offload(s, d.model, d.lowering, d.topology);
  d.kv = choose_capacity(s, d);
  fit_host(d.offload, d.model, d.lowering, d.max_model_len, d.kv);
  d.cost = choose_cost_model(s, d, d.warnings);

  ReplicaConfig replica;
  replica.scheduler = d.engine.scheduler_config(d.settings, d.max_model_len);
  replica.scheduler.decoder = d.speculation.decoder;
  replica.scheduler.lanes = d.lowering.shard.pp;
  replica.scheduler.seed = s.seed;
  replica.scheduler.max_queued_requests = s.max_queued_requests;
  replica.scheduler.shed_overdue = s.shed_overdue;
  replica.scheduler.queue = {d.settings.scheduling_policy,
                             s.length_prediction_error,
                             s.vtc_prompt_weight,
                             s.vtc_answer_weight,
                             s.deadlines_s,
                             s.seed};
  replica.scheduler.length_buckets = s.length_buckets;
  replica.kv = d.engine.kv_config(d.settings, d.kv);
  replica.front_end = d.engine.front_end();
  replica.pricer = std::make_shared<StepPricer>(d.model, d.lowering.shard, d.device, d.topology, plan, d.cost,
                                                d.speculation.drafting, image_of(s.workload), d.offload);
  replica.engine_cores = parallelism.engine_cores;
  const std::optional<double> usd = s.gpu_hour_usd ? s.gpu_hour_usd : d.device.usd_per_hour;
  if (usd) replica.usd_per_hour = *usd * d.lowering.shard.gpus();
  choose_tiers(s, d, replica);
  profile_iterations(s, replica, replica.scheduler.queue);
  d.cluster.router = choose_router(s.router);
  if (d.cluster.router == "cost_aware") replica.rate = serving_rate(*replica.pricer, usd.value_or(1));
  d.cluster.replicas.assign(static_cast<std::size_t>(parallelism.replicas), replica);
  d.cluster.router_params = s.router_params;
  d.cluster.router_snapshot_interval = to_ps(Seconds(s.router_snapshot_interval_s));
  d.cluster.seed = s.seed;
  d.cluster.stepwise = s.stepwise;
  if (s.until_s > 0) d.cluster.until = to_ps(Seconds(s.until_s));
  if (has_fleet(s)) deploy_fleet(s, d);
  add_migration(s, d);
  return d;
}

}  // namespace orrery
