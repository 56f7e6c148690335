#include "scenario/settings.hpp"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "scenario/setting_field.hpp"

namespace orrery {

void parse_setting(const std::string& text, const ValueRange& range, double& out) {
  double value = 0;
  if (range.form == ValueForm::duration) {
    value = parse_duration_s(text);
  } else if (range.form == ValueForm::rate) {
    value = parse_rate(text);
  } else {
    value = parse_number(text);
  }
  if (value < range.low || value > range.high) {
    const std::string upper = std::isinf(range.high) ? "" : fmt::format(" and at most {}", range.high);
    throw ConfigError(fmt::format("expected at least {}{}, found '{}'", range.low, upper, text));
  }
  out = value;
}

void require_word(const std::string& text, std::string_view words) {
  std::vector<std::string> valid;
  for (std::size_t start = 0; start <= words.size();) {
    const auto end = std::min(words.find('|', start), words.size());
    valid.emplace_back(words.substr(start, end - start));
    start = end + 1;
  }
  if (std::find(valid.begin(), valid.end(), text) == valid.end())
    throw ConfigError("unknown value '" + text + "'", suggestion(text, valid));
}

const std::vector<std::pair<std::string, std::string>>& setting_groups() {
  static const std::vector<std::pair<std::string, std::string>> groups{
      {"model", "Model and hardware"},
      {"pools", "Replicas that prefill and replicas that decode"},
      {"fleet", "Replicas that come and go: failures, drains, autoscaling"},
      {"migration", "Sequences that change replicas"},
      {"offload", "Weights, KV cache and layers outside the GPU"},
      {"engine", "Engine (the engine's own argument names)"},
      {"workload", "Workload from a trace"},
      {"synthetic", "Synthetic workload (the names of vllm bench serve)"},
      {"clients", "Closed loop"},
      {"run", "Run"}};
  return groups;
}

const std::vector<Setting>& settings() {
  static const std::vector<Setting> all = [] {
    std::vector<Setting> out;
    add_deployment_settings(out);
    add_pool_settings(out);
    add_fleet_settings(out);
    add_migration_settings(out);
    add_offload_settings(out);
    add_engine_settings(out);
    add_kv_offloading_settings(out);
    add_workload_settings(out);
    add_run_settings(out);
    return out;
  }();
  return all;
}

const Setting* find_setting(std::string_view name) {
  for (const auto& s : settings()) {
    if (s.name == name) return &s;
  }
  return nullptr;
}

NamedSpec parse_named_spec(std::string_view text) {
  NamedSpec spec;
  const auto colon = text.find(':');
  spec.name = text.substr(0, colon);
  if (colon == std::string_view::npos) return spec;
  std::string_view rest = text.substr(colon + 1);
  while (true) {
    const auto comma = rest.find(',');
    const std::string_view field = rest.substr(0, comma);
    const auto equals = field.find('=');
    if (field.empty()) {
      throw ConfigError("expected name:key=value,key=value, found '" + std::string(text) + "'");
    }
    if (equals == std::string_view::npos) {
      spec.fields.emplace_back("", field);
    } else {
      spec.fields.emplace_back(field.substr(0, equals), field.substr(equals + 1));
    }
    if (comma == std::string_view::npos) break;
    rest.remove_prefix(comma + 1);
  }
  return spec;
}

}  // namespace orrery
