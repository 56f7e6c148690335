#include "des/fabric.hpp"

#include <algorithm>
#include <utility>

#include "base/error.hpp"
#include "cost/alpha_beta.hpp"

namespace orrery {
namespace {

constexpr AlphaBeta kLinks{};

std::vector<double> rates(const ClusterTopology& topology) {
  std::vector<double> out;
  for (const FabricLink& link : topology.links()) out.push_back(link.bytes_per_s * kLinks.link_efficiency);
  return out;
}

}  // namespace

Fabric::Fabric(ClusterTopology topology, const std::string& flows)
    : topology_(std::move(topology)),
      flows_(Registry<FlowModels>::find(flows).make(rates(topology_))),
      carried_(topology_.links().size()) {}

void Fabric::transfer(const Endpoint& from, const Endpoint& to, Bytes bytes, Ps now, Done done) {
  Route route = topology_.route(from, to);
  std::uint64_t id = slots_.size();
  if (spare_.empty()) {
    slots_.emplace_back();
  } else {
    id = spare_.back();
    spare_.pop_back();
  }
  if (flows_->instant()) route.links.clear();
  const double hop = route.leaves_server ? kLinks.network_hop_s : kLinks.hop_s;
  const Ps latency = route.links.empty() ? Ps(0) : to_ps(Seconds(hop));
  slots_[id] = {std::move(route.links), bytes.value, latency, std::move(done)};
  ++transfers_;
  bytes_started_ += bytes.value;
  const Transfer& transfer = slots_[id];
  if (transfer.links.empty() || bytes.value <= 0) {
    arriving_.push({now + latency, id});
    return;
  }
  pending_.push_back(id);
  flows_->start(id, transfer.links, bytes.value, now);
}

void Fabric::transfer_sharded(int first_source, int sources, int first_target, int targets, Bytes bytes,
                              Ps now, Done done) {
  const int parts = std::max(sources, targets);
  auto left = std::make_shared<int>(parts);
  auto last = std::make_shared<Done>(std::move(done));
  for (int p = 0; p < parts; ++p) {
    const Endpoint from{Endpoint::Kind::gpu, first_source + p * sources / parts};
    const Endpoint to{Endpoint::Kind::gpu, first_target + p * targets / parts};
    transfer(from, to, bytes / parts, now, [left, last](Ps at) {
      if (--*left == 0) (*last)(at);
    });
  }
}

Ps Fabric::next_event(Ps horizon) {
  const auto next_arrival = [&] { return arriving_.empty() ? kNever : arriving_.top().time; };
  while (!pending_.empty()) {
    ended_.clear();
    const Ps reached = flows_->run_until(std::min(horizon, next_arrival()), ended_);
    if (ended_.empty()) break;
    for (const std::uint64_t id : ended_) land(id, reached);
  }
  return next_arrival() <= horizon ? next_arrival() : kNever;
}

/// A flow has sent its last byte at `time`.
void Fabric::land(std::uint64_t id, Ps time) {
  const Transfer& transfer = slots_[id];
  pending_.erase(std::find(pending_.begin(), pending_.end(), id));
  for (const int link : transfer.links) carried_[static_cast<std::size_t>(link)] += transfer.bytes;
  arriving_.push({time + transfer.latency, id});
}

void Fabric::advance(Ps now) {
  while (!arriving_.empty() && arriving_.top().time <= now) {
    const std::uint64_t id = arriving_.top().id;
    arriving_.pop();
    Transfer transfer = std::move(slots_[id]);
    spare_.push_back(id);
    bytes_delivered_ += transfer.bytes;
    transfer.done(now);
  }
}

}  // namespace orrery
