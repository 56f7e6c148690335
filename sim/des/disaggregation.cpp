#include "des/disaggregation.hpp"

#include <algorithm>
#include <utility>

#include "base/error.hpp"

namespace orrery {

Disaggregation::Disaggregation(const HandoverConfig& config, const CoreContext& context, Cluster& cluster)
    : config_(config), context_(context), cluster_(cluster) {}

Request Disaggregation::prefill_part(const Request& request) {
  Handover& h = under_way_[request.id];
  h.request = request;
  h.told.request = request.id;
  Request part = request;
  part.output_tokens = std::min(part.output_tokens, 1);
  return part;
}

void Disaggregation::on_prefill(const Request& part, const SequenceHandle& source, Ps start, Ps end) {
  Handover& h = under_way_.at(part.id);
  h.told.source = source.where.replica;
  if (!config_.overlap || h.expected || h.request.output_tokens == 1) return;
  h.first_layer = start + (end - start) / config_.layers;
  expect(h, start);
}

void Disaggregation::expect(Handover& h, Ps now) {
  h.expected = true;
  const RequestId id = h.request.id;
  const int target = cluster_.choose_decode(h.request, now);
  cluster_.replica(target).expect(h.request, now);  // may refuse it
  if (under_way_.count(id)) cluster_.changed(target);
}

void Disaggregation::on_reserved(const Request& request, const SequenceHandle& target, Tokens tokens,
                                 Ps now) {
  Handover& h = under_way_.at(request.id);
  const Tokens prompt = request.prompt_tokens;
  h.target = target, h.reserved = true;
  h.told.target = target.where.replica, h.told.reserved = now;
  h.told.bytes = config_.kv_bytes(prompt) - (tokens < prompt ? config_.kv_bytes(prompt - tokens) : 0.0);
  if (h.computed) {
    send_rest(h, now);
  } else if (h.first_layer > now) {
    cluster_.at(h.first_layer, [this, id = request.id](Ps at) { on_first_layer(id, at); });
  } else {
    send_early(h, now);
  }
}

void Disaggregation::on_prefilled(const Request& part, const SequenceHandle& source, const Prefilled& done,
                                  Ps now) {
  Handover& h = under_way_.at(part.id);
  h.source = source, h.prefilled = done, h.computed = true;
  h.told.prefilled = now;
  const bool alone = h.request.output_tokens == 1;
  if (!alone) cluster_.leave(h.told.source, part);
  if (h.refused || alone) {
    const Handover last = std::move(h);
    under_way_.erase(part.id);
    if (alone) complete_at_once(last, now);
    return release_source(last, now);
  }
  if (!h.expected) return expect(h, now);
  if (h.reserved && !h.early_under_way) send_rest(h, now);
}

/// A request for one token needs nobody to decode.
void Disaggregation::complete_at_once(const Handover& h, Ps now) {
  const ReplicaConfig& config = cluster_.config(h.source.where.replica);
  RequestRecord record;
  record.id = h.request.id, record.replica = h.told.source, record.client = h.request.client;
  record.priority = h.request.priority;
  record.prompt_tokens = h.request.prompt_tokens, record.cached_tokens = h.prefilled.cached_tokens;
  record.output_tokens = 1, record.preemptions = h.prefilled.preemptions;
  record.turn = h.request.turn;
  record.arrival = h.request.arrival, record.queued = h.prefilled.queued;
  record.scheduled = h.prefilled.scheduled;
  record.first_token = record.done = now + config.front_end.out;
  context_.totals.prefix_query_tokens += h.request.prompt_tokens;
  context_.totals.prefix_hit_tokens += h.prefilled.cached_tokens;
  ++context_.totals.completed;
  for (Observer* o : context_.observers) o->on_request_done(record);
  context_.listener.on_done(h.request, record);
}

void Disaggregation::on_refused(RequestId id, Ps now) {
  const auto it = under_way_.find(id);
  if (it == under_way_.end()) return;
  Handover& h = it->second;
  if (h.expected && !h.computed) {
    h.refused = true;  // its prompt is still being computed
    return;
  }
  const Handover last = std::move(h);
  under_way_.erase(it);
  if (last.computed) release_source(last, now);
}

void Disaggregation::send(Handover& h, double bytes, Ps now, Fabric::Done done) {
  if (h.told.start == Ps(0)) h.told.start = now;
  const ReplicaConfig& from = cluster_.config(h.told.source);
  const ReplicaConfig& to = cluster_.config(h.told.target);
  cluster_.fabric().transfer_sharded(from.first_gpu, from.gpus, to.first_gpu, to.gpus, Bytes(bytes), now,
                                     std::move(done));
}

void Disaggregation::on_first_layer(RequestId id, Ps now) {
  const auto it = under_way_.find(id);
  if (it != under_way_.end() && !it->second.computed && !it->second.early_under_way)
    send_early(it->second, now);
}

/// All layers but the last, whose KV is sent as it is computed.
void Disaggregation::send_early(Handover& h, Ps now) {
  if (config_.layers < 2) return;
  h.sent_early = h.told.bytes * (config_.layers - 1) / config_.layers;
  h.early_under_way = true;
  send(h, h.sent_early, now, [this, id = h.request.id](Ps at) {
    Handover& sent = under_way_.at(id);
    sent.early_under_way = false;
    if (sent.computed) send_rest(sent, at);
  });
}

void Disaggregation::send_rest(Handover& h, Ps now) {
  send(h, h.told.bytes - h.sent_early, now, [this, id = h.request.id](Ps at) { finish(id, at); });
}

void Disaggregation::finish(RequestId id, Ps now) {
  const Handover h = std::move(under_way_.at(id));
  under_way_.erase(id);
  KvTransfer told = h.told;
  told.end = now;
  for (Observer* o : context_.observers) o->on_kv_transfer(told);
  release_source(h, now);
  cluster_.replica(told.target).receive(h.target, h.prefilled, now);
  cluster_.changed(told.target);
}

void Disaggregation::release_source(const Handover& h, Ps now) {
  const int source = h.source.where.replica;
  cluster_.replica(source).release(h.source, now);
  cluster_.changed(source);
}

std::string Disaggregation::deadlock() const {
  std::int64_t computed = 0, reserved = 0, neither = 0;
  for (const auto& [id, h] : under_way_) ++(h.computed ? computed : h.reserved ? reserved : neither);
  return "requests wait for each other's KV blocks: " + std::to_string(computed) +
         " hold those of a prompt that nobody has room to take, " + std::to_string(reserved) +
         " hold those that a prompt is to be sent to and cannot compute it, " + std::to_string(neither) +
         " wait for either";
}

}  // namespace orrery
