#pragma once

#include "cost/step_pricer.hpp"
#include "serving/config.hpp"

namespace orrery {

/// What an average request asks of a replica.
struct MeanRequest {
  double prompt_tokens = 0;  ///< that are computed (not found in the prefix cache)
  double held_tokens = 0;    ///< prompt tokens that occupy KV, cached ones included
  double output_tokens = 0;
};

/// The request rate at which one replica saturates, requests/s: the largest rate at which prefill and decode
/// of identical average requests fit the steps, over the batch sizes that memory and max_num_seqs allow.
/// An estimate from mean lengths, without queueing: near, not exact. 0 when nothing can run.
double saturation_rate(StepPricer& pricer, const SchedulerConfig& scheduler, const KvConfig& kv,
                       const MeanRequest& request);

}  // namespace orrery
