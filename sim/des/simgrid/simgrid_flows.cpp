// The module of the contended fabric. It is loaded at run time and sees nothing of the library but headers.
#include <algorithm>
#include <cmath>
#include <memory>
#include <set>
#include <vector>

#include <simgrid/kernel/routing/NetZoneImpl.hpp>
#include <simgrid/s4u.hpp>

#include "des/flow_model.hpp"

namespace orrery {
namespace {

namespace sg = simgrid::s4u;
namespace routing = simgrid::kernel::routing;

/// SimGrid's clock counts seconds in a double and is never reset. Begun at 2^20 s, every date for the next
/// twelve days is a whole number of 2^-32 s, sums of them are exact, and a simulation's result does not
/// depend on what ran before it in this process, nor on how often it was asked for the time.
constexpr double kFirstDate = 1048576.0;
constexpr int kGrid = 32;
constexpr double kFarAway = 1e9;  ///< seconds; as a horizon: none

/// All flows go between the same two hosts: the route of the one that starts is put in place before.
class Zone final : public routing::NetZoneImpl {
 public:
  explicit Zone(std::span<const double> rates) : NetZoneImpl("fabric") {
    sg::NetZone* zone = get_iface();
    source_ = zone->create_host("source", 1.0), target_ = zone->create_host("target", 1.0);
    for (std::size_t i = 0; i < rates.size(); ++i) {
      // No latency: it would weigh in how links are shared; Fabric adds it.
      links_.push_back(zone->create_link(std::to_string(i), std::max(1.0, rates[i]))->seal());
    }
    zone->seal();
  }
  sg::CommPtr send(std::span<const int> links) {
    route_ = links;
    return sg::Comm::sendto_init(source_, target_);
  }

 private:
  void get_local_route(const routing::NetPoint*, const routing::NetPoint*, routing::Route* into,
                       double* latency) override {
    *latency = 0;
    for (const int link : route_) {
      into->link_list_.push_back(links_[static_cast<std::size_t>(link)]->get_impl());
    }
  }

  sg::Host *source_, *target_;
  std::vector<sg::Link*> links_;
  std::span<const int> route_;
};

/// A place among the flows as the pointer SimGrid keeps for its user: a number, never looked through.
void* as_data(std::size_t place) {
  return reinterpret_cast<void*>(place);  // NOLINT(performance-no-int-to-ptr)
}

class SimGridFlows;
SimGridFlows* current = nullptr;  ///< SimGrid's engine is one per process, and so are its signals

class SimGridFlows final : public FlowModel {
 public:
  explicit SimGridFlows(std::span<const double> rates) {
    static bool configured = false;
    static char name[] = "orrery";
    static char* argv[] = {name, nullptr};
    int argc = 1;
    if (!configured) xbt_log_control_set("root.thresh:critical");
    engine_ = std::make_unique<sg::Engine>(&argc, argv);
    if (!configured) {
      // Plain max-min sharing: no cap by window and latency, no acknowledgements on the way back.
      for (const char* option :
           {"network/model:CM02", "network/TCP-gamma:0", "network/crosstraffic:0", "surf/precision:1e-12"}) {
        sg::Engine::set_config(option);
      }
      sg::Activity::on_completion_cb([](const sg::Activity& activity) { tell(activity); });
      configured = true;
    }
    zone_ = new Zone(rates);  // the engine owns it
    engine_->track_vetoed_activities(&stop_);
    current = this;
    go_to(std::max(kFirstDate, std::ceil(sg::Engine::get_clock())));
    origin_ = sg::Engine::get_clock();
  }
  ~SimGridFlows() override {
    current = nullptr;
    for (auto& comm : flows_) {
      if (comm.second) comm.second->cancel();
    }
    flows_.clear(), over_.clear();
  }

  void start(std::uint64_t id, std::span<const int> links, double bytes, Ps now) override {
    go_to(date(now));
    sg::CommPtr comm = zone_->send(links);
    comm->set_payload_size(static_cast<std::uint64_t>(std::max(1.0, std::round(bytes))));
    comm->set_data(as_data(flows_.size() + 1));
    flows_.emplace_back(id, comm);
    comm->start();
  }

  Ps run_until(Ps horizon, std::vector<std::uint64_t>& ended) override {
    const double end = horizon == kNever ? kFarAway : date(horizon);
    while (sg::Engine::get_clock() < end && ended_.empty()) step(end);
    over_.clear();
    if (ended_.empty()) return horizon;
    std::sort(ended_.begin(), ended_.end());
    ended.insert(ended.end(), ended_.begin(), ended_.end());
    ended_.clear();
    const double seconds = sg::Engine::get_clock() - origin_;
    return std::min(horizon, Ps(static_cast<std::int64_t>(std::ceil(seconds * kPsPerSecond))));
  }

 private:
  static void tell(const sg::Activity& activity) {
    if (current) current->finished(activity);
  }
  void finished(const sg::Activity& activity) {
    stop_.insert(const_cast<sg::Activity*>(&activity));  // makes the engine return after this date
    const auto index =
        reinterpret_cast<std::size_t>(const_cast<sg::Activity&>(activity).get_data<void>()) - 1;
    ended_.push_back(flows_[index].first);
    over_.push_back(std::move(flows_[index].second));  // must live until the engine has let go of it
    if (index + 1 != flows_.size()) {                  // the last one takes its place
      flows_[index] = std::move(flows_.back());
      flows_[index].second->set_data(as_data(index + 1));
    }
    flows_.pop_back();
  }
  /// One or more dates further, not beyond `end`.
  void step(double end) {
    stop_.clear();
    engine_->run_until(end);
  }
  /// Moves the clock; no flow ends before.
  void go_to(double end) {
    while (sg::Engine::get_clock() < end) step(end);
  }
  double date(Ps now) const {
    const double seconds = static_cast<double>(now.value) / kPsPerSecond;
    return origin_ + std::ldexp(std::floor(std::ldexp(seconds, kGrid)), -kGrid);
  }

  std::unique_ptr<sg::Engine> engine_;
  Zone* zone_ = nullptr;
  double origin_ = 0;
  std::vector<std::pair<std::uint64_t, sg::CommPtr>> flows_;
  std::vector<sg::CommPtr> over_;
  std::set<sg::Activity*> stop_;
  std::vector<std::uint64_t> ended_;
};

}  // namespace
}  // namespace orrery

extern "C" orrery::FlowModel* orrery_make_simgrid_flows(const double* rates, std::size_t links) {
  if (orrery::current) return nullptr;
  return new orrery::SimGridFlows({rates, links});
}
