#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "scenario/expert_settings.hpp"
#include "scenario/setting_field.hpp"
#include "scenario/speculation.hpp"

namespace orrery {

namespace {

constexpr double kNoLimit = std::numeric_limits<double>::infinity();

void shorten(std::vector<Setting>& settings, const std::string& letters) {
  settings.back().shorthand = letters;
}

/// Restricts the last setting, a text, to the words of its placeholder.
void restrict_words(std::vector<Setting>& settings) {
  auto& last = settings.back();
  last.set = [inner = last.set, words = last.placeholder](Scenario& s, const std::string& text) {
    require_word(text, words);
    inner(s, text);
  };
}

void set_capture_sizes(Scenario& s, const std::string& text) {
  s.cudagraph_capture_sizes.clear();
  std::size_t start = 0;
  const std::string list = !text.empty() && text.front() == '[' ? text.substr(1, text.find(']') - 1) : text;
  while (start < list.size()) {
    const auto end = std::min(list.find_first_of(", ", start), list.size());
    if (end > start)
      s.cudagraph_capture_sizes.push_back(parse_integer(list.substr(start, end - start), 1, 1 << 20));
    start = end + 1;
  }
  std::sort(s.cudagraph_capture_sizes.begin(), s.cudagraph_capture_sizes.end());
}

void set_deadlines(Scenario& s, const std::string& text) {
  s.deadlines_s.clear();
  const std::string list = !text.empty() && text.front() == '[' ? text.substr(1, text.find(']') - 1) : text;
  for (std::size_t start = 0; start < list.size();) {
    const auto end = std::min(list.find(',', start), list.size());
    s.deadlines_s.push_back(parse_duration_s(std::string_view(list).substr(start, end - start)));
    start = end + 1;
  }
}

/// `prefix=3,load=2,kv=2`; what is not named has no weight.
void set_router_weights(Scenario& s, const std::string& text) {
  RouterParams p;
  p.prefix_weight = p.load_weight = p.kv_weight = 0;
  for (const auto& [key, value] : parse_named_spec("weights:" + text).fields) {
    const double weight = parse_number(value);
    if (!(weight >= 0)) throw ConfigError("a weight is at least 0, found '" + text + "'");
    if (key == "prefix") {
      p.prefix_weight = weight;
    } else if (key == "load") {
      p.load_weight = weight;
    } else if (key == "kv") {
      p.kv_weight = weight;
    } else {
      throw ConfigError("no scorer is called '" + key + "'", suggestion(key, {"prefix", "load", "kv"}));
    }
  }
  s.router_params = p;
}

}  // namespace

void add_deployment_settings(std::vector<Setting>& out) {
  const auto add = [&](auto... args) { out.push_back(bind_setting(args...)); };
  const std::string top, hardware = "hardware", args = "engine_args", group = "model";
  add(top, group, "model", "MODEL", "built-in name, or the path of a config.json or its folder",
      ORRERY_MEMBER(model));
  shorten(out, "m");
  add(hardware, group, "gpu", "GPU", "device name, or the path of its folder", ORRERY_MEMBER(gpu));
  shorten(out, "g");
  add(args, group, "tensor_parallel_size", "N", "GPUs that share each layer",
      ORRERY_MEMBER(tensor_parallel_size), ValueRange{1, 1024});
  shorten(out, "tp");
  add(args, group, "pipeline_parallel_size", "N",
      "stages that share the layers, with as many batches in flight", ORRERY_MEMBER(pipeline_parallel_size),
      ValueRange{1, 1024});
  shorten(out, "pp");
  add(args, group, "data_parallel_size", "N",
      "engine ranks behind one endpoint; with experts they step together", ORRERY_MEMBER(data_parallel_size),
      ValueRange{1, 1024});
  shorten(out, "dp");
  add(args, group, "prefill_context_parallel_size", "N", "times as many GPUs, over which a prompt is divided",
      ORRERY_MEMBER(prefill_context_parallel_size), ValueRange{1, 1024});
  shorten(out, "pcp");
  add(args, group, "decode_context_parallel_size", "N",
      "tensor-parallel GPUs that share out a sequence's KV cache, where they would keep the same",
      ORRERY_MEMBER(decode_context_parallel_size), ValueRange{1, 1024});
  shorten(out, "dcp");
  add(top, group, "replicas", "N", "servers behind the router (default 1)", ORRERY_MEMBER(replicas),
      ValueRange{0, 65536});
  add(top, group, "router", "ROUTER", "how requests are spread over replicas (orrery list routers)",
      ORRERY_MEMBER(router));
  out.push_back({"router_weights", top, group, "", "prefix=X,load=X,kv=X",
                 "router weighted: of the cached prefix, a short queue and a free KV cache (default 3, 2, 2)",
                 set_router_weights, [](const Scenario& s) {
                   const RouterParams& p = s.router_params;
                   return fmt::format("prefix={},load={},kv={}", p.prefix_weight, p.load_weight, p.kv_weight);
                 }});
  add(top, group, "router_snapshot_interval", "TIME",
      "routers see replicas as they were up to so long ago (default 0: as they are)",
      ORRERY_MEMBER(router_snapshot_interval_s), ValueRange{0, 1e6, ValueForm::duration});
  add(hardware, group, "cost_model", "auto|fitted|measured|measured-raw|scaled|analytic|roofline",
      "where kernel times come from (default: the best the device has)", ORRERY_MEMBER(cost_model));
  add(top, group, "engine", "ENGINE", "vllm, vllm@0.15.1, sglang, trtllm, live (orrery list engines)",
      ORRERY_MEMBER(engine));
}

void add_engine_settings(std::vector<Setting>& out) {
  const auto add = [&](auto... rest) {
    out.push_back(bind_setting(std::string("engine_args"), std::string("engine"), rest...));
  };
  const ValueRange positive{1, kNoLimit};
  add("dtype", "auto|bfloat16|float16", "activations, and weights that are not quantised",
      ORRERY_MEMBER(dtype));
  add("quantization", "METHOD",
      "none, fp8, int8, awq, gptq, mxfp4, nvfp4, ... (default: as the checkpoint says)",
      ORRERY_MEMBER(quantization));
  add("kv_cache_dtype", "DTYPE", "auto, bfloat16, float16, fp8", ORRERY_MEMBER(kv_cache_dtype));
  add("max_model_len", "N", "longest prompt and answer together (default: the model's)",
      ORRERY_MEMBER(max_model_len), positive);
  add("max_num_seqs", "N", "sequences in a step", ORRERY_MEMBER(max_num_seqs), positive);
  add("max_num_batched_tokens", "N", "tokens in a step", ORRERY_MEMBER(max_num_batched_tokens), positive);
  add("block_size", "N", "tokens per KV block", ORRERY_MEMBER(block_size), ValueRange{1, 1024});
  add("gpu_memory_utilization", "X", "share of the device memory the engine may use",
      ORRERY_MEMBER(gpu_memory_utilization), ValueRange{0.01, 1});
  add("num_gpu_blocks_override", "N", "KV blocks, as the engine logged them",
      ORRERY_MEMBER(num_gpu_blocks_override), ValueRange{2, kNoLimit});
  add("kv_cache_memory_bytes", "N", "KV cache per GPU, instead of gpu_memory_utilization",
      ORRERY_MEMBER(kv_cache_memory_bytes), positive);
  add("enable_prefix_caching", "", "keep full KV blocks for later prompts with the same prefix",
      ORRERY_MEMBER(enable_prefix_caching));
  add("enable_chunked_prefill", "", "split prompts that do not fit a step",
      ORRERY_MEMBER(enable_chunked_prefill));
  add("long_prefill_token_threshold", "N", "longest chunk of one prompt; 0 = no limit",
      ORRERY_MEMBER(long_prefill_token_threshold));
  add("scheduler_reserve_full_isl", "", "admit a prompt only if all of it fits the free KV blocks",
      ORRERY_MEMBER(scheduler_reserve_full_isl));
  add("scheduling_policy", "dfs-weight|edf|fcfs|lpm|mlfq|priority|sjf|vtc",
      "order of the waiting queue (orrery list queues)", ORRERY_MEMBER(scheduling_policy));
  restrict_words(out);
  add("length_prediction_error", "X", "sjf, s3: standard deviation of ln(predicted / true answer); 0 = known",
      ORRERY_MEMBER(length_prediction_error), ValueRange{0, 10});
  add("length_buckets", "N", "s3: classes that answer lengths up to max_model_len are predicted in",
      ORRERY_MEMBER(length_buckets), ValueRange{1, 1e6});
  out.push_back({"deadlines", "engine_args", "engine", "", "TIME,TIME,...",
                 "edf: wait for a first token that each priority is due, from 0 on", set_deadlines,
                 [](const Scenario& s) { return s.deadlines_s.empty() ? Json() : Json(s.deadlines_s); }});
  add("shed_overdue", "", "edf: refuse who waits beyond its deadline, instead of serving it late",
      ORRERY_MEMBER(shed_overdue));
  add("max_queued_requests", "N", "refuse requests while so many wait (default 0: never)",
      ORRERY_MEMBER(max_queued_requests));
  add("vtc_prompt_weight", "X", "vtc: cost of a prompt token", ORRERY_MEMBER(vtc_prompt_weight),
      ValueRange{0, 1000});
  add("vtc_answer_weight", "X", "vtc: cost of an answer's token", ORRERY_MEMBER(vtc_answer_weight),
      ValueRange{0, 1000});
  add("mlfq_queues", "N", "mlfq: number of queues", ORRERY_MEMBER(mlfq_queues), ValueRange{1, 64});
  add("mlfq_quantum", "TIME", "mlfq: service in the first queue before a request sinks; 0 = one iteration",
      ORRERY_MEMBER(mlfq_quantum_s), ValueRange{0, kNoLimit, ValueForm::duration});
  add("mlfq_ratio", "X", "mlfq: each queue's quantum over that of the one before", ORRERY_MEMBER(mlfq_ratio),
      ValueRange{1, 1000});
  add("mlfq_starvation", "TIME", "mlfq: after waiting so long a request goes first; 0 = never",
      ORRERY_MEMBER(mlfq_starvation_s), ValueRange{0, kNoLimit, ValueForm::duration});
  add("async_scheduling", "", "plan the next step while the present one runs",
      ORRERY_MEMBER(async_scheduling));
  add("enable_mixed_chunk", "", "SGLang: prompts and decodes in one step", ORRERY_MEMBER(enable_mixed_chunk));
  add("max_cudagraph_capture_size", "N", "largest captured batch", ORRERY_MEMBER(max_cudagraph_capture_size));
  out.push_back({"cudagraph_capture_sizes", "engine_args", "engine", "", "N,N,...", "captured batch sizes",
                 set_capture_sizes, [](const Scenario& s) {
                   return s.cudagraph_capture_sizes.empty() ? Json() : Json(s.cudagraph_capture_sizes);
                 }});
  add("enforce_eager", "", "no CUDA graphs", ORRERY_MEMBER(enforce_eager));
  add("disable_custom_all_reduce", "", "NCCL for every all-reduce", ORRERY_MEMBER(disable_custom_all_reduce));
  add("enable_expert_parallel", "", "whole experts on each GPU of a replica, not parts of all",
      ORRERY_MEMBER(enable_expert_parallel));
  add("expert_parallel_size", "N", "groups of ranks that the experts are divided over (ep_size)",
      ORRERY_MEMBER(expert_parallel_size), ValueRange{0, 4096});
  add("enable_dp_attention", "", "attention's data-parallel ranks lie within the tensor-parallel ones",
      ORRERY_MEMBER(enable_dp_attention));
  add("enable_eplb", "", "place experts by their load, the most chosen ones on several GPUs",
      ORRERY_MEMBER(enable_eplb));
  add("num_redundant_experts", "N", "copies of experts beyond one each, with enable_eplb",
      ORRERY_MEMBER(num_redundant_experts), ValueRange{0, 1 << 20});
  add("all2all_backend", "NAME",
      "how rows reach their experts: allgather_reducescatter, deepep_low_latency, ...",
      ORRERY_MEMBER(all2all_backend));
  out.back().set = [inner = out.back().set](Scenario& s, const std::string& text) {
    ExpertPlan checked;
    if (!text.empty()) choose_all2all(text, checked);
    inner(s, text);
  };
  add("speculative_config", "JSON",
      "as vLLM's: method, model, num_speculative_tokens; and acceptance, sampled",
      ORRERY_MEMBER(speculative_config));
  out.back().json = true;
  out.back().set = [inner = out.back().set](Scenario& s, const std::string& text) {
    if (!text.empty()) parse_speculative_config(text);
    inner(s, text);
  };
}

void add_run_settings(std::vector<Setting>& out) {
  const auto add = [&](auto... rest) {
    out.push_back(bind_setting(std::string(), std::string("run"), rest...));
  };
  add("slo", "SLO", "'ttft<=500ms@p99,tpot<=30ms@p99,attainment>=0.95'", ORRERY_MEMBER(slo));
  out.back().repeatable = true;
  add("warmup", "TIME", "leave requests that arrive before this out of the metrics", ORRERY_MEMBER(warmup_s),
      ValueRange{0, 1e9, ValueForm::duration});
  add("until", "TIME", "stop the simulated clock here", ORRERY_MEMBER(until_s),
      ValueRange{0, 9e6, ValueForm::duration});
  add("seed", "N", "of everything random (default 0)", ORRERY_MEMBER(seed), ValueRange{0, 9.0e15});
  add("stepwise", "", "advance one step at a time: slower, the same numbers to the bit",
      ORRERY_MEMBER(stepwise));
  out.push_back(bind_setting("cost", "run", "gpu_hour_usd", "USD", "price of one GPU for an hour",
                             ORRERY_MEMBER(gpu_hour_usd)));
}

}  // namespace orrery
