#include "scenario/offloading.hpp"
#include "scenario/setting_field.hpp"

namespace orrery {

void add_offload_settings(std::vector<Setting>& out) {
  const auto add = [&](auto... rest) {
    out.push_back(bind_setting(std::string("offloading"), std::string("offload"), rest...));
  };
  const auto check = [&](auto parse) {
    Setting& last = out.back();
    last.set = [inner = last.set, parse](Scenario& s, const std::string& text) {
      if (!text.empty()) parse(text);
      inner(s, text);
    };
  };
  add("cpu_offload_gb", "GIB", "weights of each GPU in host memory, read over its link in every step",
      ORRERY_MEMBER(offloading.cpu_offload_gb), ValueRange{0, 1e6});
  add("n_gpu_layers", "N", "layers on the GPU; the first ones are computed by the host (llama.cpp)",
      ORRERY_MEMBER(offloading.n_gpu_layers), ValueRange{0, 1e6});
  out.back().shorthand = "ngl";
  add("percent", "N,N,N,N,N,N",
      "of weights, KV cache and activations: on the GPU and in host memory; the rest on disk (FlexGen)",
      ORRERY_MEMBER(offloading.percent));
  check(parse_percent);
  add("offload_config", "JSON",
      "weights, kv, activations: {host, disk} shares; overlap, host_attention, host_nodes, host_layers",
      ORRERY_MEMBER(offloading.config));
  out.back().json = true;
  check(parse_offload_config);
  add("offload_host", "HOST", "the computer around the GPUs: a file of hwprofiles/hosts, or a path",
      ORRERY_MEMBER(offloading.host));
}

}  // namespace orrery
