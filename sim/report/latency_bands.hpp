#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <vector>

#include "events/observer.hpp"
#include "report/summary.hpp"

namespace orrery {

/// Where a request's time went, in ms: the parts sum to E2E, those up to the prompt to TTFT.
struct LatencyParts {
  double front_end = 0;  ///< the engine's front end, before its scheduler sees the request
  double queue = 0;      ///< until its first chunk starts
  double prefill = 0;    ///< until its first token
  double transfer = 0;   ///< its KV cache on the way to the replica that decodes it
  double decode = 0;     ///< the rest

  LatencyParts& operator+=(const LatencyParts& o);
};

/// The parts of a completed request; `transfer`: how long it waited for its KV cache.
LatencyParts latency_parts(const RequestRecord& request, Ps transfer);

/// What the requests between two percentiles of a latency spent their time on: means of each part.
class LatencyBands {
 public:
  void add(double latency_ms, const LatencyParts& parts);

  struct Band {
    double from = 0, to = 0;           ///< percentiles
    double shortest = 0, longest = 0;  ///< ms, within 0.4 %
    std::int64_t requests = 0;
    LatencyParts mean;
  };
  /// Bands between `edges` (ascending percentiles, 0 and 100 included). Those without requests are left out:
  /// equal latencies stay together.
  std::vector<Band> bands(const std::vector<double>& edges) const;

 private:
  struct Bin {
    std::int64_t requests = 0;
    double shortest = 0, longest = 0;
    LatencyParts sum;
  };
  std::map<std::size_t, Bin> bins_;  // of equal relative width: memory does not grow with the requests
  std::int64_t requests_ = 0;
};

}  // namespace orrery
