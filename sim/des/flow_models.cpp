#include <algorithm>
#include <limits>
#include <queue>

#include "des/flow_model.hpp"

namespace orrery {
namespace {

/// Each flow goes as fast as its slowest link, as if it were alone.
class Uncontended final : public FlowModel {
 public:
  explicit Uncontended(std::span<const double> rates) : rates_(rates.begin(), rates.end()) {}

  void start(std::uint64_t id, std::span<const int> links, double bytes, Ps now) override {
    double rate = std::numeric_limits<double>::infinity();
    for (const int link : links) rate = std::min(rate, rates_[static_cast<std::size_t>(link)]);
    ends_.push({now + to_ps(Seconds(bytes / rate)), id});
  }
  Ps run_until(Ps horizon, std::vector<std::uint64_t>& ended) override {
    if (ends_.empty() || ends_.top().time > horizon) return horizon;
    const Ps now = ends_.top().time;
    for (; !ends_.empty() && ends_.top().time == now; ends_.pop()) ended.push_back(ends_.top().id);
    return now;
  }

 private:
  struct End {
    Ps time;
    std::uint64_t id;
    bool operator>(const End& o) const { return time != o.time ? time > o.time : id > o.id; }
  };
  std::vector<double> rates_;
  std::priority_queue<End, std::vector<End>, std::greater<>> ends_;
};

/// Bytes are where they are wanted: what a cluster could do if moving them cost nothing.
class Instant final : public FlowModel {
 public:
  void start(std::uint64_t, std::span<const int>, double, Ps) override {}
  Ps run_until(Ps horizon, std::vector<std::uint64_t>&) override { return horizon; }
  bool instant() const override { return true; }
};

const Registration<FlowModels> uncontended{
    "uncontended", "each transfer at the rate of its slowest link, whatever else moves",
    [](std::span<const double> rates) -> FlowModel* { return new Uncontended(rates); }};
const Registration<FlowModels> infinite{"infinite",
                                        "transfers take no time: the bound that no network can pass",
                                        [](std::span<const double>) -> FlowModel* { return new Instant; }};

}  // namespace
}  // namespace orrery
