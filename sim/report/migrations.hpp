#pragma once

#include <cstdint>
#include <vector>

#include "events/observer.hpp"
#include "report/summary.hpp"

namespace orrery {

/// Sequences that changed replicas while they decoded. Times in ms.
struct MigrationSummary {
  std::int64_t moved = 0, given_up = 0;
  double bytes = 0;  ///< sent, also for those given up
  double mean_stages = 0,
         mean_ms = 0;  ///< of those that moved, from the first byte sent to the last one there
  double mean_pause_ms = 0, p99_pause_ms = 0;  ///< of it, with no replica computing them
};
OrderedJson to_json(const MigrationSummary& summary);

/// Keeps what migrations took.
class Migrations final : public Observer {
 public:
  void on_migration(const Migration& migration) override;
  MigrationSummary summary() const;

 private:
  MigrationSummary sums_;
  std::vector<double> pause_ms_;
};

}  // namespace orrery
