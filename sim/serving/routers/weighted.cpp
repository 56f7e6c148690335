#include <algorithm>

#include "serving/router.hpp"

namespace orrery {
namespace {

/// Scorers between 0 and 1, each with a weight; the replica with the greatest sum, ties to the lowest index
/// (the endpoint picker of Kubernetes' Gateway API Inference Extension, and llm-d's). Prefix: share of the
/// prompt in the replica's cache. Load: 1 for the fewest unfinished requests, 0 for the most, linear between.
/// KV: share of its blocks that is free.
class Weighted final : public Router {
 public:
  explicit Weighted(const RouterParams& params) : params_(params) {}

  int route(const Request& request, std::span<const ReplicaView> replicas,
            const PrefixProbe& probe) override {
    const auto requests = [](const ReplicaView& a, const ReplicaView& b) {
      return a.outstanding_requests < b.outstanding_requests;
    };
    const auto [idlest, busiest] = std::minmax_element(replicas.begin(), replicas.end(), requests);
    const std::int64_t low = idlest->outstanding_requests, high = busiest->outstanding_requests;
    int best = 0;
    double most = -1;
    for (int i = 0; i < static_cast<int>(replicas.size()); ++i) {
      const ReplicaView& view = replicas[static_cast<std::size_t>(i)];
      double score = params_.kv_weight * (1 - view.kv_used());
      if (params_.prefix_weight > 0 && request.prefix && request.prompt_tokens > 0) {
        score += params_.prefix_weight * static_cast<double>(probe.cached_tokens(i, request)) /
                 static_cast<double>(request.prompt_tokens);
      }
      score += params_.load_weight * (high > low ? static_cast<double>(high - view.outstanding_requests) /
                                                       static_cast<double>(high - low)
                                                 : 1.0);
      if (score > most) best = i, most = score;
    }
    return best;
  }
  bool reads_kv() const override { return params_.kv_weight > 0; }

 private:
  RouterParams params_;
};

const Registration<Routers> weighted{
    "weighted", "greatest weighted sum of cached prefix, short queue and free KV cache (router_weights)",
    [](const RouterParams& p) -> std::unique_ptr<Router> { return std::make_unique<Weighted>(p); }};

}  // namespace
}  // namespace orrery
