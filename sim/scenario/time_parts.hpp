#pragma once

#include <cstdint>
#include <map>
#include <unordered_map>
#include <vector>

#include "events/observer.hpp"
#include "scenario/explain_run.hpp"

namespace orrery {

/// Follows some requests through a run, and says where their time went. Steps are told at their start, in
/// order for each engine core, so that what a request waits for is what its core's steps did meanwhile.
class TimePartsObserver final : public Observer {
 public:
  /// `max_num_seqs` and the tokens of a KV block: of each engine core.
  TimePartsObserver(const std::vector<RequestId>& followed, Metric metric, std::int64_t max_num_seqs,
                    std::int64_t block_size);

  void on_arrival(const Request& request, CoreId where) override;
  void on_decode_run(const DecodeRun& run) override;
  void on_mixed_step(const MixedStep& step) override;
  void on_request_done(const RequestRecord& record) override;

  /// Means over the requests that were followed to their end.
  TimeParts mean() const;
  std::int64_t followed() const { return done_; }

 private:
  struct Chunk {
    Ps start{0}, end{0};
    double own = 0;  ///< share of the step's tokens
  };
  /// A stretch of a core's time in which it was in one state.
  struct Stretch {
    Ps start{0}, end{0};
    std::int64_t free_blocks = 0;  ///< of KV
    bool full = false, mixed = false;
  };
  struct Followed {
    std::int32_t replica = 0, core = 0;
    std::int64_t blocks = 0;  ///< of KV that its prompt takes
    std::vector<Chunk> chunks;
  };

  void add(CoreId where, Ps start, Ps end, const CoreLoad& load, bool mixed);
  void account_wait(const std::vector<Stretch>& stretches, std::int64_t blocks, Ps from, Ps to);
  void account_prefill(const std::vector<Chunk>& chunks, Ps from, Ps to);
  void account_decode(const std::vector<Stretch>& stretches, Ps from, Ps to);

  Metric metric_;
  std::int64_t max_num_seqs_, block_size_;
  std::unordered_map<RequestId, Followed> followed_;
  std::map<std::pair<std::int32_t, std::int32_t>, std::vector<Stretch>> stretches_;
  TimeParts sum_;
  std::int64_t done_ = 0;
};

}  // namespace orrery
