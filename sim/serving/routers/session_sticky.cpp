#include "serving/router.hpp"

namespace orrery {
namespace {

/// All requests of a session to one replica, which has its earlier turns in the cache. Which one follows from
/// the session's and the replicas' numbers alone (rendezvous hashing; Thaler and Ravishankar, 1998): where a
/// replica comes or goes, only sessions that it gains or loses move. A request without a session goes by its
/// client, one without either to the replica with the fewest unfinished requests.
class SessionSticky final : public Router {
  int route(const Request& request, std::span<const ReplicaView> replicas, const PrefixProbe&) override {
    const std::int32_t key = request.session >= 0 ? request.session : request.client;
    std::size_t best = 0;
    for (std::size_t i = 1; i < replicas.size(); ++i) {
      const bool better = key >= 0 ? weight(key, replicas[i]) > weight(key, replicas[best])
                                   : replicas[i].outstanding_requests < replicas[best].outstanding_requests;
      if (better) best = i;
    }
    return static_cast<int>(best);
  }

  /// splitmix64's finaliser of both numbers.
  static std::uint64_t weight(std::int32_t key, const ReplicaView& replica) {
    std::uint64_t z = static_cast<std::uint64_t>(key) << 32 | static_cast<std::uint32_t>(replica.replica);
    z += 0x9e3779b97f4a7c15ULL;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
  }
};

const Registration<Routers> session_sticky{
    "session_sticky", "all requests of a session (else of a client) to one replica, by consistent hashing",
    [](const RouterParams&) -> std::unique_ptr<Router> { return std::make_unique<SessionSticky>(); }};

}  // namespace
}  // namespace orrery
