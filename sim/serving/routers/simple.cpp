#include "serving/router.hpp"

namespace orrery {
namespace {

class RoundRobin final : public Router {
 public:
  int route(const Request&, std::span<const ReplicaView> replicas, const PrefixProbe&) override {
    return static_cast<int>(next_++ % replicas.size());
  }

 private:
  std::size_t next_ = 0;
};

class Random final : public Router {
 public:
  explicit Random(std::uint64_t seed) : rng_(seed, "router/random") {}
  int route(const Request&, std::span<const ReplicaView> replicas, const PrefixProbe&) override {
    return static_cast<int>(rng_.uniform_int(0, static_cast<std::int64_t>(replicas.size()) - 1));
  }

 private:
  Rng rng_;
};

const Registration<Routers> round_robin{
    "round_robin", "each request to the next replica in turn",
    [](const RouterParams&) -> std::unique_ptr<Router> { return std::make_unique<RoundRobin>(); }};
const Registration<Routers> random_router{
    "random", "each request to a replica drawn uniformly",
    [](const RouterParams& p) -> std::unique_ptr<Router> { return std::make_unique<Random>(p.seed); }};

}  // namespace
}  // namespace orrery
