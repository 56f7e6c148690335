#include "scenario/mixed_replicas.hpp"
#include "scenario/setting_field.hpp"

namespace orrery {

void add_pool_settings(std::vector<Setting>& out) {
  const auto add = [&](auto... rest) {
    out.push_back(bind_setting(std::string("pools"), std::string("pools"), rest...));
  };
  const auto restrict_last = [&] {
    Setting& last = out.back();
    last.set = [inner = last.set, words = last.placeholder](Scenario& s, const std::string& text) {
      require_word(text, words);
      inner(s, text);
    };
  };
  const ValueRange count{0, 65536};
  add("prefill_replicas", "N",
      "replicas that compute prompts only; with --decode-replicas, instead of --replicas",
      ORRERY_MEMBER(pools.prefill_replicas), count);
  add("decode_replicas", "N", "replicas that decode what those have computed",
      ORRERY_MEMBER(pools.decode_replicas), count);
  add("prefill_gpu", "GPU", "device of those that prefill (default: --gpu)",
      ORRERY_MEMBER(pools.prefill_gpu));
  add("decode_gpu", "GPU", "device of those that decode (default: --gpu)", ORRERY_MEMBER(pools.decode_gpu));
  add("prefill_tensor_parallel_size", "N", "GPUs of a replica that prefills (default: tensor_parallel_size)",
      ORRERY_MEMBER(pools.prefill_tensor_parallel_size), count);
  add("decode_tensor_parallel_size", "N", "GPUs of a replica that decodes (default: tensor_parallel_size)",
      ORRERY_MEMBER(pools.decode_tensor_parallel_size), count);
  add("decode_router", "ROUTER", "how requests are spread over replicas that decode (default: --router)",
      ORRERY_MEMBER(pools.decode_router));
  add("kv_transfer", "overlapped|after",
      "KV caches are sent layer by layer while the prompt is computed (default), or after it",
      ORRERY_MEMBER(pools.kv_transfer));
  restrict_last();
  add("fabric", "auto|simgrid|uncontended|infinite",
      "how transfers share links (default: simgrid where it is built in)", ORRERY_MEMBER(pools.fabric));
  restrict_last();
  add("mixed_replicas", "GPU=N,GPU=N",
      "replicas of several devices behind one router, instead of --gpu and --replicas: "
      "h100-sxm=2@2.5,l40s/4=3 "
      "(device/GPUs=replicas@dollars per GPU and hour)",
      ORRERY_MEMBER(pools.mixed_replicas));
  out.back().set = [inner = out.back().set](Scenario& s, const std::string& text) {
    if (!text.empty()) parse_mixed_replicas(text);
    inner(s, text);
  };
  add("network", "NETWORK", "how servers are joined: a file of hwprofiles/networks, or a path",
      ORRERY_MEMBER(pools.network));
}

}  // namespace orrery
