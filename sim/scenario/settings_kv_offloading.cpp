#include "scenario/setting_field.hpp"

namespace orrery {

void add_kv_offloading_settings(std::vector<Setting>& out) {
  const auto add = [&](auto... rest) {
    out.push_back(bind_setting(std::string("engine_args"), std::string("engine"), rest...));
  };
  const auto restrict_last = [&] {
    Setting& last = out.back();
    last.set = [inner = last.set, words = last.placeholder](Scenario& s, const std::string& text) {
      require_word(text, words);
      inner(s, text);
    };
  };
  add("kv_offloading_size", "GIB", "host memory for KV blocks of an engine, all its GPUs together; 0 = none",
      ORRERY_MEMBER(kv_offloading.kv_offloading_size));
  add("kv_offloading_backend", "native|lmcache", "whole blocks, or LMCache's chunks of 256 tokens",
      ORRERY_MEMBER(kv_offloading.kv_offloading_backend));
  restrict_last();
  add("kv_offloading_disk_size", "GIB", "behind it, of an engine's server's drives",
      ORRERY_MEMBER(kv_offloading.disk_size));
  add("kv_offloading_remote_size", "GIB", "behind those, of storage that all replicas share",
      ORRERY_MEMBER(kv_offloading.remote_size));
  add("kv_offloading_disk_bandwidth", "GB/S", "read from drives (default: --network's)",
      ORRERY_MEMBER(kv_offloading.disk_bandwidth));
  add("kv_offloading_remote_bandwidth", "GB/S", "of a server from the storage (default: --network's)",
      ORRERY_MEMBER(kv_offloading.remote_bandwidth));
  add("enable_hierarchical_cache", "", "SGLang: host memory behind the GPU's prefix cache",
      ORRERY_MEMBER(kv_offloading.enable_hierarchical_cache));
  add("hicache_ratio", "X", "SGLang: its size over that of the GPU's cache",
      ORRERY_MEMBER(kv_offloading.hicache_ratio), ValueRange{0, 1e6});
  add("hicache_size", "GB", "SGLang: its size for each GPU, instead of hicache_ratio; 0 = by ratio",
      ORRERY_MEMBER(kv_offloading.hicache_size));
  add("hicache_write_policy", "write_back|write_through|write_through_selective",
      "tiers are written to as blocks are evicted, as they are computed, or when they are first hit",
      ORRERY_MEMBER(kv_offloading.hicache_write_policy));
  restrict_last();
  add("preemption_mode", "recompute|swap", "what becomes of a preempted sequence's KV (vLLM v0's argument)",
      ORRERY_MEMBER(kv_offloading.preemption_mode));
  restrict_last();
  add("swap_space", "GIB", "host memory of each GPU for preempted sequences, with preemption_mode swap",
      ORRERY_MEMBER(kv_offloading.swap_space));
}

}  // namespace orrery
