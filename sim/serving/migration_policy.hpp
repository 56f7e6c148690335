#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/registry.hpp"
#include "workload/request.hpp"

namespace orrery {

/// When sequences change replicas. The defaults are those of Llumnix's published code (config/default.py).
struct MigrationParams {
  std::string policy = "llumnix";  ///< Registry<MigrationPolicies>
  double interval_s = 0.05;        ///< between two looks at all replicas (POLLING_INTERVAL)
  /// Blocks that each sequence may still take (freeness): below it a replica sends sequences away, from it on
  /// it takes some (MIGRATE_OUT_THRESHOLD).
  double threshold_blocks = 3;
  int max_stages = 3;  ///< after which a sequence that grows faster than it is sent stays (MAX_STAGES)
  int last_stage_blocks = 16;  ///< the most that are left to send while it pauses (LAST_STAGE_MAX_BLOCKS)
  /// Tokens of a replica with an urgent sequence, so that this decodes nearly as if alone: others see the
  /// rest of the memory as taken (Llumnix, section 6.4).
  double urgent_tokens = 1600;

  template <class Self, class V>
  static void visit(Self& p, V&& v) {
    v("policy", p.policy), v("interval_s", p.interval_s), v("threshold_blocks", p.threshold_blocks);
    v("max_stages", p.max_stages), v("last_stage_blocks", p.last_stage_blocks);
    v("urgent_tokens", p.urgent_tokens);
  }
  bool operator==(const MigrationParams&) const = default;
};

/// A sequence that could go on elsewhere.
struct MigrationCandidate {
  std::int32_t priority = 0;
  Tokens tokens = 0;  ///< in its KV cache
  RequestId id = 0;
};

/// Decides who sends sequences to whom, and which; pure.
class MigrationPolicy {
 public:
  virtual ~MigrationPolicy() = default;
  /// Replicas (from, to), none of them in two pairs, given the freeness of each.
  virtual std::vector<std::pair<int, int>> pairs(std::span<const double> freeness) const = 0;
  /// One of the candidates, of which there is one at least.
  virtual std::size_t choose(std::span<const MigrationCandidate> candidates) const = 0;
};

struct MigrationPolicies {
  static constexpr const char* kind = "migration";
  using Factory = std::unique_ptr<MigrationPolicy> (*)(const MigrationParams&);
};

}  // namespace orrery
