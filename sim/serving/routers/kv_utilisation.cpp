#include "serving/router.hpp"

namespace orrery {
namespace {

/// To the replica whose KV cache is used least; of equals to the one with the fewest unfinished requests:
/// what has not begun holds no blocks yet.
class KvUtilisation final : public Router {
  int route(const Request&, std::span<const ReplicaView> replicas, const PrefixProbe&) override {
    std::size_t best = 0;
    for (std::size_t i = 1; i < replicas.size(); ++i) {
      const double a = replicas[i].kv_used(), b = replicas[best].kv_used();
      const bool idler = replicas[i].outstanding_requests < replicas[best].outstanding_requests;
      if (a < b || (a == b && idler)) best = i;
    }
    return static_cast<int>(best);
  }
  bool reads_kv() const override { return true; }
};

const Registration<Routers> kv_utilisation{
    "kv_utilisation", "to the replica whose KV cache is used least",
    [](const RouterParams&) -> std::unique_ptr<Router> { return std::make_unique<KvUtilisation>(); }};

}  // namespace
}  // namespace orrery
