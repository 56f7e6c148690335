#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/quantile.hpp"
#include "events/observer.hpp"
#include "report/summary.hpp"

namespace orrery {

struct MetricsOptions {
  std::vector<double> percentiles = {50, 90, 99, 99.9};  ///< in percent; those of the SLO are added
  PercentileMethod method = PercentileMethod::linear;
  Slo slo;
  Ps warmup{0};                      ///< requests that arrive before are not counted, nor are steps
  std::int64_t warmup_requests = 0;  ///< nor are the first n requests
  int replicas = 1;
  int engine_cores = 1;                      ///< of each replica, with a KV cache each
  int kv_block_size = 16;                    ///< tokens; lets KV growth inside a decode run be counted
  std::size_t max_exact_requests = 1 << 21;  ///< per metric; beyond: a histogram, within 0.1%
  std::size_t max_exact_runs = 1 << 21;      ///< decode runs and mixed steps kept for exact ITL percentiles
};

/// What a benchmark client would have measured, with the definitions of vLLM's `bench serve`:
///
///   TTFT  first_token - arrival
///   TPOT  (E2E - TTFT) / (output_tokens - 1), requests with more than one output token
///   ITL   all gaps between consecutive tokens of all requests, pooled
///   E2E   done - arrival
///
/// Failed requests count in `failed` only. ITL comes from runs, not tokens: a run is an arithmetic
/// progression of gaps, counted in closed form, so percentiles are exact without expanding it.
class Metrics final : public Observer {
 public:
  explicit Metrics(MetricsOptions options = {});
  ~Metrics() override;

  void on_decode_run(const DecodeRun&) override;
  void on_mixed_step(const MixedStep&) override;
  void on_arrival(const Request&, CoreId) override;
  void on_preemption(RequestId, CoreId, Ps) override;
  void on_resumed(RequestId, CoreId, Ps gap) override;
  void on_request_done(const RequestRecord&) override;
  void on_end(Ps end) override;

  /// After on_end. `info` is copied into the summary.
  Summary summary(RunInfo info = {}) const;
  /// After on_end: values in ms of a metric at `percentiles` (ascending, in percent), for drawing: of ITL and
  /// of very many requests within 0.1%. Empty without samples.
  std::vector<double> curve(Metric metric, std::span<const double> percentiles) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace orrery
