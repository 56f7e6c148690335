#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "base/registry.hpp"
#include "base/rng.hpp"
#include "workload/request.hpp"

namespace orrery {

/// What a router may know of a replica when a request arrives.
struct ReplicaView {
  int replica = 0;  ///< its number in the cluster: of those that come and go, routers see who is there
  std::int64_t outstanding_requests = 0;  ///< sent to it and not finished
  Tokens outstanding_tokens = 0;          ///< prompt and output tokens of those requests
  std::int64_t kv_blocks_free = 0;
  double freeness = 0;  ///< as serving/freeness.hpp; for routers that read it
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
};

struct Routers {
  static constexpr const char* kind = "router";
  using Factory = std::unique_ptr<Router> (*)(std::uint64_t seed);
};

}  // namespace orrery
