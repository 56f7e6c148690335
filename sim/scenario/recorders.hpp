#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "report/details.hpp"
#include "report/fleet_log.hpp"
#include "report/metrics.hpp"
#include "report/migrations.hpp"
#include "report/replica_totals.hpp"
#include "report/transfers.hpp"
#include "scenario/run_scenario.hpp"

namespace orrery {

/// The observers of one run, in the order they are told.
class Recorders {
 public:
  /// `total`: requests to come, for the progress bar. Opens the files of a run directory.
  Recorders(const Scenario& scenario, const RunOptions& options, const Deployment& deployment,
            std::int64_t total);

  std::span<Observer* const> all() const { return all_; }
  const Metrics& metrics() const { return metrics_; }
  const Transfers& transfers() const { return transfers_; }
  const FleetLog& fleet() const { return fleet_; }
  const Migrations& migrations() const { return migrations_; }
  const ReplicaCounts& replicas() const { return replicas_; }
  const Details* details() const { return details_; }  ///< null without a report
  std::string note() const { return timeline_ ? timeline_->note() : std::string(); }

 private:
  template <class T>
  T* add(std::unique_ptr<T> observer) {
    T* raw = observer.get();
    all_.push_back(raw);
    owned_.push_back(std::move(observer));
    return raw;
  }

  void open_files(const RunOptions& options, const Deployment& deployment, const Slo& slo);

  Metrics metrics_;
  Transfers transfers_;
  FleetLog fleet_;
  Migrations migrations_;
  ReplicaCounts replicas_;
  Timeline* timeline_ = nullptr;
  Details* details_ = nullptr;
  std::vector<std::unique_ptr<Observer>> owned_;
  std::vector<Observer*> all_;
};

}  // namespace orrery
