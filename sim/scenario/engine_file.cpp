#include "scenario/engine_file.hpp"

#include <set>

#include "model/block_reader.hpp"

namespace orrery {
namespace {

/// A setting sets one field of EngineSettings; the table is the list of settings a version file may give.
using Setter = void (*)(EngineSettings&, const Json&);
const std::map<std::string, Setter>& setters() {
  static const std::map<std::string, Setter> all = {
      {"max_num_seqs", [](EngineSettings& s, const Json& v) { s.max_num_seqs = v.get<std::int64_t>(); }},
      {"max_num_batched_tokens",
       [](EngineSettings& s, const Json& v) { s.max_num_batched_tokens = v.get<Tokens>(); }},
      {"gpu_memory_utilization",
       [](EngineSettings& s, const Json& v) { s.gpu_memory_utilization = v.get<double>(); }},
      {"block_size", [](EngineSettings& s, const Json& v) { s.block_size = v.get<int>(); }},
      {"enable_prefix_caching",
       [](EngineSettings& s, const Json& v) { s.enable_prefix_caching = v.get<bool>(); }},
      {"enable_chunked_prefill",
       [](EngineSettings& s, const Json& v) { s.enable_chunked_prefill = v.get<bool>(); }},
      {"scheduler_reserve_full_isl",
       [](EngineSettings& s, const Json& v) { s.scheduler_reserve_full_isl = v.get<bool>(); }},
      {"long_prefill_token_threshold",
       [](EngineSettings& s, const Json& v) { s.long_prefill_token_threshold = v.get<Tokens>(); }},
      {"scheduling_policy",
       [](EngineSettings& s, const Json& v) { s.scheduling_policy = v.get<std::string>(); }},
      {"async_scheduling", [](EngineSettings& s, const Json& v) { s.async_scheduling = v.get<bool>(); }},
      {"enable_mixed_chunk", [](EngineSettings& s, const Json& v) { s.enable_mixed_chunk = v.get<bool>(); }},
      {"new_token_ratio", [](EngineSettings& s, const Json& v) { s.new_token_ratio = v.get<double>(); }},
      {"max_cudagraph_capture_size",
       [](EngineSettings& s, const Json& v) { s.max_cudagraph_capture_size = v.get<int>(); }},
  };
  return all;
}

/// The settings among `names` that `view` gives, checked against the field's type.
std::map<std::string, Json> read_settings(SourcedReader& sourced, JsonView& view, const std::string& prefix) {
  std::map<std::string, Json> out;
  for (const auto& [key, set] : setters()) {
    if (!view.has(key)) continue;
    const Json value = sourced.value(view, key, prefix);
    EngineSettings scratch;
    try {
      set(scratch, value);
    } catch (const Json::exception&) {
      view.fail(key, "has a value of the wrong type: " + value.dump());
    }
    if (value.is_number() && value.get<double>() < 0) view.fail(key, "must not be negative");
    out[key] = value;
  }
  return out;
}

DeviceClass read_class(SourcedReader& sourced, JsonView& view) {
  DeviceClass c;
  c.name = view.text("name");
  c.memory_at_least_bytes = view.number_or("memory_at_least_gib", 0) * kGiB;
  c.architectures = view.texts_or("architectures", {});
  c.excluded_devices = view.texts_or("excluded_devices", {});
  c.settings = read_settings(sourced, view, "device_classes[" + c.name + "].");
  view.finish();
  return c;
}

void read_graphs(SourcedReader& sourced, JsonView view, EngineProfile& p) {
  std::set<int> sizes;
  for (const double size : sourced.numbers(view, "sizes", "cuda_graphs."))
    sizes.insert(static_cast<int>(size));
  const auto ranges = sourced.numbers(view, "ranges", "cuda_graphs.");
  if (ranges.size() % 3 != 0) view.fail("ranges", "expected triples of first, last and step");
  for (std::size_t i = 0; i < ranges.size(); i += 3) {
    if (ranges[i + 2] < 1) view.fail("ranges", "steps must be at least 1");
    for (double size = ranges[i]; size <= ranges[i + 1]; size += ranges[i + 2]) {
      sizes.insert(static_cast<int>(size));
    }
  }
  p.graph_sizes.assign(sizes.begin(), sizes.end());
  p.graph_sequences_factor = sourced.number(view, "sequences_factor", "cuda_graphs.");
  p.graph_mixed = sourced.boolean(view, "mixed_steps", "cuda_graphs.");
  view.finish();
}

void read_all_reduce(SourcedReader& sourced, JsonView view, EngineProfile& p) {
  p.nvlink_only_above_ranks =
      static_cast<int>(sourced.number(view, "nvlink_only_above_ranks", "custom_all_reduce."));
  JsonView by_architecture = view.object("max_bytes");
  for (const auto& architecture : by_architecture.keys()) {
    JsonView by_ranks = by_architecture.object(architecture);
    for (const auto& ranks : by_ranks.keys()) {
      if (ranks.empty() || ranks.size() > 4 || ranks.find_first_not_of("0123456789") != std::string::npos) {
        by_ranks.fail(ranks, "expected a number of ranks such as \"8\"");
      }
      p.custom_all_reduce_max_bytes[architecture][std::stoi(ranks)] =
          sourced.number(by_ranks, ranks, "custom_all_reduce.max_bytes." + architecture + ".");
    }
  }
  if (!p.custom_all_reduce_max_bytes.count("other")) view.fail("max_bytes", "needs an entry \"other\"");
  view.finish();
}

/// The fields of a plan that a file states; the others keep their defaults.
template <Visited Plan>
void read_plan(SourcedReader& sourced, JsonView& fusion, const std::string& key, Plan& plan) {
  auto view = fusion.object_if(key);
  if (!view) return;
  Json fields = Json::object();
  for (const auto& name : view->keys()) fields[name] = sourced.value(*view, name, "fusion." + key + ".");
  view->finish();
  plan = read_block<Plan>(fields, "fusion." + key);
}

Fusion read_fusion(SourcedReader& sourced, JsonView view) {
  Fusion f;
  f.norm_residual = sourced.boolean(view, "norm_residual", "fusion.");
  f.activation_mul = sourced.boolean(view, "activation_mul", "fusion.");
  f.rope_kv_write = sourced.boolean(view, "rope_kv_write", "fusion.");
  f.quant_into_norm = sourced.boolean(view, "quant_into_norm", "fusion.");
  read_plan(sourced, view, "experts", f.experts);
  read_plan(sourced, view, "attention", f.attention);
  view.finish();
  return f;
}

EngineOverheads read_overheads(SourcedReader& sourced, JsonView view) {
  const auto number = [&](const char* key) {
    const double v = sourced.number(view, key, "overheads.");
    if (v < 0) view.fail(key, "must not be negative");
    return v;
  };
  EngineOverheads o;
  o.host_per_step_ms = number("host_per_step_ms");
  o.host_per_seq_us = number("host_per_seq_us");
  o.host_exposed_ms = number("host_exposed_ms");
  o.host_exposed_prefill_ms = number("host_exposed_prefill_ms");
  o.eager_launch_per_layer_us = number("eager_launch_per_layer_us");
  o.kernel_gap_per_layer_us = number("kernel_gap_per_layer_us");
  o.fp8_kv_attention_factor = number("fp8_kv_attention_factor");
  o.frontend_in_ms = number("frontend_in_ms");
  o.frontend_in_per_prompt_token_us = number("frontend_in_per_prompt_token_us");
  o.frontend_out_ms = number("frontend_out_ms");
  o.sustained_gemm_factor = number("sustained_gemm_factor");
  o.sustained_tokens = static_cast<std::int64_t>(number("sustained_tokens"));
  view.finish();
  return o;
}

MemoryPolicy read_memory(SourcedReader& sourced, JsonView& view) {
  using Fraction = MemoryPolicy::Fraction;
  static const std::map<std::string, Fraction> meanings = {{"of_total", Fraction::of_total},
                                                           {"of_total_static", Fraction::of_total_static},
                                                           {"of_free", Fraction::of_free}};
  MemoryPolicy m;
  const auto meaning = sourced.text(view, "fraction_of", "memory.");
  const auto found = meanings.find(meaning);
  if (found == meanings.end()) {
    view.fail("fraction_of", "unknown meaning '" + meaning + "'",
              "valid: of_total, of_total_static, of_free");
  }
  m.fraction_of = found->second;
  m.non_torch_bytes = sourced.number(view, "non_torch_bytes", "memory.");
  m.activation_bytes_fixed = sourced.number(view, "activation_bytes_fixed", "memory.");
  m.activation_bytes_per_token = sourced.number(view, "activation_bytes_per_token", "memory.");
  m.activation_bytes_per_token_ffn = sourced.number(view, "activation_bytes_per_token_ffn", "memory.");
  m.sampler_bytes_per_vocab = sourced.number(view, "sampler_bytes_per_vocab", "memory.");
  m.sampler_bytes_per_logit = sourced.number(view, "sampler_bytes_per_logit", "memory.");
  view.finish();
  return m;
}

void read_calibration(SourcedReader& sourced, JsonView view, EngineProfile& p) {
  p.log_sigma = sourced.number(view, "log_sigma", "calibration.");
  if (p.log_sigma < 0) view.fail("log_sigma", "must not be negative");
  p.fitted_on = view.texts_or("fitted_on", {});
  view.finish();
}

/// Every setting must have a value on every device.
void check_complete(const JsonView& view, const EngineProfile& p) {
  for (const auto& [key, set] : setters()) {
    if (p.settings.count(key)) continue;
    for (const auto& c : p.classes) {
      if (!c.settings.count(key)) view.fail("settings", "'" + key + "' has no value for '" + c.name + "'");
    }
  }
  const auto& last = p.classes.back();
  if (last.memory_at_least_bytes > 0 || !last.architectures.empty() || !last.excluded_devices.empty()) {
    view.fail("device_classes", "the last class must hold for every device");
  }
}

}  // namespace

void apply_setting(EngineSettings& settings, const std::string& key, const Json& value) {
  setters().at(key)(settings, value);
}

EngineProfile read_engine_file(const std::string& path) {
  JsonView view(JsonDocument::load(path));
  EngineProfile p;
  p.path = path;
  p.engine = view.text("engine");
  p.version = view.text("version");
  p.scheduler = view.text("scheduler");
  SourcedReader sourced(view);
  for (auto& c : view.objects("device_classes")) p.classes.push_back(read_class(sourced, c));
  if (p.classes.empty()) view.fail("device_classes", "needs at least one class");
  JsonView settings = view.object("settings");
  p.settings = read_settings(sourced, settings, "settings.");
  settings.finish();
  check_complete(view, p);
  read_graphs(sourced, view.object("cuda_graphs"), p);
  read_all_reduce(sourced, view.object("custom_all_reduce"), p);
  p.fusion = read_fusion(sourced, view.object("fusion"));
  p.overheads = read_overheads(sourced, view.object("overheads"));
  JsonView factors = view.object("class_factors");
  for (const auto& key : factors.keys()) p.class_factor[key] = sourced.number(factors, key, "class_factors.");
  JsonView memory = view.object("memory");
  if (memory.has("fp8_weights_bring_fp8_kv")) {
    p.fp8_weights_bring_fp8_kv = sourced.boolean(memory, "fp8_weights_bring_fp8_kv", "memory.");
  }
  const bool hybrid = !memory.has("hybrid_groups") || sourced.boolean(memory, "hybrid_groups", "memory.");
  p.memory = read_memory(sourced, memory);
  p.memory.hybrid_groups = hybrid;
  if (auto parallel = view.object_if("parallel")) {
    const auto flag = [&](const char* key, bool& target) {
      if (parallel->has(key)) target = sourced.boolean(*parallel, key, "parallel.");
    };
    flag("data_parallel_lockstep", p.data_parallel_lockstep);
    flag("attention_dp_shares_budget", p.attention_dp_shares_budget);
    parallel->finish();
  }
  if (const auto calibration = view.object_if("calibration")) read_calibration(sourced, *calibration, p);
  view.finish();
  p.figures = sourced.figures();
  return p;
}

}  // namespace orrery
