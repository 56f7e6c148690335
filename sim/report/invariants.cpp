#include "report/invariants.hpp"

#include <algorithm>
#include <map>
#include <tuple>
#include <unordered_map>

#include <fmt/format.h>

#include "base/error.hpp"

namespace orrery {

struct Invariants::Impl {
  explicit Impl(InvariantLimits l) : limits(l) {}

  /// `what` happened on `where` from `start` to `end`; checks what holds for every step.
  void step(const char* what, CoreId where, Ps start, Ps end, const CoreLoad& load) {
    const auto place = [&] {
      return fmt::format("{} on replica {} core {} at {} ps", what, where.replica, where.core, start.value);
    };
    ORRERY_CHECK(end > start, place() + ": takes no time");
    auto& last = last_end[{where.replica, where.core, where.lane}];
    ORRERY_CHECK(start >= last, place() + fmt::format(": the step before ends at {} ps", last.value));
    last = end;
    ORRERY_CHECK(load.running >= 0 && load.waiting >= 0, place() + ": negative load");
    ORRERY_CHECK(
        load.kv_blocks_used >= 0 && load.kv_blocks_used <= load.kv_blocks_total,
        place() + fmt::format(": {} KV blocks used of {}", load.kv_blocks_used, load.kv_blocks_total));
    ORRERY_CHECK(limits.max_num_seqs == 0 || load.running <= limits.max_num_seqs,
                 place() + fmt::format(": {} running of at most {}", load.running, limits.max_num_seqs));
    latest = std::max(latest, end);
  }

  InvariantLimits limits;
  std::map<std::tuple<std::int32_t, std::int32_t, std::int32_t>, Ps> last_end;
  std::unordered_map<RequestId, Ps> present;  // arrived and not yet left, with their arrival
  Ps latest{0};
  std::int64_t steps = 0, delivered = 0, promised = 0, discarded = 0, failed = 0;
};

Invariants::Invariants(InvariantLimits limits) : impl_(std::make_unique<Impl>(limits)) {}
Invariants::~Invariants() = default;

std::int64_t Invariants::steps() const {
  return impl_->steps;
}
std::int64_t Invariants::tokens_delivered() const {
  return impl_->delivered;
}

void Invariants::on_decode_run(const DecodeRun& run) {
  auto& m = *impl_;
  ORRERY_CHECK(run.steps > 0 && run.seqs > 0,
               fmt::format("a decode run of {} steps, {} sequences", run.steps, run.seqs));
  ORRERY_CHECK(run.first.value > 0 && (run.first + run.slope * (run.steps - 1)).value > 0,
               "a decode step takes no time");
  ORRERY_CHECK(run.seqs <= run.load.running,
               fmt::format("{} decode of {} running", run.seqs, run.load.running));
  m.step("decode run", run.where, run.start, run.end(), run.load);
  m.steps += run.steps;
  m.delivered += run.tokens();
}

void Invariants::on_mixed_step(const MixedStep& step) {
  auto& m = *impl_;
  m.step("mixed step", step.where, step.start, step.start + step.duration, step.load);
  Tokens prefill = 0;
  for (const auto& chunk : step.chunks) {
    ORRERY_CHECK(chunk.new_tokens > 0 && chunk.past >= 0,
                 fmt::format("request {}: empty chunk", chunk.request));
    prefill += chunk.new_tokens;
    m.delivered += chunk.last ? 1 : 0;
  }
  ORRERY_CHECK(prefill == step.prefill_tokens,
               fmt::format("chunks hold {} tokens, the step says {}", prefill, step.prefill_tokens));
  const auto tokens = prefill + step.decode_seqs;
  ORRERY_CHECK(m.limits.max_num_batched_tokens == 0 || tokens <= m.limits.max_num_batched_tokens,
               fmt::format("a step of {} tokens of at most {}", tokens, m.limits.max_num_batched_tokens));
  ++m.steps;
  m.delivered += step.decode_seqs + step.extra_tokens;
}

void Invariants::on_arrival(const Request& request, CoreId) {
  const bool is_new = impl_->present.emplace(request.id, request.arrival).second;
  ORRERY_CHECK(is_new, fmt::format("request {} arrives twice", request.id));
}

void Invariants::on_retry(const Retry& retry) {
  auto& m = *impl_;
  ORRERY_CHECK(m.present.count(retry.request) > 0,
               fmt::format("request {} is sent again and is not there", retry.request));
  ORRERY_CHECK(retry.discarded == 0 || retry.discarded == retry.delivered,
               fmt::format("request {}: a part of its answer is discarded", retry.request));
  m.discarded += retry.discarded;
}

void Invariants::on_request_done(const RequestRecord& r) {
  auto& m = *impl_;
  const auto it = m.present.find(r.id);
  ORRERY_CHECK(it != m.present.end(), fmt::format("request {} leaves without having arrived", r.id));
  ORRERY_CHECK(it->second == r.arrival, fmt::format("request {} changed its arrival", r.id));
  m.present.erase(it);
  if (r.failure) {
    ++m.failed;
    return;
  }
  ORRERY_CHECK(
      r.arrival <= r.queued && r.queued <= r.scheduled && r.scheduled < r.first_token &&
          r.first_token <= r.done,
      fmt::format("request {}: arrival {} queued {} scheduled {} first token {} done {} ps", r.id,
                  r.arrival.value, r.queued.value, r.scheduled.value, r.first_token.value, r.done.value));
  ORRERY_CHECK(r.output_tokens >= 1, fmt::format("request {} completed without output", r.id));
  ORRERY_CHECK(
      r.cached_tokens >= 0 && r.cached_tokens < r.prompt_tokens,
      fmt::format("request {}: {} of {} prompt tokens cached", r.id, r.cached_tokens, r.prompt_tokens));
  m.promised += r.output_tokens;
  m.latest = std::max(m.latest, r.done);
}

void Invariants::on_end(Ps end) {
  auto& m = *impl_;
  if (!m.present.empty()) return;  // cut off: what was delivered to those is not known here
  ORRERY_CHECK(m.latest <= end, fmt::format("the run ends at {} ps, after {}", end.value, m.latest.value));
  ORRERY_CHECK(
      m.failed > 0 || m.delivered == m.promised + m.discarded,
      fmt::format("{} tokens delivered, {} asked for, {} discarded", m.delivered, m.promised, m.discarded));
}

}  // namespace orrery
