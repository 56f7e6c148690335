#pragma once

#include <cstdint>
#include <map>
#include <unordered_set>
#include <vector>

#include "workload/request.hpp"

namespace orrery {

/// Exact quantiles of token counts in memory that does not grow with the number of requests.
class LengthCounts {
 public:
  void add(std::int32_t tokens);
  std::int64_t count() const { return count_; }
  std::int64_t sum() const { return sum_; }
  double mean() const;
  /// The p-quantile, numpy's linear definition (0 <= p <= 1); NaN when there are none.
  double quantile(double p) const;

 private:
  std::int32_t at_rank(std::int64_t rank) const;

  std::vector<std::int64_t> small_;  ///< by length, below 2^20
  std::map<std::int32_t, std::int64_t> large_;
  std::int64_t count_ = 0, sum_ = 0;
};

/// What a workload looks like before anything serves it.
struct TraceStats {
  LengthCounts input, output;
  double duration_s = 0;       ///< from the first arrival to the last
  double rate = 0;             ///< requests/s: gaps over duration; 0 when all arrive at once
  double interarrival_cv = 0;  ///< standard deviation of the gaps over their mean
  std::int64_t distinct_times = 0;
  std::int64_t repeated_rows = 0;  ///< equal to the row before in time and both lengths
  std::int64_t clients = 0;        ///< distinct ones that are named
  /// Prefix reuse with a cache that never evicts: leading blocks seen before, in tokens.
  std::int64_t with_prefix = 0;  ///< requests that have prefix keys
  std::int64_t reused_tokens = 0;
  double tick_s = 0;  ///< when most requests share their time: the mean distance of distinct times; else 0

  std::int64_t requests() const { return input.count(); }
  double reused_fraction() const;  ///< of all prompt tokens
};

/// Reads a source to its end. Clients that wait for answers get them at once: delays are all that is between
/// their requests.
TraceStats trace_stats(RequestSource& source);

}  // namespace orrery
