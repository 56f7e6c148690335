#include "des/tier_loads.hpp"

#include <algorithm>
#include <memory>
#include <utility>

#include "cost/alpha_beta.hpp"
#include "des/engine_core.hpp"

namespace orrery {
namespace {

constexpr std::size_t kSwap = static_cast<std::size_t>(-1);  ///< beside the tiers

/// Where a tier lies, seen from a GPU of the server.
Endpoint place_of(KvTierPlace place, int server) {
  switch (place) {
    case KvTierPlace::host:
      return {Endpoint::Kind::host, server};
    case KvTierPlace::disk:
      return {Endpoint::Kind::disk, server};
    case KvTierPlace::storage:
      break;
  }
  return {Endpoint::Kind::storage, 0};
}

}  // namespace

void TierLoads::on_load(const SequenceHandle& sequence, const KvLoad& load, Ps now) {
  const ReplicaConfig& config = cluster_.config(sequence.where.replica);
  const bool flows = cluster_.has_fabric();
  auto left = std::make_shared<int>(1);
  const int life = lives_[sequence.where.replica];
  const auto part_done = [this, left, sequence, life, begun = now](Ps at) {
    if (--*left == 0 && lives_[sequence.where.replica] == life) finish(sequence, begun, at);
  };
  Ps end = now;
  if (load.swapped > 0) {
    const double bytes = static_cast<double>(load.swapped) * config.kv_links.block_bytes;
    const Link link{sequence.where.replica, sequence.where.core, kSwap};
    end = queue_up(link, bytes, config.kv_links.swap_bytes_per_s, now);
    totals_.swapped_in += load.swapped;
  }
  for (std::size_t t = 0; t < load.blocks.size(); ++t) {
    if (load.blocks[t] == 0) continue;
    const double bytes = static_cast<double>(load.blocks[t]) * config.kv_links.block_bytes;
    if (flows) {
      ++*left;
      send(sequence, t, bytes, now, part_done);
    } else {
      const bool own = config.kv_links.tiers[t].place == KvTierPlace::host;
      const Link link{sequence.where.replica, own ? sequence.where.core : -1, t};
      end = std::max(end, queue_up(link, bytes, config.kv_links.tiers[t].read_bytes_per_s, now));
    }
  }
  cluster_.at(end, part_done);
}

Ps TierLoads::queue_up(const Link& link, double bytes, double bytes_per_s, Ps now) {
  Ps& free = free_[link];
  const Ps alone = copy_time(bytes, bytes_per_s), hop = to_ps(Seconds(AlphaBeta{}.hop_s));
  free = std::max(free, now) + (alone - hop);
  return free + hop;
}

/// In equal parts to the GPUs of its engine core, from the server that each is in.
void TierLoads::send(const SequenceHandle& sequence, std::size_t tier, double bytes, Ps now,
                     Fabric::Done done) {
  const ReplicaConfig& config = cluster_.config(sequence.where.replica);
  const int gpus = config.gpus / config.engine_cores;
  const int first = config.first_gpu + sequence.where.core * gpus;
  auto parts = std::make_shared<int>(gpus);
  auto last = std::make_shared<Fabric::Done>(std::move(done));
  for (int gpu = first; gpu < first + gpus; ++gpu) {
    const int server = cluster_.fabric().topology().server_of(gpu);
    const Endpoint from = place_of(config.kv_links.tiers[tier].place, server);
    cluster_.fabric().transfer(from, {Endpoint::Kind::gpu, gpu}, Bytes(bytes / gpus), now,
                               [parts, last](Ps at) {
                                 if (--*parts == 0) (*last)(at);
                               });
  }
}

void TierLoads::finish(const SequenceHandle& sequence, Ps begun, Ps now) {
  ++totals_.kv_loads;
  totals_.kv_load_time += now - begun;
  cluster_.replica(sequence.where.replica).loaded(sequence, now);
  cluster_.changed(sequence.where.replica);
}

}  // namespace orrery
