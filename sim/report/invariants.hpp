#pragma once

#include <cstdint>
#include <memory>

#include "events/observer.hpp"

namespace orrery {

struct InvariantLimits {
  std::int64_t max_num_seqs = 0;            ///< 0 = not checked
  std::int64_t max_num_batched_tokens = 0;  ///< 0 = not checked
};

/// Laws that hold in every simulation, checked as it runs; a broken one is an InternalError naming the place.
///
///   - requests: each leaves once, after it arrived; none is left over unless the run was cut off
///   - causality: arrival <= queued <= scheduled <= first_token <= done, and none after the end
///   - capacity: running <= max_num_seqs, blocks used <= blocks, tokens of a step <= its budget
///   - steps of a core do not overlap and have a positive length
///   - tokens: those delivered by steps equal the output tokens of the requests (when all have completed) and
///     what was thrown away of them when their replica failed
class Invariants final : public Observer {
 public:
  explicit Invariants(InvariantLimits limits = {});
  ~Invariants() override;
  void on_decode_run(const DecodeRun&) override;
  void on_mixed_step(const MixedStep&) override;
  void on_arrival(const Request&, CoreId) override;
  void on_retry(const Retry&) override;
  void on_request_done(const RequestRecord&) override;
  void on_end(Ps end) override;

  std::int64_t steps() const;
  std::int64_t tokens_delivered() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace orrery
