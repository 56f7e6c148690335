#pragma once

#include <cstdint>
#include <vector>

#include "events/observer.hpp"

namespace orrery {

/// What a replica has completed.
struct ReplicaTotals {
  std::int64_t completed = 0, input_tokens = 0, output_tokens = 0;

  void add(const ReplicaTotals& o) {
    completed += o.completed, input_tokens += o.input_tokens, output_tokens += o.output_tokens;
  }
};

/// Counts that by replica.
class ReplicaCounts final : public Observer {
 public:
  explicit ReplicaCounts(int replicas) : totals_(static_cast<std::size_t>(replicas)) {}
  void on_request_done(const RequestRecord& r) override {
    if (!r.failure) totals_[static_cast<std::size_t>(r.replica)].add({1, r.prompt_tokens, r.output_tokens});
  }
  const std::vector<ReplicaTotals>& totals() const { return totals_; }

 private:
  std::vector<ReplicaTotals> totals_;
};

}  // namespace orrery
