#pragma once

#include <optional>
#include <vector>

#include "events/observer.hpp"
#include "scenario/validate_replay.hpp"

namespace orrery {

/// Keeps the records of requests that completed, by id.
class ReplayRecorder final : public Observer {
 public:
  explicit ReplayRecorder(std::size_t requests) : records_(requests) {}
  void on_request_done(const RequestRecord& r) override {
    const auto id = static_cast<std::size_t>(r.id);
    if (!r.failure && id < records_.size()) records_[id] = r;
  }
  const std::vector<std::optional<RequestRecord>>& records() const { return records_; }

 private:
  std::vector<std::optional<RequestRecord>> records_;
};

/// The same run as a whole, by quarters of its requests in the order they were sent, and by bands of prompt
/// length (factors of four from 128 tokens; those without a request are left out). `predicted[i]` belongs to
/// `measured[i]`; pairs need a positive measured value and a predicted one.
std::vector<ReplaySlice> replay_slices(const std::vector<MeasuredRequest>& measured,
                                       const std::vector<std::optional<RequestRecord>>& predicted);

}  // namespace orrery
