#include "scenario/engine_profile.hpp"

#include <algorithm>
#include <filesystem>

#include <fmt/format.h>

#include "base/data_dir.hpp"
#include "scenario/engine_file.hpp"

namespace orrery {
namespace {

namespace fs = std::filesystem;

fs::path engines_folder() {
  return fs::path(data_dir()) / "calibration" / "engines";
}

/// "0.15.1" before "0.29.0" before "1.0": numbers by value.
bool older(const std::string& a, const std::string& b) {
  const auto parts = [](const std::string& text) {
    std::vector<long> out{0};
    for (const char c : text) {
      if (c >= '0' && c <= '9')
        out.back() = out.back() * 10 + (c - '0');
      else
        out.push_back(0);
    }
    return out;
  };
  return parts(a) < parts(b);
}

std::vector<std::string> versions_in(const fs::path& folder) {
  std::vector<std::string> out;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const auto& file = entry.path();
    if (file.extension() == ".json" && file.filename() != "engine.json") out.push_back(file.stem().string());
  }
  std::sort(out.begin(), out.end(), older);
  return out;
}

std::string joined(const std::vector<std::string>& words) {
  return fmt::format("{}", fmt::join(words, ", "));
}

const EngineListing& find_engine(const std::vector<EngineListing>& all, const std::string& engine) {
  std::vector<std::string> names;
  for (const auto& e : all) {
    if (e.name == engine) return e;
    names.push_back(e.name);
  }
  throw ConfigError("unknown engine '" + engine + "'", suggestion(engine, names));
}

/// `wanted` itself, or the newest version that continues it ("0.15" -> "0.15.1").
std::string find_version(const EngineListing& engine, const std::string& wanted) {
  std::string found;
  for (const auto& v : engine.versions) {
    if (v == wanted) return v;
    if (v.rfind(wanted + ".", 0) == 0) found = v;
  }
  if (!found.empty()) return found;
  throw ConfigError("no profile of " + engine.name + " version '" + wanted + "'",
                    "versions: " + joined(engine.versions) +
                        "; add one by copying a file of calibration/engines/" + engine.name);
}

}  // namespace

bool DeviceClass::holds(const DeviceProfile& device) const {
  if (device.memory_bytes < memory_at_least_bytes) return false;
  if (!architectures.empty() &&
      std::find(architectures.begin(), architectures.end(), device.architecture) == architectures.end()) {
    return false;
  }
  return std::none_of(excluded_devices.begin(), excluded_devices.end(),
                      [&](const auto& prefix) { return device.name.rfind(prefix, 0) == 0; });
}

EngineSettings EngineProfile::settings_for(const DeviceProfile& device) const {
  EngineSettings s;
  const auto apply = [&](const std::map<std::string, Json>& values, const std::string& where) {
    for (const auto& [key, value] : values) {
      apply_setting(s, key, value);
      s.origin[key] = "engine default " + id() + where;
    }
  };
  apply(settings, "");
  const auto c = std::find_if(classes.begin(), classes.end(), [&](const auto& k) { return k.holds(device); });
  ORRERY_CHECK(c != classes.end(), "the last device class holds for every device");
  apply(c->settings, " (" + c->name + ")");
  s.origin["enforce_eager"] = s.origin["disable_custom_all_reduce"] = "engine default " + id();
  return s;
}

KernelPlan EngineProfile::kernel_plan(const EngineSettings& s, const DeviceProfile& device,
                                      const Precision& precision) const {
  KernelPlan plan;
  plan.precision = precision;
  plan.fusion = fusion;
  double largest =
      static_cast<double>(std::min<std::int64_t>(s.max_cudagraph_capture_size, s.max_num_batched_tokens));
  if (!s.capture_size_given) {
    largest = std::min(largest, graph_sequences_factor * static_cast<double>(s.max_num_seqs));
  }
  for (const int size : graph_sizes) {
    if (!s.enforce_eager && size <= largest) plan.graph_sizes.push_back(size);
  }
  plan.graph_mixed = graph_mixed;
  plan.eager_launch_per_layer = Seconds(overheads.eager_launch_per_layer_us * 1e-6);
  if (!s.disable_custom_all_reduce) {
    const auto own = custom_all_reduce_max_bytes.find(device.architecture);
    const auto& limits =
        own == custom_all_reduce_max_bytes.end() ? custom_all_reduce_max_bytes.at("other") : own->second;
    for (const auto& [ranks, bytes] : limits) {
      if (device.nvlink_bytes_per_s > 0 || ranks <= nvlink_only_above_ranks) {
        plan.custom_all_reduce_max_bytes[ranks] = bytes;
      }
    }
  }
  plan.async_scheduling = s.async_scheduling;
  plan.host_per_step = Seconds(overheads.host_per_step_ms * 1e-3);
  plan.host_per_seq = Seconds(overheads.host_per_seq_us * 1e-6);
  plan.host_exposed = Seconds(overheads.host_exposed_ms * 1e-3);
  plan.host_exposed_prefill = Seconds(overheads.host_exposed_prefill_ms * 1e-3);
  plan.kernel_gap_per_layer = Seconds(overheads.kernel_gap_per_layer_us * 1e-6);
  plan.class_factor = class_factor;
  if (precision.kv_cache == DType::fp8) {
    plan.class_factor.try_emplace("attention_decode", 1.0).first->second *= overheads.fp8_kv_attention_factor;
  }
  plan.sustained_gemm_factor = overheads.sustained_gemm_factor;
  plan.sustained_tokens = overheads.sustained_tokens;
  return plan;
}

MemoryPolicy EngineProfile::memory_policy(const EngineSettings& s) const {
  MemoryPolicy m = memory;
  m.fraction = s.gpu_memory_utilization;
  m.block_size = s.block_size;
  m.max_num_seqs = std::min<std::int64_t>(s.max_num_seqs, s.max_num_batched_tokens);
  return m;
}

SchedulerConfig EngineProfile::scheduler_config(const EngineSettings& s, Tokens max_model_len) const {
  SchedulerConfig c;
  c.scheduler = scheduler;
  c.max_num_seqs = s.max_num_seqs;
  c.max_num_batched_tokens = s.max_num_batched_tokens;
  c.max_model_len = max_model_len;
  c.enable_chunked_prefill = s.enable_chunked_prefill;
  c.long_prefill_token_threshold = s.long_prefill_token_threshold;
  c.reserve_full_isl = s.scheduler_reserve_full_isl;
  c.queue.policy = s.scheduling_policy;
  c.async_scheduling = s.async_scheduling;
  c.enable_mixed_chunk = s.enable_mixed_chunk;
  c.new_token_ratio = s.new_token_ratio;
  return c;
}

KvConfig EngineProfile::kv_config(const EngineSettings& s, const KvCapacity& kv) const {
  return {kv.blocks, kv.block_size, s.enable_prefix_caching, false, kv.groups};
}

FrontEnd EngineProfile::front_end() const {
  return {ps_from_ms(overheads.frontend_in_ms), ps_from_ms(overheads.frontend_in_per_prompt_token_us * 1e-3),
          ps_from_ms(overheads.frontend_out_ms)};
}

std::vector<EngineListing> list_engines() {
  std::vector<EngineListing> out;
  std::error_code failed;
  for (const auto& entry : fs::directory_iterator(engines_folder(), failed)) {
    const auto about = entry.path() / "engine.json";
    if (!fs::exists(about)) continue;
    JsonView view(JsonDocument::load(about.string()));
    out.push_back(
        {view.text("name"), view.text("help"), view.text("default_version"), versions_in(entry.path())});
    view.finish();
  }
  if (failed)
    throw ConfigError("no engine profiles: cannot read '" + engines_folder().string() + "'",
                      "set ORRERY_DATA");
  std::sort(out.begin(), out.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  return out;
}

EngineProfile load_engine(const std::string& name) {
  std::error_code ignored;
  if (name.ends_with(".json") && fs::is_regular_file(name, ignored)) return read_engine_file(name);
  const auto at = name.find('@');
  const auto all = list_engines();
  const auto& engine = find_engine(all, name.substr(0, at));
  const auto version =
      at == std::string::npos ? engine.default_version : find_version(engine, name.substr(at + 1));
  return read_engine_file((engines_folder() / engine.name / (version + ".json")).string());
}

}  // namespace orrery
