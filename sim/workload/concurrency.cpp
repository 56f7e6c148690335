#include <functional>
#include <queue>
#include <tuple>
#include <utility>
#include <vector>

#include "base/rng.hpp"
#include "workload/synthetic_source.hpp"

namespace orrery {
namespace {

class ConcurrencyLimit : public RequestSource {
 public:
  ConcurrencyLimit(RequestSourcePtr inner, const WorkloadSpec& spec, std::uint64_t seed)
      : inner_(std::move(inner)),
        clients_(spec.max_concurrency),
        delay_(to_ps(Seconds(spec.client_delay_s))),
        think_mean_s_(spec.think_time_s),
        think_cv_(spec.think_time_cv),
        rng_(seed, "clients.think") {}

  bool next(Request& out) override {
    if (!has_head_) has_head_ = inner_->next(head_);
    if (!has_head_) return false;
    Ps free{0};
    std::int64_t client = fresh_;
    if (fresh_ < clients_) {  // those who have not asked yet are free from the start
      ++fresh_;
    } else if (!free_.empty()) {
      std::tie(free, client) = free_.top();
      free_.pop();
    } else {
      return false;
    }
    out = std::move(head_);
    has_head_ = false;
    if (out.arrival < free) out.arrival = free;
    if (out.client < 0) out.client = static_cast<std::int32_t>(client);
    return true;
  }

  void completed(const Request& request, Ps now) override {
    free_.emplace(now + delay_ + think(), request.client);
    inner_->completed(request, now);
  }

  bool closed_loop() const override { return true; }
  std::int64_t total() const override {
    const std::int64_t n = inner_->total();
    return n < 0 ? n : n + (has_head_ ? 1 : 0);
  }
  std::vector<std::string> notes() const override { return inner_->notes(); }

 private:
  Ps think() {
    if (think_mean_s_ <= 0) return Ps(0);
    if (think_cv_ <= 0) return to_ps(Seconds(think_mean_s_));
    const double shape = 1 / (think_cv_ * think_cv_);
    return to_ps(Seconds(rng_.gamma(shape, think_mean_s_ / shape)));
  }

  RequestSourcePtr inner_;
  std::int64_t clients_, fresh_ = 0;
  Ps delay_;
  double think_mean_s_, think_cv_;
  Rng rng_;
  Request head_;  ///< taken from inner_, waiting for a client
  bool has_head_ = false;
  using FreeClient = std::pair<Ps, std::int64_t>;  ///< when, who
  std::priority_queue<FreeClient, std::vector<FreeClient>, std::greater<>> free_;
};

}  // namespace

RequestSourcePtr limit_concurrency(RequestSourcePtr inner, const WorkloadSpec& spec, std::uint64_t seed) {
  return std::make_unique<ConcurrencyLimit>(std::move(inner), spec, seed);
}

}  // namespace orrery
