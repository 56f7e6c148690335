#include "scenario/time_parts.hpp"

#include <algorithm>

namespace orrery {

namespace {

double ms(Ps t) {
  return static_cast<double>(t.value) / 1e9;
}

/// How much of [from, to) lies in [start, end).
Ps overlap(Ps start, Ps end, Ps from, Ps to) {
  return std::max(Ps(0), std::min(end, to) - std::max(start, from));
}

}  // namespace

TimePartsObserver::TimePartsObserver(const std::vector<RequestId>& followed, Metric metric,
                                     std::int64_t max_num_seqs, std::int64_t block_size)
    : metric_(metric), max_num_seqs_(max_num_seqs), block_size_(block_size) {
  for (const RequestId id : followed) followed_[id];
}

void TimePartsObserver::on_arrival(const Request& request, CoreId where) {
  const auto it = followed_.find(request.id);
  if (it == followed_.end()) return;
  Followed& f = it->second;
  f.replica = where.replica, f.core = where.core;
  f.blocks = (request.prompt_tokens + block_size_ - 1) / block_size_;
}

void TimePartsObserver::add(CoreId where, Ps start, Ps end, const CoreLoad& load, bool mixed) {
  const Stretch s{start, end, load.kv_blocks_total - load.kv_blocks_used, load.running >= max_num_seqs_,
                  mixed};
  std::vector<Stretch>& all = stretches_[{where.replica, where.core}];
  if (!all.empty()) {
    Stretch& last = all.back();
    if (last.end == start && last.free_blocks == s.free_blocks && last.full == s.full &&
        last.mixed == mixed) {
      last.end = end;
      return;
    }
  }
  all.push_back(s);
}

void TimePartsObserver::on_decode_run(const DecodeRun& run) {
  add(run.where, run.start, run.end(), run.load, false);
}

void TimePartsObserver::on_mixed_step(const MixedStep& step) {
  // Those admitted with this step are in nobody's way any more, but have taken their slots.
  CoreLoad load = step.load;
  load.running += static_cast<std::int64_t>(step.chunks.size());
  add(step.where, step.start, step.start + step.duration, load, true);
  const auto tokens = static_cast<double>(std::max<Tokens>(1, step.prefill_tokens + step.decode_seqs));
  for (const ChunkEvent& chunk : step.chunks) {
    const auto it = followed_.find(chunk.request);
    if (it == followed_.end()) continue;
    it->second.chunks.push_back(
        {step.start, step.start + step.duration, static_cast<double>(chunk.new_tokens) / tokens});
  }
}

void TimePartsObserver::account_wait(const std::vector<Stretch>& stretches, std::int64_t blocks, Ps from,
                                     Ps to) {
  Ps slot{0}, memory{0};
  auto it = std::lower_bound(stretches.begin(), stretches.end(), from,
                             [](const Stretch& s, Ps t) { return s.end <= t; });
  for (; it != stretches.end() && it->start < to; ++it) {
    const Ps part = overlap(it->start, it->end, from, to);
    if (it->full) {
      slot += part;
    } else if (it->free_blocks < blocks) {
      memory += part;
    }
  }
  sum_.slot_wait += ms(slot), sum_.memory_wait += ms(memory);
  sum_.turn_wait += ms(to - from - slot - memory);
}

void TimePartsObserver::account_prefill(const std::vector<Chunk>& chunks, Ps from, Ps to) {
  double own = 0, in_steps = 0;
  for (const Chunk& chunk : chunks) {
    const double part = ms(overlap(chunk.start, chunk.end, from, to));
    own += part * chunk.own, in_steps += part;
  }
  sum_.prefill += own, sum_.prefill_shared += in_steps - own;
  sum_.prefill_paused += ms(to - from) - in_steps;
}

void TimePartsObserver::account_decode(const std::vector<Stretch>& stretches, Ps from, Ps to) {
  Ps pure{0}, mixed{0};
  auto it = std::lower_bound(stretches.begin(), stretches.end(), from,
                             [](const Stretch& s, Ps t) { return s.end <= t; });
  for (; it != stretches.end() && it->start < to; ++it)
    (it->mixed ? mixed : pure) += overlap(it->start, it->end, from, to);
  sum_.decode += ms(pure), sum_.decode_interfered += ms(mixed);
  sum_.decode_paused += ms(to - from - pure - mixed);
}

void TimePartsObserver::on_request_done(const RequestRecord& r) {
  const auto it = followed_.find(r.id);
  if (it == followed_.end() || r.failure) return;
  ++done_;
  const Followed& f = it->second;
  // The client sees a token some time after the step that made it: the last chunk's end, for the first.
  const Ps computed = f.chunks.empty() ? r.first_token : std::min(r.first_token, f.chunks.back().end);
  const Ps out = r.first_token - computed;
  const auto& stretches = stretches_[{f.replica, f.core}];
  if (metric_ == Metric::ttft || metric_ == Metric::e2el) {
    sum_.front_end += ms(r.queued - r.arrival + out);
    account_wait(stretches, f.blocks, r.queued, r.scheduled);
    account_prefill(f.chunks, r.scheduled, computed);
  }
  if (metric_ != Metric::ttft) account_decode(stretches, computed, r.done - out);
}

TimeParts TimePartsObserver::mean() const {
  TimeParts p = sum_;
  const double n = static_cast<double>(std::max<std::int64_t>(1, done_));
  for (double* part :
       {&p.front_end, &p.slot_wait, &p.memory_wait, &p.turn_wait, &p.prefill, &p.prefill_shared,
        &p.prefill_paused, &p.decode, &p.decode_interfered, &p.decode_paused})
    *part /= n;
  return p;
}

}  // namespace orrery
