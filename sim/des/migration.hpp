#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "des/cluster.hpp"
#include "des/simulation.hpp"
#include "serving/migration_policy.hpp"

namespace orrery {

/// A replica's freeness at `now` (serving/freeness.hpp); `urgent_tokens` as MigrationParams'.
double freeness(Replica& replica, double urgent_tokens, Ps now);

/// Sequences that change replicas while they decode (Llumnix: Sun et al., OSDI 2024, section 4.2). What is in
/// a sequence's cache is sent while it decodes on, then what came meanwhile, until little is left: then it
/// has its last token at the source, the rest is sent, and it goes on at the target. Blocks are there at the
/// target before each stage begins. A sequence that finishes or is preempted meanwhile, or finds no room,
/// stays. A replica sends one sequence at a time.
class LiveMigration {
 public:
  /// Errors: ConfigError for replicas whose sequences cannot go on elsewhere.
  LiveMigration(const MigrationConfig& config, const CoreContext& context, Cluster& cluster);

  /// As RequestListener tells of it.
  void on_departed(const SequenceHandle& source, const Prefilled& before, Ps now);

 private:
  struct Move {
    Request request;
    SequenceHandle source, target;
    std::int32_t preemptions = 0;  ///< it had when it was chosen
    Tokens sent = 0;
    Prefilled before;
    Migration told;
  };

  void look(Ps now);
  void begin(int source, int target, Ps now);
  void stage(Move& move, Ps now);
  bool make_room(Move& move, Tokens tokens, Tokens ahead, Ps now);
  void send(Move& move, Tokens up_to, Ps now, void (LiveMigration::*next)(Move&, Ps));
  void commit(Move& move, Ps now);
  void abort(Move& move, Ps now);
  void end(Move& move, Ps now);
  std::vector<MigrationCandidate> candidates(int source, std::vector<SeqIndex>& indices);

  MigrationConfig config_;
  CoreContext context_;
  Cluster& cluster_;
  std::unique_ptr<MigrationPolicy> policy_;
  Ps interval_;
  std::vector<std::optional<Move>> moves_;  ///< by source
};

}  // namespace orrery
