#include "serving/router.hpp"

namespace orrery {
namespace {

/// For replicas of different devices: where the request, and what is to be done before it, costs least GPU
/// money. That is price times predicted seconds of all unfinished requests there and this one; a device at
/// twice the price has to be twice as quick, and a queue makes any device dear. Lengths of answers are known
/// to it.
class CostAware final : public Router {
  int route(const Request& request, std::span<const ReplicaView> replicas, const PrefixProbe&) override {
    std::size_t best = 0;
    for (std::size_t i = 1; i < replicas.size(); ++i) {
      if (cost(request, replicas[i]) < cost(request, replicas[best])) best = i;
    }
    return static_cast<int>(best);
  }

  static double cost(const Request& request, const ReplicaView& r) {
    const Tokens prompts = r.outstanding_prompt_tokens + request.prompt_tokens;
    const Tokens answers = r.outstanding_tokens - r.outstanding_prompt_tokens + request.output_tokens;
    const double seconds = r.rate.prompt_token_s * static_cast<double>(prompts) +
                           r.rate.answer_token_s * static_cast<double>(answers);
    return r.rate.usd_per_hour * seconds;
  }
};

const Registration<Routers> cost_aware{
    "cost_aware", "where price times predicted work, this request's included, is least (devices that differ)",
    [](const RouterParams&) -> std::unique_ptr<Router> { return std::make_unique<CostAware>(); }};

}  // namespace
}  // namespace orrery
