#pragma once

#include <cstdint>
#include <vector>

#include "events/observer.hpp"
#include "report/summary.hpp"

namespace orrery {

/// What moved between replicas that prefill and replicas that decode. Times in ms.
struct TransferSummary {
  std::int64_t count = 0;
  double bytes = 0;
  double mean_ms = 0;          ///< from the first byte sent to the last one there
  double mean_exposed_ms = 0;  ///< from the prompt computed to the last byte there: what requests wait for
  double p50_exposed_ms = 0, p99_exposed_ms = 0;
  double mean_blocked_ms = 0;  ///< of it, for want of blocks where it goes
};
OrderedJson to_json(const TransferSummary& summary);

/// Keeps what KV transfers took.
class Transfers final : public Observer {
 public:
  void on_kv_transfer(const KvTransfer& transfer) override;
  TransferSummary summary() const;

 private:
  TransferSummary sums_;
  std::vector<double> exposed_ms_;
};

}  // namespace orrery
