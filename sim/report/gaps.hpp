#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "events/observer.hpp"
#include "report/distribution.hpp"

namespace orrery {

/// Inter-token gaps, told as arithmetic progressions: gap first + slope * j, for j < steps, each seen by
/// `seqs` sequences. Percentiles are exact (to the picosecond) while at most `max_exact` progressions were
/// told: a histogram finds the bin, counting inside the progressions that cross it finds the value. Beyond,
/// the histogram alone.
class GapDistribution {
 public:
  explicit GapDistribution(std::size_t max_exact) : max_exact_(max_exact) {}

  void add(Ps first, Ps slope, std::int64_t steps, std::int64_t seqs);
  void add(Ps gap, std::int64_t seqs) { add(gap, Ps(0), 1, seqs); }
  /// A run of which `stalled` sequences had their last token `stall` before it began.
  void add_after_stall(const DecodeRun& run);

  /// In ms. `percentiles` in percent, ascending.
  MetricStats stats(std::span<const double> percentiles, PercentileMethod method) const;
  /// Only the percentiles, in ms, from the histogram: within 0.1%. Empty without gaps.
  std::vector<double> curve(std::span<const double> percentiles) const;

 private:
  struct Progression {
    std::int64_t first, slope;
    std::int32_t steps, seqs;
  };
  using Histogram = LogHistogram<std::uint64_t, 10>;  // picoseconds; bin edges are whole numbers

  /// An order statistic, and how many gaps are at most that long.
  struct Nth {
    std::int64_t gap;
    std::uint64_t up_to;
  };
  static void spread(const Progression& p, Histogram& histogram);
  Histogram histogram_of_all() const;
  Nth nth(std::uint64_t rank, const Histogram& histogram) const;

  std::size_t max_exact_;
  bool exact_ = true;
  std::vector<Progression> kept_;
  Histogram histogram_;
  // Sums in whole picoseconds: mean and deviation do not depend on how steps were told as runs.
  __extension__ using Wide = __int128;
  Wide sum_ = 0, squares_ = 0;
  std::int64_t min_ = 0, max_ = 0;
  std::uint64_t gaps_ = 0;
};

}  // namespace orrery
