#include "scenario/replay_slices.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/format.h>

#include "base/quantile.hpp"
#include "report/text.hpp"

namespace orrery {

namespace {

std::optional<double> latency_ms(const RequestRecord& r, Metric m) {
  switch (m) {
    case Metric::ttft:
      return to_ms(r.first_token - r.arrival);
    case Metric::tpot:
      if (r.output_tokens < 2) return std::nullopt;
      return to_ms(r.done - r.first_token) / static_cast<double>(r.output_tokens - 1);
    case Metric::e2el:
      return to_ms(r.done - r.arrival);
    case Metric::itl:
      break;
  }
  return std::nullopt;
}

/// The errors of one metric over a slice, pair by pair.
class Pairs {
 public:
  void add(double measured, double predicted) {
    measured_ += measured;
    predicted_ += predicted;
    errors_.push_back(predicted / measured - 1);
  }

  PairedErrors result() {
    PairedErrors e;
    e.pairs = static_cast<std::int64_t>(errors_.size());
    if (errors_.empty()) return e;
    const auto n = static_cast<double>(errors_.size());
    e.measured_mean = measured_ / n;
    e.predicted_mean = predicted_ / n;
    std::sort(errors_.begin(), errors_.end());
    e.median = quantile_sorted(errors_, 0.5);
    for (double& error : errors_) error = std::abs(error);
    std::sort(errors_.begin(), errors_.end());
    e.median_abs = quantile_sorted(errors_, 0.5);
    e.p90_abs = quantile_sorted(errors_, 0.9);
    return e;
  }

 private:
  double measured_ = 0, predicted_ = 0;
  std::vector<double> errors_;
};

class Slicer {
 public:
  Slicer(const std::vector<MeasuredRequest>& measured,
         const std::vector<std::optional<RequestRecord>>& predicted)
      : measured_(measured), predicted_(predicted) {}

  /// The requests whose index and self `takes`; nothing when there are none.
  template <class Takes>
  void slice(ReplaySlice::By by, std::string name, Takes takes) {
    ReplaySlice out{by, std::move(name), 0, {}};
    std::array<Pairs, kPairedMetrics.size()> pairs;
    for (std::size_t i = 0; i < measured_.size(); ++i) {
      if (!takes(i, measured_[i])) continue;
      ++out.requests;
      if (!predicted_[i]) continue;
      for (std::size_t m = 0; m < kPairedMetrics.size(); ++m) {
        const auto real = measured_[i].latency_ms(kPairedMetrics[m]);
        const auto simulated = latency_ms(*predicted_[i], kPairedMetrics[m]);
        if (real && simulated && *real > 0) pairs[m].add(*real, *simulated);
      }
    }
    if (out.requests == 0) return;
    for (std::size_t m = 0; m < pairs.size(); ++m) out.errors[m] = pairs[m].result();
    slices_.push_back(std::move(out));
  }

  std::vector<ReplaySlice> take() { return std::move(slices_); }

 private:
  const std::vector<MeasuredRequest>& measured_;
  const std::vector<std::optional<RequestRecord>>& predicted_;
  std::vector<ReplaySlice> slices_;
};

}  // namespace

std::vector<ReplaySlice> replay_slices(const std::vector<MeasuredRequest>& measured,
                                       const std::vector<std::optional<RequestRecord>>& predicted) {
  ORRERY_CHECK(measured.size() == predicted.size(), "requests are paired one to one");
  Slicer slicer(measured, predicted);
  slicer.slice(ReplaySlice::By::all, "all requests",
               [](std::size_t, const MeasuredRequest&) { return true; });

  constexpr const char* quarters[] = {"1st quarter", "2nd quarter", "3rd quarter", "4th quarter"};
  for (std::size_t q = 0; q < 4; ++q) {
    const std::size_t begin = q * measured.size() / 4, end = (q + 1) * measured.size() / 4;
    slicer.slice(ReplaySlice::By::quarter, quarters[q],
                 [=](std::size_t i, const MeasuredRequest&) { return i >= begin && i < end; });
  }

  constexpr std::int64_t kLongest = 131072;
  for (std::int64_t low = 0, high = 128; low <= kLongest; low = high, high *= 4) {
    const bool last = high > kLongest;
    const std::string name = low == 0 ? fmt::format("prompt below {}", high)
                             : last   ? fmt::format("prompt from {}", grouped(low))
                                      : fmt::format("prompt {} to {}", grouped(low), grouped(high - 1));
    slicer.slice(ReplaySlice::By::prompt, name, [=](std::size_t, const MeasuredRequest& r) {
      return r.prompt_tokens >= low && (last || r.prompt_tokens < high);
    });
  }
  return slicer.take();
}

}  // namespace orrery
