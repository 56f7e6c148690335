#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <vector>

#include "events/observer.hpp"
#include "report/busiest_window.hpp"
#include "report/latency_bands.hpp"

namespace orrery {

/// Steps a reader can take as typical of a run: means over it, rounded.
struct TypicalSteps {
  std::int64_t decode_seqs = 0;      ///< of decode-only steps, by time; 0 = there were none
  Tokens decode_context = 0;         ///< that each of them reads
  Tokens prefill_tokens = 0;         ///< of the step the mean prompt token is in; 0 = there were none
  Tokens prefill_past = 0;           ///< tokens of those prompts that were in the KV cache
  std::int64_t prefill_decodes = 0;  ///< sequences that decode beside them
  Tokens prefill_context = 0;        ///< that each of those reads
};

struct DetailsOptions {
  Ps warmup{0};            ///< requests that arrive before are not counted
  std::size_t worst = 50;  ///< requests listed
};

/// What report.html shows beyond the summary and the CSV files, gathered in bounded memory: latencies taken
/// apart by percentile, the worst requests, arrivals against completions, the busiest window's steps.
class Details final : public Observer {
 public:
  explicit Details(DetailsOptions options = {}) : options_(options) {}

  void on_decode_run(const DecodeRun&) override;
  void on_mixed_step(const MixedStep&) override;
  void on_arrival(const Request&, CoreId) override;
  void on_kv_transfer(const KvTransfer&) override;
  void on_request_done(const RequestRecord&) override;

  TypicalSteps typical() const;
  /// Its part of details.json (docs/schema/details.schema.json).
  OrderedJson json() const;

 private:
  struct Ranked {
    double latency_ms = 0;
    RequestRecord request;
    Ps transfer{0};
    bool operator<(const Ranked& o) const {
      return latency_ms != o.latency_ms ? latency_ms > o.latency_ms : request.id < o.request.id;
    }
  };
  using Worst = std::set<Ranked>;  // the longest first

  void rank(Worst& worst, Ranked entry) const;
  static void count(std::vector<std::int64_t>& per_second, Ps when);

  DetailsOptions options_;
  BusiestWindow busiest_;
  LatencyBands by_ttft_, by_e2el_;
  Worst worst_ttft_, worst_e2el_;
  std::vector<std::int64_t> arrivals_, completions_;  // by second
  std::map<RequestId, Ps> transfers_;                 // exposed, of requests not done yet
  double decode_s_ = 0, decode_seqs_ = 0, decode_context_ = 0;
  double prompt_tokens_ = 0, prefill_tokens_ = 0, prefill_past_ = 0;
  double prefill_decodes_ = 0, prefill_context_ = 0;
};

}  // namespace orrery
