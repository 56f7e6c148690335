#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "events/observer.hpp"
#include "report/summary.hpp"

namespace orrery {

/// The steps of the second in which most requests were in the system, with the seconds around it: what a
/// reader wants to look at first. Memory is bounded: a few seconds of steps, of the first replicas.
class BusiestWindow {
 public:
  void add(const DecodeRun& run);
  void add(const MixedStep& step);

  /// {"start_s", "end_s", "focus_s", "rows": [{"replica", "core", "lane", "name"}], "slices": columns}, null
  /// when no step was told. Times in the columns are whole microseconds from start_s.
  OrderedJson json() const;

 private:
  struct Slice {
    Ps start{0}, duration{0};
    std::int32_t row = 0;
    std::int32_t steps = 0;  ///< decode steps; 0 = a step with prefill
    std::int32_t decode_seqs = 0, prefill_tokens = 0, running = 0, waiting = 0;
    std::int32_t kv_permille = 0;
  };
  struct Bucket {
    std::vector<Slice> slices;
    double requests = 0;  ///< in the system, integrated over time
    bool cut = false;     ///< more steps than are kept
  };

  void add(Slice slice, CoreId where, const CoreLoad& load);
  void settle(std::int64_t now);
  void put_slices(OrderedJson& json, Ps start) const;

  std::map<std::int64_t, Bucket> buckets_;  // by second: the busiest with its neighbours, and the latest
  std::int64_t busiest_ = -1, settled_ = -1;
  double most_requests_ = -1;
  std::map<std::array<std::int32_t, 3>, std::int32_t> rows_;
};

}  // namespace orrery
