#pragma once

#include <algorithm>

#include "events/observer.hpp"
#include "report/log_histogram.hpp"
#include "report/summary.hpp"

namespace orrery {

/// Values of a load weighted by time; time without steps counts as zero.
class LoadOverTime {
 public:
  void add(double value, double seconds) {
    histogram_.add(value, seconds);
    integral_ += value * seconds;
    peak_ = std::max(peak_, value);
  }
  TimeWeighted over(double seconds) const {
    if (seconds <= 0) return {};
    auto all = histogram_;
    all.add(0, std::max(0.0, seconds - all.total()));
    return {integral_ / seconds, Histogram::lower_edge(all.place(0.99 * all.total()).bin), peak_};
  }

 private:
  using Histogram = LogHistogram<double, -11, 10>;  // counts up to 1024 are exact
  Histogram histogram_;
  double integral_ = 0, peak_ = 0;
};

/// Empty slots of a run's blocks on the mean. Over as many steps as a block has tokens a sequence's last
/// block fills and begins anew once.
inline double unfilled_in(const DecodeRun& run, int block_tokens) {
  const auto first = static_cast<double>(run.load.kv_tokens_unfilled);
  if (block_tokens < 1 || run.steps < block_tokens || first == 0 || run.pace.tokens != run.pace.steps)
    return first;
  const auto steps = static_cast<double>(run.steps);
  const double whole = static_cast<double>(run.steps - run.steps % block_tokens) / steps;
  return whole * static_cast<double>(run.seqs) * (block_tokens - 1) / 2 + (1 - whole) * first;
}

/// What KV blocks are put to, over time.
class MemoryOverTime {
 public:
  /// A step or run of `load`, during which the blocks used grow by `grown` and `unfilled` slots are empty on
  /// the mean, in blocks of `block_tokens`.
  void add(const CoreLoad& load, double seconds, double grown, double unfilled, double block_tokens) {
    const double total = static_cast<double>(load.kv_blocks_total);
    const double used = std::min(total, static_cast<double>(load.kv_blocks_used) + grown / 2);
    const double allocated = std::max(used, static_cast<double>(load.kv_blocks_reserved));
    allocated_ += allocated / total * seconds;
    used_ += used / total * seconds;
    if (block_tokens > 0) unfilled_ += std::min(used, unfilled / block_tokens) / total * seconds;
    if (load.waiting > 0) idle_ += (total - allocated) / total * seconds;
    const double last = std::min(total, static_cast<double>(load.kv_blocks_used) + grown);
    peak_ = std::max({peak_, allocated / total, last / total});
  }
  KvMemory over(double seconds) const {
    if (seconds <= 0) return {};
    return {allocated_ / seconds,           peak_,
            (used_ - unfilled_) / seconds,  unfilled_ / seconds,
            (allocated_ - used_) / seconds, idle_ / seconds};
  }

 private:
  double allocated_ = 0, used_ = 0, unfilled_ = 0, idle_ = 0;  ///< integrals of shares of the pool
  double peak_ = 0;
};

}  // namespace orrery
