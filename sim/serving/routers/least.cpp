#include "serving/router.hpp"

namespace orrery {
namespace {

template <class Load>
int least(std::span<const ReplicaView> replicas, Load load) {
  int best = 0;
  for (std::size_t i = 1; i < replicas.size(); ++i) {
    if (load(replicas[i]) < load(replicas[static_cast<std::size_t>(best)])) best = static_cast<int>(i);
  }
  return best;
}

class LeastRequests final : public Router {
  int route(const Request&, std::span<const ReplicaView> replicas, const PrefixProbe&) override {
    return least(replicas, [](const ReplicaView& r) { return r.outstanding_requests; });
  }
};

class LeastTokens final : public Router {
  int route(const Request&, std::span<const ReplicaView> replicas, const PrefixProbe&) override {
    return least(replicas, [](const ReplicaView& r) { return r.outstanding_tokens; });
  }
};

/// Mitzenmacher, 2001: the less loaded of two drawn at random.
class PowerOfTwo final : public Router {
 public:
  explicit PowerOfTwo(std::uint64_t seed) : rng_(seed, "router/power_of_two") {}
  int route(const Request&, std::span<const ReplicaView> replicas, const PrefixProbe&) override {
    const auto n = static_cast<std::int64_t>(replicas.size());
    if (n == 1) return 0;
    const auto a = rng_.uniform_int(0, n - 1);
    auto b = rng_.uniform_int(0, n - 2);
    if (b >= a) ++b;
    const auto load = [&](std::int64_t i) {
      return replicas[static_cast<std::size_t>(i)].outstanding_requests;
    };
    return static_cast<int>(load(b) < load(a) || (load(b) == load(a) && b < a) ? b : a);
  }

 private:
  Rng rng_;
};

const Registration<Routers> least_requests{
    "least_requests", "to the replica with the fewest unfinished requests",
    [](const RouterParams&) -> std::unique_ptr<Router> { return std::make_unique<LeastRequests>(); }};
const Registration<Routers> least_tokens{
    "least_tokens", "to the replica with the fewest tokens (prompt and output) in unfinished requests",
    [](const RouterParams&) -> std::unique_ptr<Router> { return std::make_unique<LeastTokens>(); }};
const Registration<Routers> power_of_two{
    "power_of_two", "the less loaded of two replicas drawn at random",
    [](const RouterParams& p) -> std::unique_ptr<Router> { return std::make_unique<PowerOfTwo>(p.seed); }};

}  // namespace
}  // namespace orrery
