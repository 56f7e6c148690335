#include "serving/router.hpp"

namespace orrery {
namespace {

/// To the replica that holds most of the prompt in its prefix cache, unless it is far busier than the idlest
/// one (SGLang's cache-aware router: balance when max - min > 32 requests and max > 1.1 min); ties to the
/// least loaded.
class PrefixAware final : public Router {
  static constexpr std::int64_t kImbalance = 32;
  static constexpr double kRatio = 1.1;

  int route(const Request& request, std::span<const ReplicaView> replicas,
            const PrefixProbe& probe) override {
    std::size_t idlest = 0, busiest = 0;
    for (std::size_t i = 1; i < replicas.size(); ++i) {
      if (replicas[i].outstanding_requests < replicas[idlest].outstanding_requests) idlest = i;
      if (replicas[i].outstanding_requests > replicas[busiest].outstanding_requests) busiest = i;
    }
    const auto low = replicas[idlest].outstanding_requests, high = replicas[busiest].outstanding_requests;
    if (!request.prefix ||
        (high - low > kImbalance && static_cast<double>(high) > kRatio * static_cast<double>(low))) {
      return static_cast<int>(idlest);
    }
    std::size_t best = idlest;
    Tokens most = probe.cached_tokens(static_cast<int>(idlest), request);
    for (std::size_t i = 0; i < replicas.size(); ++i) {
      const Tokens cached = probe.cached_tokens(static_cast<int>(i), request);
      const bool idler = replicas[i].outstanding_requests < replicas[best].outstanding_requests;
      if (cached > most || (cached == most && idler)) best = i, most = cached;
    }
    return static_cast<int>(best);
  }
};

const Registration<Routers> prefix_aware{
    "prefix_aware", "to the replica that caches most of the prompt, unless load is far out of balance",
    [](const RouterParams&) -> std::unique_ptr<Router> { return std::make_unique<PrefixAware>(); }};

}  // namespace
}  // namespace orrery
