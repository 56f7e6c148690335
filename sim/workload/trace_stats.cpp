#include "workload/trace_stats.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace orrery {
namespace {

constexpr std::int32_t kSmall = 1 << 20;

/// Mean and variance of the gaps (Welford, 1962), and how many times are distinct.
struct Gaps {
  std::int64_t requests = 0, distinct = 0;
  Ps first{0}, last{0};
  double mean = 0, squares = 0;

  void see(Ps t) {
    if (requests == 0) first = t;
    if (requests == 0 || t != last) ++distinct;
    if (requests > 0) {
      const double gap = to_seconds(t - last).value;
      const double before = gap - mean;
      mean += before / static_cast<double>(requests);
      squares += before * (gap - mean);
    }
    last = t;
    ++requests;
  }
  double cv() const { return mean > 0 ? std::sqrt(squares / static_cast<double>(requests - 1)) / mean : 0; }
};

/// Tokens of the leading blocks that were seen before; remembers all blocks.
class InfiniteCache {
 public:
  std::int64_t reused(const Request& r) {
    const auto& ids = r.prefix->ids;
    std::size_t hits = 0;
    while (hits < ids.size() && seen_.count(ids[hits]) > 0) ++hits;
    seen_.insert(ids.begin() + static_cast<long>(hits), ids.end());
    return std::min<std::int64_t>(static_cast<std::int64_t>(hits) * r.prefix->block_tokens, r.prompt_tokens);
  }

 private:
  std::unordered_set<std::uint64_t> seen_;
};

}  // namespace

void LengthCounts::add(std::int32_t tokens) {
  ++count_;
  sum_ += tokens;
  if (tokens >= kSmall || tokens < 0) {
    ++large_[tokens];
    return;
  }
  const auto at = static_cast<std::size_t>(tokens);
  if (at >= small_.size()) small_.resize(std::max(at + 1, 2 * small_.size()));
  ++small_[at];
}

double LengthCounts::mean() const {
  return count_ == 0 ? std::numeric_limits<double>::quiet_NaN()
                     : static_cast<double>(sum_) / static_cast<double>(count_);
}

std::int32_t LengthCounts::at_rank(std::int64_t rank) const {
  for (std::size_t i = 0; i < small_.size(); ++i) {
    if ((rank -= small_[i]) < 0) return static_cast<std::int32_t>(i);
  }
  for (const auto& [tokens, count] : large_) {
    if ((rank -= count) < 0) return tokens;
  }
  return large_.empty() ? 0 : large_.rbegin()->first;
}

double LengthCounts::quantile(double p) const {
  if (count_ == 0) return std::numeric_limits<double>::quiet_NaN();
  const double rank = p * static_cast<double>(count_ - 1);
  const auto low = static_cast<std::int64_t>(rank);
  const double share = rank - static_cast<double>(low);
  const double a = at_rank(low), b = at_rank(std::min(low + 1, count_ - 1));
  return a + share * (b - a);
}

double TraceStats::reused_fraction() const {
  return input.sum() > 0 ? static_cast<double>(reused_tokens) / static_cast<double>(input.sum()) : 0;
}

TraceStats trace_stats(RequestSource& source) {
  TraceStats stats;
  Gaps gaps;
  InfiniteCache cache;
  std::unordered_set<std::int32_t> clients;
  Request r, before;
  while (source.next(r)) {
    stats.input.add(r.prompt_tokens);
    stats.output.add(r.output_tokens);
    const bool repeated = gaps.requests > 0 && r.arrival == before.arrival &&
                          r.prompt_tokens == before.prompt_tokens && r.output_tokens == before.output_tokens;
    stats.repeated_rows += repeated ? 1 : 0;
    gaps.see(r.arrival);
    if (r.client >= 0) clients.insert(r.client);
    if (r.prefix) {
      ++stats.with_prefix;
      stats.reused_tokens += cache.reused(r);
    }
    before = r;
    source.completed(r, r.arrival);
  }
  stats.duration_s = to_seconds(gaps.last - gaps.first).value;
  stats.rate = gaps.mean > 0 ? 1 / gaps.mean : 0;
  stats.interarrival_cv = gaps.cv();
  stats.distinct_times = gaps.distinct;
  stats.clients = static_cast<std::int64_t>(clients.size());
  const bool quantised = gaps.requests >= 100 && gaps.requests > 2 * gaps.distinct && gaps.distinct > 1;
  if (quantised) stats.tick_s = stats.duration_s / static_cast<double>(gaps.distinct - 1);
  return stats;
}

}  // namespace orrery
