#include <algorithm>

#include "serving/router.hpp"

namespace orrery {
namespace {

/// Llumnix's dispatch (Sun et al., OSDI 2024, section 4.4.3).
class Freest final : public Router {
  int route(const Request&, std::span<const ReplicaView> replicas, const PrefixProbe&) override {
    const auto less = [](const ReplicaView& a, const ReplicaView& b) { return a.freeness < b.freeness; };
    return static_cast<int>(std::max_element(replicas.begin(), replicas.end(), less) - replicas.begin());
  }
  bool reads_freeness() const override { return true; }
};

const Registration<Routers> freest{
    "freest", "to the replica with the most KV blocks left for each of its sequences, queued ones included",
    [](const RouterParams&) -> std::unique_ptr<Router> { return std::make_unique<Freest>(); }};

}  // namespace
}  // namespace orrery
