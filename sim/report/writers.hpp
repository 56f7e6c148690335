#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "events/observer.hpp"
#include "report/slo.hpp"

namespace orrery {

/// requests.csv: one row per request, in order of completion, streamed. Times in seconds and latencies in ms,
/// to the microsecond; fields that do not exist are empty (tpot_ms of one-token answers, times of failed
/// requests, slo_ok without thresholds).
class RequestsCsv final : public Observer {
 public:
  static constexpr const char* header =
      "id,arrival_s,queued_s,first_sched_s,first_token_s,done_s,prompt_tokens,cached_tokens,output_tokens,"
      "replica,preemptions,ttft_ms,tpot_ms,slo_ok,failure\n";

  explicit RequestsCsv(const std::string& path, const Slo& slo = {});
  ~RequestsCsv() override;
  void on_request_done(const RequestRecord&) override;
  void on_end(Ps) override;  ///< flushes and closes. Errors: ConfigError (a full disk)

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

struct TimeseriesOptions {
  Ps interval{1'000'000'000'000};
  bool per_replica = false;  ///< a `replica` column after t_s, one row per replica and interval
  int kv_block_size = 16;
  int engine_cores = 1;  ///< of each replica, with a KV cache each
  bool fleet = false;    ///< a last column, replicas_up: those that take requests, on the mean
};

/// timeseries.csv: t_s,running,waiting,kv_used_pct,prompt_tok_s,gen_tok_s per interval. Requests are summed
/// over replicas (means over time), KV use is their mean. Written at the end; memory grows with simulated
/// time only (48 bytes per interval).
class TimeseriesCsv final : public Observer {
 public:
  explicit TimeseriesCsv(std::string path, TimeseriesOptions options = {});
  ~TimeseriesCsv() override;
  void on_decode_run(const DecodeRun&) override;
  void on_mixed_step(const MixedStep&) override;
  void on_replica(const ReplicaChange&) override;
  void on_end(Ps end) override;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

enum class TimelineDetail : std::uint8_t {
  off,
  runs,  ///< one slice per decode run and per step with prefill
  steps  ///< decode runs expanded into their steps
};
TimelineDetail parse_timeline_detail(const std::string& text);  ///< Errors: ConfigError (usage).

struct TimelineOptions {
  TimelineDetail detail = TimelineDetail::runs;
  Ps start{0}, end = kNever;               ///< only what overlaps this window
  std::int64_t max_slices = 2'000'000;     ///< then recording stops, and note() says so
  std::vector<std::string> replica_names;  ///< "replica 0 (h200-sxm tp1)"; missing ones are numbered
};

/// timeline.pftrace: a native Perfetto trace (https://perfetto.dev). A replica is a process with the tracks
/// "requests" (queued, prefill, KV transfer, decode nested in each), "engine steps" and counters for running,
/// waiting, KV use and batch tokens. Where replicas come and go there is a track of when one starts, drains,
/// is down and loses requests, and a counter of those up.
class Timeline final : public Observer {
 public:
  explicit Timeline(const std::string& path, TimelineOptions options = {});
  ~Timeline() override;
  void on_decode_run(const DecodeRun&) override;
  void on_mixed_step(const MixedStep&) override;
  void on_preemption(RequestId, CoreId, Ps) override;
  void on_kv_transfer(const KvTransfer&) override;
  void on_replica(const ReplicaChange&) override;
  void on_retry(const Retry&) override;
  void on_migration(const Migration& migration) override;
  void on_request_done(const RequestRecord&) override;
  void on_end(Ps end) override;

  /// What was left out, in a sentence for people; "" when nothing was.
  std::string note() const;
  std::int64_t slices() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// A progress bar on stderr for runs that take longer than a second. Costs a counter per event.
class Progress final : public Observer {
 public:
  /// `total` requests to come, -1 = unknown. `fd` is drawn on only if it is a terminal.
  explicit Progress(std::int64_t total, int fd = 2);
  ~Progress() override;
  void on_decode_run(const DecodeRun&) override;
  void on_mixed_step(const MixedStep&) override;
  void on_request_done(const RequestRecord&) override;
  void on_end(Ps) override;  ///< wipes the line

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace orrery
