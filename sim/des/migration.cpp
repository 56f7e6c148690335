#include "des/migration.hpp"

#include <algorithm>
#include <utility>

#include "base/error.hpp"
#include "des/engine_core.hpp"

namespace orrery {

double freeness(Replica& replica, double urgent_tokens, Ps now) {
  replica.catch_up(now);
  if (replica.core(0) == nullptr) {
    throw ConfigError("how free a replica of pipeline stages is, is not modelled", "--router least_tokens");
  }
  InstanceLoad load;
  for (int i = 0; const EngineCore* core = replica.core(i); ++i) load += core->scheduler().load();
  const int block_size = replica.core(0)->scheduler().kv().block_size();
  return freeness(load, std::max(0.0, static_cast<double>(load.blocks) - urgent_tokens / block_size));
}

LiveMigration::LiveMigration(const MigrationConfig& config, const CoreContext& context, Cluster& cluster)
    : config_(config),
      context_(context),
      cluster_(cluster),
      policy_(Registry<MigrationPolicies>::find(config.params.policy).make(config.params)),
      interval_(to_ps(Seconds(config.params.interval_s))),
      moves_(static_cast<std::size_t>(cluster.replicas())) {
  for (int i = 0; i < cluster.replicas(); ++i) {
    const ReplicaConfig& replica = cluster.config(i);
    if (cluster.replica(i).core(0) == nullptr || replica.engine_cores > 1 ||
        !replica.scheduler.decoder.plain() || replica.role != Role::both) {
      throw ConfigError(
          "migration is modelled for replicas of one engine core, without pipeline stages, speculation or "
          "hand-overs",
          "no --migration");
    }
  }
  cluster_.at(interval_, [this](Ps now) { look(now); });
}

void LiveMigration::look(Ps now) {
  if (cluster_.quiet()) return;
  std::vector<double> all;
  all.reserve(static_cast<std::size_t>(cluster_.replicas()));
  for (int i = 0; i < cluster_.replicas(); ++i)
    all.push_back(freeness(cluster_.replica(i), config_.params.urgent_tokens, now));
  for (const auto& [source, target] : policy_->pairs(all)) {
    if (!moves_[static_cast<std::size_t>(source)]) begin(source, target, now);
  }
  cluster_.at(now + interval_, [this](Ps at) { look(at); });
}

/// Those that decode and have had their latest token: what a step in flight brings them is one more.
std::vector<MigrationCandidate> LiveMigration::candidates(int source, std::vector<SeqIndex>& indices) {
  const Scheduler& scheduler = cluster_.replica(source).core(0)->scheduler();
  std::vector<MigrationCandidate> out;
  scheduler.for_running([&](SeqIndex i) {
    const Sequence& seq = scheduler.sequence(i);
    if (seq.state != Sequence::State::decoding || seq.first_token == kNever || seq.last_token != kNever)
      return;
    out.push_back({seq.request.priority, scheduler.stored_tokens(i), seq.request.id});
    indices.push_back(i);
  });
  return out;
}

void LiveMigration::begin(int source, int target, Ps now) {
  std::vector<SeqIndex> indices;
  const std::vector<MigrationCandidate> all = candidates(source, indices);
  if (all.empty()) return;
  const SeqIndex chosen = indices[policy_->choose(all)];
  const Sequence& seq = cluster_.replica(source).core(0)->scheduler().sequence(chosen);
  const SeqIndex there = cluster_.replica(target).core(0)->scheduler().host(seq.request);
  if (there == kNoSeq) return;
  Move& move = moves_[static_cast<std::size_t>(source)].emplace();
  move.request = seq.request;
  move.source = {{source, 0, 0}, chosen}, move.target = {{target, 0, 0}, there};
  move.preemptions = seq.preemptions;
  move.told.request = seq.request.id, move.told.source = source, move.told.target = target;
  move.told.start = now;
  stage(move, now);
}

bool LiveMigration::make_room(Move& move, Tokens tokens, Tokens ahead, Ps now) {
  const int target = move.told.target;
  Replica& replica = cluster_.replica(target);
  replica.catch_up(now);
  if (!replica.core(0)->scheduler().make_room(move.target.index, tokens, ahead)) return false;
  replica.look_again(now);  // it has fewer blocks to go on with
  cluster_.changed(target);
  return true;
}

void LiveMigration::stage(Move& move, Ps now) {
  const int source = move.told.source;
  Replica& replica = cluster_.replica(source);
  replica.catch_up(now);
  EngineCore& core = *replica.core(0);
  const Scheduler& scheduler = core.scheduler();
  const Sequence& seq = scheduler.sequence(move.source.index);
  const bool decodes = seq.state == Sequence::State::decoding && seq.request.id == move.request.id &&
                       seq.preemptions == move.preemptions;
  if (!decodes || move.told.stages == config_.params.max_stages) return abort(move, now);
  ++move.told.stages;
  const Tokens computed = core.computed_tokens(move.source.index);
  if (scheduler.kv().blocks_for(computed - move.sent) > config_.params.last_stage_blocks) {
    if (!make_room(move, computed, 0, now)) return abort(move, now);
    return send(move, computed, now, &LiveMigration::stage);
  }
  // The steps planned are its last ones here; its blocks there are enough to go on with one more.
  move.told.tokens = scheduler.stored_tokens(move.source.index);
  if (!make_room(move, move.told.tokens, 1, now)) return abort(move, now);
  core.depart(move.source.index);
  replica.look_again(now);
  cluster_.changed(source);
}

void LiveMigration::on_departed(const SequenceHandle& source, const Prefilled& before, Ps now) {
  Move& move = moves_[static_cast<std::size_t>(source.where.replica)].value();
  ORRERY_CHECK(move.source.index == source.index, "a sequence departs that nobody sends");
  move.before = before;
  move.told.paused = now;
  send(move, move.told.tokens, now, &LiveMigration::commit);
}

void LiveMigration::send(Move& move, Tokens up_to, Ps now, void (LiveMigration::*next)(Move&, Ps)) {
  const double bytes = config_.kv_bytes(up_to) - (move.sent > 0 ? config_.kv_bytes(move.sent) : 0.0);
  move.sent = up_to;
  move.told.bytes += bytes;
  const ReplicaConfig& from = cluster_.config(move.told.source);
  const ReplicaConfig& to = cluster_.config(move.told.target);
  cluster_.fabric().transfer_sharded(from.first_gpu, from.gpus, to.first_gpu, to.gpus, Bytes(bytes), now,
                                     [this, &move, next](Ps at) { (this->*next)(move, at); });
}

void LiveMigration::commit(Move& move, Ps now) {
  move.told.moved = true;
  const int source = move.told.source, target = move.told.target;
  cluster_.leave(source, move.request);
  cluster_.enter(target, move.request);
  cluster_.replica(source).release(move.source, now);
  cluster_.changed(source);
  cluster_.replica(target).receive(move.target, move.before, now);
  cluster_.changed(target);
  end(move, now);
}

void LiveMigration::abort(Move& move, Ps now) {
  const int target = move.told.target;
  cluster_.replica(target).release(move.target, now);
  cluster_.changed(target);
  end(move, now);
}

void LiveMigration::end(Move& move, Ps now) {
  move.told.end = now;
  const Migration told = move.told;
  moves_[static_cast<std::size_t>(told.source)].reset();
  for (Observer* o : context_.observers) o->on_migration(told);
}

}  // namespace orrery
