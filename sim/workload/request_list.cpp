#include "workload/request_list.hpp"

#include <cmath>

#include "base/error.hpp"
#include "workload/arrival_process.hpp"

namespace orrery {
namespace {

constexpr double kLatestPs = 9.2e18;  // just below 2^63

class ListSource : public RequestSource {
 public:
  ListSource(std::shared_ptr<const RequestList> list, ArrivalProcessPtr arrivals)
      : list_(std::move(list)), arrivals_(std::move(arrivals)) {}

  bool next(Request& out) override {
    if (next_ == list_->requests.size()) return false;
    const Request& request = list_->requests[next_];
    const Ps arrival = arrivals_ ? drawn() : request.arrival;
    ORRERY_CHECK(arrival >= last_, "listed requests are in order of arrival");
    out = request;
    out.id = static_cast<RequestId>(next_++);
    out.arrival = last_ = arrival;
    return true;
  }
  std::int64_t total() const override { return static_cast<std::int64_t>(list_->requests.size() - next_); }

 private:
  Ps drawn() {
    const double seconds = arrivals_->next();
    if (seconds * kPsPerSecond < kLatestPs) return to_ps(Seconds(seconds));
    throw ConfigError("the requests take longer than 106 days, the span of simulated time",
                      "set a higher --request-rate");
  }

  std::shared_ptr<const RequestList> list_;
  ArrivalProcessPtr arrivals_;  ///< null: the requests have their own times
  std::size_t next_ = 0;
  Ps last_{0};
};

}  // namespace

RequestSourcePtr make_list_source(const WorkloadSpec& spec, std::uint64_t seed) {
  if (spec.list->requests.empty()) throw ConfigError("there are no requests to replay");
  ArrivalProcessPtr arrivals;
  if (!spec.list->timed) arrivals = make_arrivals(spec.arrivals, spec.request_rate, seed);
  return std::make_unique<ListSource>(spec.list, std::move(arrivals));
}

}  // namespace orrery
