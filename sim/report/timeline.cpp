#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include <fmt/format.h>

#include "base/error.hpp"
#include "report/decimal.hpp"
#include "report/expand_steps.hpp"
#include "report/perfetto.hpp"
#include "report/text.hpp"
#include "report/writers.hpp"

namespace orrery {

namespace {

using Writer = PerfettoWriter;

// Track uuids: so many per replica, then one per request, then one per migration.
constexpr std::uint64_t kUuidsPerReplica = 2048;
constexpr std::uint64_t kFirstRequestUuid = std::uint64_t{1} << 28;
constexpr std::uint64_t kFirstMigrationUuid = std::uint64_t{1} << 56;
constexpr std::uint64_t kRunning = 1, kWaiting = 2, kKvUsed = 3, kBatchTokens = 4, kState = 5,
                        kFirstCore = 16;
constexpr std::uint64_t kFleetUuid = kFirstRequestUuid - 2, kUp = kFleetUuid + 1;
constexpr std::int64_t kFleetPid = 1'000'000;
constexpr std::int32_t kMaxCores = static_cast<std::int32_t>(kUuidsPerReplica - kFirstCore);

std::uint64_t process_uuid(std::int32_t replica) {
  return kUuidsPerReplica * static_cast<std::uint64_t>(replica + 1);
}

/// "req 17 · 812 → 203", built without a formatter: there is one per request.
class RequestName {
 public:
  explicit RequestName(const RequestRecord& r) {
    char* p = write_text(text_, "req ");
    p = write_integer(p, r.id);
    p = write_text(p, " · ");
    p = write_integer(p, r.prompt_tokens);
    p = write_text(p, " → ");
    p = write_integer(p, r.output_tokens);
    size_ = static_cast<std::size_t>(p - text_);
  }
  std::string_view view() const { return {text_, size_}; }

 private:
  char text_[96];
  std::size_t size_;
};

/// What the counters of a core show now; only changes are written.
struct Shown {
  std::int64_t running = 0, waiting = 0, kv_permille = 0, batch_tokens = 0;
  Ps busy_until{0};
};

}  // namespace

struct Timeline::Impl {
  Impl(const std::string& path, TimelineOptions o) : options(std::move(o)), writer(path) {}

  bool in_window(Ps from, Ps to) const { return from < options.end && to > options.start; }

  /// Whether `count` more slices may be written; the first refusal is remembered for the note.
  bool room(std::int64_t count, Ps now) {
    if (stopped_at != kNever) {
      ++left_out;
      return false;
    }
    if (slices + count > options.max_slices) {
      stopped_at = now;
      ++left_out;
      return false;
    }
    slices += count;
    return true;
  }

  std::uint64_t process(std::int32_t replica) {
    const auto uuid = process_uuid(replica);
    if (!processes.try_emplace(replica, true).second) return uuid;
    const auto named = static_cast<std::size_t>(replica) < options.replica_names.size();
    writer.process(
        uuid, replica + 1,
        named ? options.replica_names[static_cast<std::size_t>(replica)] : fmt::format("replica {}", replica),
        replica);
    writer.counter(uuid + kRunning, uuid, "running", 0, "requests");
    writer.counter(uuid + kWaiting, uuid, "waiting", 1, "requests");
    writer.counter(uuid + kKvUsed, uuid, "KV used", 2, "%");
    writer.counter(uuid + kBatchTokens, uuid, "batch tokens", 3, "tokens");
    return uuid;
  }

  /// The track of a core's steps. Lanes of a pipeline overlap and have one each; only a replica of one core
  /// has lanes, so that cores and lanes can share the numbers.
  std::uint64_t core(CoreId where) {
    const std::int32_t row = where.core + where.lane;
    ORRERY_CHECK(row < kMaxCores, "more engine cores per replica than tracks");
    const auto uuid = process(where.replica) + kFirstCore + static_cast<std::uint64_t>(row);
    if (rows.emplace(where.replica, row).second) {
      const std::string name = where.lane > 0   ? fmt::format("engine steps, lane {}", where.lane)
                               : where.core > 0 ? fmt::format("engine steps, core {}", where.core)
                                                : "engine steps";
      writer.track(
          uuid, process_uuid(where.replica), name, 10 + row,
          "A decode run is consecutive decode steps of an unchanged batch; a mixed step holds prefill.");
    }
    return uuid;
  }

  /// The track of what a replica is there for, where replicas come and go.
  std::uint64_t state_track(std::int32_t replica) {
    const auto uuid = process(replica) + kState;
    if (states.emplace(replica, ReplicaState::up).second) {
      if (states.size() == 1) {
        writer.process(kFleetUuid, kFleetPid, "fleet", 0);
        writer.counter(kUp, kFleetUuid, "replicas up", 0, "replicas");
      }
      writer.track(uuid, process_uuid(replica), "replica", 5, "When it starts, drains or is down.");
    }
    return uuid;
  }

  void counters(CoreId where, Ps start, Ps end, const CoreLoad& load, std::int64_t batch_tokens) {
    auto& shown = cores[{where.replica, where.core}];
    if (where.core == 0) {
      if (start > shown.busy_until && shown.busy_until.value > 0) show(shown, where, shown.busy_until, {}, 0);
      show(shown, where, start, load, batch_tokens);
    }
    shown.busy_until = end;
  }

  void show(Shown& shown, CoreId where, Ps time, const CoreLoad& load, std::int64_t batch_tokens) {
    const auto uuid = process_uuid(where.replica);
    const auto put = [&](std::int64_t& last, std::int64_t now, std::uint64_t track) {
      if (last == now) return false;
      last = now;
      if (track != kKvUsed) writer.count(uuid + track, time, now);
      return true;
    };
    put(shown.running, load.running, kRunning);
    put(shown.waiting, load.waiting, kWaiting);
    put(shown.batch_tokens, batch_tokens, kBatchTokens);
    if (load.kv_blocks_total == 0) return;  // idle: the cache keeps what it holds
    const auto permille = std::llround(1000.0 * static_cast<double>(load.kv_blocks_used) /
                                       static_cast<double>(load.kv_blocks_total));
    if (put(shown.kv_permille, permille, kKvUsed)) {
      writer.count(uuid + kKvUsed, time, static_cast<double>(permille) / 10);
    }
  }

  TimelineOptions options;
  PerfettoWriter writer;
  std::map<std::int32_t, bool> processes;
  std::set<std::pair<std::int32_t, std::int32_t>> rows;
  std::map<std::pair<std::int32_t, std::int32_t>, Shown> cores;
  std::map<std::int32_t, ReplicaState> states;  ///< of replicas that come and go
  std::int64_t up = 0;
  std::map<RequestId, Ps> received;  ///< when KV caches came, of requests not done yet
  std::int64_t slices = 0, left_out = 0, migrations = 0;
  Ps stopped_at = kNever;
};

TimelineDetail parse_timeline_detail(const std::string& text) {
  if (text == "off") return TimelineDetail::off;
  if (text == "runs") return TimelineDetail::runs;
  if (text == "steps") return TimelineDetail::steps;
  throw ConfigError("unknown timeline detail '" + text + "'", suggestion(text, {"off", "runs", "steps"}),
                    ExitCode::usage);
}

Timeline::Timeline(const std::string& path, TimelineOptions options)
    : impl_(std::make_unique<Impl>(path, std::move(options))) {}
Timeline::~Timeline() = default;

std::int64_t Timeline::slices() const {
  return impl_->slices;
}

void Timeline::on_decode_run(const DecodeRun& run) {
  auto& m = *impl_;
  const Ps end = run.end();
  const bool expanded = m.options.detail == TimelineDetail::steps;
  if (m.options.detail == TimelineDetail::off || !m.in_window(run.start, end)) return;
  if (!m.room(expanded ? run.steps : 1, run.start)) return;
  const auto track = m.core(run.where);
  m.counters(run.where, run.start, end, run.load, run.seqs);
  if (!expanded) {
    m.writer.begin(track, run.start, Writer::Name::decode_run,
                   {{Writer::Arg::steps, run.steps},
                    {Writer::Arg::decode_seqs, run.seqs},
                    {Writer::Arg::kv_blocks, run.load.kv_blocks_used}});
    m.writer.end(track, end);
    return;
  }
  expand_steps(run, [&](const DecodeStep& step) {
    m.writer.begin(track, step.start, Writer::Name::decode, {{Writer::Arg::decode_seqs, run.seqs}});
    m.writer.end(track, step.start + step.duration);
  });
}

void Timeline::on_mixed_step(const MixedStep& step) {
  auto& m = *impl_;
  const Ps end = step.start + step.duration;
  if (m.options.detail == TimelineDetail::off || !m.in_window(step.start, end)) return;
  if (!m.room(1, step.start)) return;
  const auto track = m.core(step.where);
  m.counters(step.where, step.start, end, step.load, step.decode_seqs + step.prefill_tokens);
  m.writer.begin(track, step.start, Writer::Name::mixed_step,
                 {{Writer::Arg::prefill_tokens, step.prefill_tokens},
                  {Writer::Arg::decode_seqs, step.decode_seqs},
                  {Writer::Arg::waiting, step.load.waiting},
                  {Writer::Arg::kv_blocks, step.load.kv_blocks_used}});
  m.writer.end(track, end);
}

void Timeline::on_preemption(RequestId request, CoreId where, Ps time) {
  auto& m = *impl_;
  if (m.options.detail == TimelineDetail::off || !m.in_window(time, time + Ps(1))) return;
  if (!m.room(1, time)) return;
  m.writer.instant(m.core(where), time, Writer::Name::preemption, {{Writer::Arg::request, request}});
}

void Timeline::on_kv_transfer(const KvTransfer& t) {
  impl_->received[t.request] = t.end;
}

void Timeline::on_replica(const ReplicaChange& c) {
  auto& m = *impl_;
  if (m.options.detail == TimelineDetail::off) return;
  const bool first = m.states.count(c.replica) == 0;
  const auto track = m.state_track(c.replica);
  ReplicaState& state = m.states[c.replica];
  if (state != ReplicaState::up) m.writer.end(track, c.time);
  m.up += (c.state == ReplicaState::up ? 1 : 0) - (!first && state == ReplicaState::up ? 1 : 0);
  state = c.state;
  m.writer.count(kUp, c.time, m.up);
  if (state == ReplicaState::up) return;
  m.writer.begin(track, c.time,
                 state == ReplicaState::starting   ? Writer::Name::starting
                 : state == ReplicaState::draining ? Writer::Name::draining
                 : c.failed                        ? Writer::Name::failed
                                                   : Writer::Name::down);
}

void Timeline::on_retry(const Retry& retry) {
  auto& m = *impl_;
  if (m.options.detail == TimelineDetail::off || !m.in_window(retry.time, retry.time + Ps(1))) return;
  if (!m.room(1, retry.time)) return;
  m.writer.instant(m.state_track(retry.replica), retry.time, Writer::Name::retry,
                   {{Writer::Arg::request, retry.request}, {Writer::Arg::output_tokens, retry.delivered}});
}

void Timeline::on_migration(const Migration& migration) {
  auto& m = *impl_;
  if (m.options.detail == TimelineDetail::off || !m.in_window(migration.start, migration.end)) return;
  if (!m.room(2, migration.end)) return;
  const auto track = kFirstMigrationUuid + static_cast<std::uint64_t>(m.migrations++);
  m.writer.track(track, m.process(migration.source), "migrations", 30);
  m.writer.begin(track, migration.start,
                 fmt::format("req {} {} replica {}", migration.request,
                             migration.moved ? "to" : "stays, was to go to", migration.target),
                 {{Writer::Arg::request, migration.request}});
  if (migration.moved) {
    m.writer.begin(track, migration.paused, "paused", {});
    m.writer.end(track, migration.end);
  }
  m.writer.end(track, migration.end);
}

void Timeline::on_request_done(const RequestRecord& r) {
  auto& m = *impl_;
  Ps decoding = r.first_token;
  if (const auto moved = m.received.find(r.id); moved != m.received.end()) {
    decoding = std::max(decoding, moved->second);
    m.received.erase(moved);
  }
  if (m.options.detail == TimelineDetail::off || r.failure || !m.in_window(r.arrival, r.done)) return;
  if (!m.room(decoding > r.first_token ? 5 : 4, r.done)) return;
  const auto track = kFirstRequestUuid + static_cast<std::uint64_t>(r.id);
  // Tracks of one name below one parent are packed onto as few rows as possible by the viewer.
  m.writer.track(track, m.process(r.replica), "requests", 20);
  m.writer.begin(track, r.arrival, RequestName(r).view(),
                 {{Writer::Arg::prompt_tokens, r.prompt_tokens},
                  {Writer::Arg::cached_tokens, r.cached_tokens},
                  {Writer::Arg::output_tokens, r.output_tokens},
                  {Writer::Arg::preemptions, r.preemptions}});
  const auto phase = [&](Writer::Name name, Ps from, Ps to) {
    if (to <= from) return;
    m.writer.begin(track, from, name);
    m.writer.end(track, to);
  };
  phase(Writer::Name::queued, r.arrival, r.scheduled);
  phase(Writer::Name::prefill, r.scheduled, r.first_token);
  phase(Writer::Name::kv_transfer, r.first_token, decoding);
  phase(Writer::Name::decode, decoding, r.done);
  m.writer.end(track, r.done);
}

void Timeline::on_end(Ps end) {
  auto& m = *impl_;
  for (const auto& [replica, state] : m.states) {
    if (state != ReplicaState::up) m.writer.end(process_uuid(replica) + kState, end);
  }
  for (auto& [id, shown] : m.cores) {
    if (id.second == 0) m.show(shown, {id.first, 0}, shown.busy_until, {}, 0);
  }
  m.writer.close();
}

std::string Timeline::note() const {
  const auto& m = *impl_;
  if (m.stopped_at == kNever) return {};
  return fmt::format(
      "timeline.pftrace stops at {:.3f} s of simulated time, at {} slices; {} later runs, steps "
      "and requests are not in it (choose a window to see them)",
      to_seconds(m.stopped_at).value, grouped(m.slices), grouped(m.left_out));
}

}  // namespace orrery
