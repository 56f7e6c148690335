#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "base/registry.hpp"
#include "base/rng.hpp"
#include "workload/request.hpp"

namespace orrery {

/// What a replica takes for its work and costs, where replicas differ: predicted seconds that a prompt's and
/// an answer's token take in a busy batch, and the price of its GPUs.
struct ServingRate {
  double prompt_token_s = 1, answer_token_s = 1;
  double usd_per_hour = 1;
};

/// What a router may know of a replica when a request arrives.
struct ReplicaView {
  int replica = 0;  ///< its number in the cluster: of those that come and go, routers see who is there
  std::int64_t outstanding_requests = 0;  ///< sent to it and not finished
  Tokens outstanding_tokens = 0;          ///< prompt and output tokens of those requests
  double freeness = 0;                    ///< as serving/freeness.hpp; for routers that read it
  std::int64_t kv_blocks_free = 0;        ///< for routers that read it, as the next one
  std::int64_t kv_blocks_total = 0;
  Tokens outstanding_prompt_tokens = 0;  ///< of outstanding_tokens
  ServingRate rate;

  /// Share of its KV cache.
  double kv_used() const {
    if (kv_blocks_total == 0) return 0;
    return 1 - static_cast<double>(kv_blocks_free) / static_cast<double>(kv_blocks_total);
  }
};

/// What routers are told once.
struct RouterParams {
  std::uint64_t seed = 0;
  /// weighted: of the shares of a prompt that is cached, of an empty queue and of a free KV cache. The
  /// defaults are llm-d's (prefix-cache-scorer, queue-scorer, kv-cache-utilization-scorer).
  double prefix_weight = 3, load_weight = 2, kv_weight = 2;
};

/// Answers how many prompt tokens of a request a replica holds in its prefix cache.
class PrefixProbe {
 public:
  virtual ~PrefixProbe() = default;
  virtual Tokens cached_tokens(int replica, const Request& request) const = 0;
};

/// Chooses a replica for each request; a pure decision, ties to the lowest index.
class Router {
 public:
  virtual ~Router() = default;
  virtual int route(const Request& request, std::span<const ReplicaView> replicas,
                    const PrefixProbe& probe) = 0;
  /// Whether it needs ReplicaView::freeness.
  virtual bool reads_freeness() const { return false; }
  /// Whether it needs the views' KV blocks.
  virtual bool reads_kv() const { return false; }
};

struct Routers {
  static constexpr const char* kind = "router";
  using Factory = std::unique_ptr<Router> (*)(const RouterParams&);
};

}  // namespace orrery
