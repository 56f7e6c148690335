#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/registry.hpp"
#include "serving/sequence.hpp"

namespace orrery {

class KvCache;

/// Who is served next.
struct QueueParams {
  std::string policy = "fcfs";  ///< Registry<QueuePolicies>: fcfs, priority, sjf, edf, vtc, lpm, mlfq
  /// Of predicted answer lengths: standard deviation of ln(predicted / true); 0 = an oracle.
  double length_prediction_error = 0;
  double prompt_weight = 1;  ///< vtc: of a prompt token, ...
  double answer_weight = 2;  ///< ... and of an answer's
  /// edf: by when after its arrival the first token of a request of priority 0, 1, ... is due, in seconds.
  std::vector<double> deadlines_s;
  std::uint64_t seed = 0;  ///< of predictions
  // mlfq: queues, the first one's quantum (0 = one iteration), each further one's over the one before, and
  // after how long a wait a request is lifted to the first queue (0 = never) ...
  int mlfq_queues = 8;
  double mlfq_quantum_s = 0, mlfq_ratio = 2, mlfq_starvation_s = 0;
  // ... and what it takes for service: an iteration that decodes, and a prompt's first one per token.
  double mlfq_iteration_s = 0.02, mlfq_prompt_token_s = 1e-4;

  template <class Self, class V>
  static void visit(Self& p, V&& v) {
    v("policy", p.policy), v("length_prediction_error", p.length_prediction_error);
    v("prompt_weight", p.prompt_weight), v("answer_weight", p.answer_weight), v("deadlines_s", p.deadlines_s);
    v("mlfq_queues", p.mlfq_queues), v("mlfq_quantum_s", p.mlfq_quantum_s), v("mlfq_ratio", p.mlfq_ratio);
    v("mlfq_starvation_s", p.mlfq_starvation_s), v("mlfq_iteration_s", p.mlfq_iteration_s);
    v("mlfq_prompt_token_s", p.mlfq_prompt_token_s);
  }
  bool operator==(const QueueParams&) const = default;
};

/// The order in which waiting requests are admitted, and in which running ones give way when blocks run out.
/// Asked about sequences, by what the KV cache has of them if the policy was made to look: no clock.
class QueuePolicy {
 public:
  virtual ~QueuePolicy() = default;

  /// Whether `a` is served before `b`; a strict order (ties are broken by arrival, then id).
  virtual bool before(const Sequence& a, const Sequence& b) const = 0;
  /// Who comes later is served later, and who was admitted last gives way first: a plain queue.
  virtual bool first_come() const { return false; }
  /// When its first token is due; kNever under policies without deadlines. Those earlier due come first.
  virtual Ps due(const Request& /*request*/) const { return kNever; }
  /// The order of those who wait changes while others are served, so that each decision looks anew.
  virtual bool changes() const { return false; }
  /// One whose order changes: the present decision takes those who wait as they came.
  virtual bool as_they_came() const { return false; }
  /// before() also says who of those running gives way; else it is the one admitted last.
  virtual bool ranks_running() const { return !first_come(); }

  // What policies whose order changes are told. Of a run of steps they hear at its end, of who came meanwhile
  // before that: what depends on both must wait for the decision.
  /// A decision begins.
  virtual void decides() {}
  /// A request begins to wait, at its arrival or preempted.
  virtual void waits(const Sequence& /*seq*/) {}
  /// It is admitted.
  virtual void admitted(const Sequence& /*seq*/) {}
  /// It joins those who decode (1), or leaves them (-1).
  virtual void decodes(const Sequence& /*seq*/, int /*change*/) {}
  /// Each of those who decode in a lane gets so many tokens.
  virtual void served(int /*lane*/, Tokens /*each*/) {}
};

/// Order of arrival, for ties.
inline bool arrived_before(const Request& a, const Request& b) {
  return a.arrival != b.arrival ? a.arrival < b.arrival : a.id < b.id;
}

/// The length of a request's answer as predicted, with the policy's error drawn once for each request.
double predicted_output(const Request& request, const QueueParams& params);

struct QueuePolicies {
  static constexpr const char* kind = "scheduling_policy";
  using Factory = std::unique_ptr<QueuePolicy> (*)(const QueueParams&, const KvCache&);
};

/// Errors: ConfigError for an unknown policy, or one that lacks a setting.
inline std::unique_ptr<QueuePolicy> make_queue_policy(const QueueParams& params, const KvCache& kv) {
  return Registry<QueuePolicies>::find(params.policy).make(params, kv);
}

}  // namespace orrery
