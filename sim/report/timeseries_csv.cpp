#include <algorithm>
#include <map>

#include <fmt/format.h>

#include "base/error.hpp"
#include "report/expand_steps.hpp"
#include "report/output_file.hpp"
#include "report/writers.hpp"

namespace orrery {

namespace {

struct Interval {
  double running = 0, waiting = 0, kv = 0;  // integrals over time, in (unit) seconds
  double prompt_tokens = 0, output_tokens = 0;
  Interval& operator+=(const Interval& o) {
    running += o.running, waiting += o.waiting, kv += o.kv;
    prompt_tokens += o.prompt_tokens, output_tokens += o.output_tokens;
    return *this;
  }
};

/// The intervals of one replica.
class Series {
 public:
  explicit Series(Ps width) : width_(width) {}

  Interval& at(Ps when) {
    const auto i = static_cast<std::size_t>(when.value / width_.value);
    if (i >= intervals_.size()) intervals_.resize(i + 1);
    return intervals_[i];
  }
  Ps edge_after(Ps when) const { return Ps((when.value / width_.value + 1) * width_.value); }

  /// KV use goes linearly from `kv` to `kv_end` (fractions) between the two times.
  void load(const CoreLoad& load, Ps from, Ps to, double kv, double kv_end) {
    const double length = to_seconds(to - from).value;
    const double slope = length > 0 ? (kv_end - kv) / length : 0;
    while (from < to) {
      const Ps until = std::min(edge_after(from), to);
      const double seconds = to_seconds(until - from).value;
      auto& interval = at(from);
      interval.running += static_cast<double>(load.running) * seconds;
      interval.waiting += static_cast<double>(load.waiting) * seconds;
      interval.kv += (kv + slope * seconds / 2) * seconds;
      kv += slope * seconds;
      from = until;
    }
  }

  void tokens(const DecodeRun& run) {
    std::int64_t done = 0;
    for (Ps edge = edge_after(run.start); done < run.steps; edge += width_) {
      const std::int64_t upto = steps_ended_before(run, edge + Ps(1));  // at the edge still counts
      if (upto > done)
        at(edge - Ps(1)).output_tokens += static_cast<double>(run.tokens_by(upto) - run.tokens_by(done));
      done = upto;
    }
  }

  const std::vector<Interval>& intervals() const { return intervals_; }

 private:
  Ps width_;
  std::vector<Interval> intervals_;
};

double kv_fraction(const CoreLoad& load, double grown_blocks) {
  if (load.kv_blocks_total <= 0) return 0;
  const double used = static_cast<double>(load.kv_blocks_used) + grown_blocks;
  return std::min(1.0, used / static_cast<double>(load.kv_blocks_total));
}

}  // namespace

struct TimeseriesCsv::Impl {
  Impl(std::string path, TimeseriesOptions o) : options(o), file(std::move(path)) {}

  Series& series(CoreId where) {
    return by_replica.try_emplace(where.replica, Series(options.interval)).first->second;
  }

  /// Another number of replicas is up from `now` on.
  void count_up(int change, Ps now) {
    while (up_since < now) {
      const auto i = static_cast<std::size_t>(up_since.value / options.interval.value);
      const Ps edge = options.interval * static_cast<std::int64_t>(i + 1);
      if (i >= up_s.size()) up_s.resize(i + 1);
      up_s[i] += up * to_seconds(std::min(edge, now) - up_since).value;
      up_since = std::min(edge, now);
    }
    up += change;
  }

  void row(Ps start, Ps end, int replica, const Interval& sums, double kv_parts) {
    // The last interval is as long as what happened in it.
    const double length = std::max(1e-12, to_seconds(std::min(end, start + options.interval) - start).value);
    file.write(fmt::format("{:g},", to_seconds(start).value));
    if (options.per_replica) file.write(fmt::format("{},", replica));
    file.write(fmt::format("{:.3f},{:.3f},{:.3f},{:.1f},{:.1f}", sums.running / length, sums.waiting / length,
                           100 * sums.kv / length / (kv_parts * options.engine_cores),
                           sums.prompt_tokens / length, sums.output_tokens / length));
    if (options.fleet) {
      const auto i = static_cast<std::size_t>(start.value / options.interval.value);
      file.write(fmt::format(",{:.3f}", i < up_s.size() ? up_s[i] / length : 0.0));
    }
    file.write("\n");
  }

  void write(Ps end) {
    file.write(options.per_replica ? "t_s,replica,running,waiting,kv_used_pct,prompt_tok_s,gen_tok_s"
                                   : "t_s,running,waiting,kv_used_pct,prompt_tok_s,gen_tok_s");
    file.write(options.fleet ? ",replicas_up\n" : "\n");
    count_up(0, end);
    std::size_t rows = 0;
    for (const auto& [replica, s] : by_replica) rows = std::max(rows, s.intervals().size());
    for (std::size_t i = 0; i < rows; ++i) {
      const Ps start = options.interval * static_cast<std::int64_t>(i);
      Interval all;
      for (const auto& [replica, s] : by_replica) {
        const auto one = i < s.intervals().size() ? s.intervals()[i] : Interval{};
        if (options.per_replica) row(start, end, replica, one, 1);
        all += one;
      }
      if (!options.per_replica) row(start, end, 0, all, static_cast<double>(by_replica.size()));
    }
    file.close();
  }

  TimeseriesOptions options;
  OutputFile file;
  std::map<std::int32_t, Series> by_replica;
  std::map<std::int32_t, bool> is_up;
  std::vector<double> up_s;  ///< by interval, replicas times seconds
  int up = 0;
  Ps up_since{0};
};

TimeseriesCsv::TimeseriesCsv(std::string path, TimeseriesOptions options) {
  if (options.interval.value <= 0) {
    throw ConfigError("the interval of timeseries.csv must be longer than zero", {}, ExitCode::usage);
  }
  impl_ = std::make_unique<Impl>(std::move(path), options);
}
TimeseriesCsv::~TimeseriesCsv() = default;

void TimeseriesCsv::on_decode_run(const DecodeRun& run) {
  auto& series = impl_->series(run.where);
  const auto block = impl_->options.kv_block_size;
  const double grown = block > 0 ? static_cast<double>(run.tokens()) / block : 0;
  series.load(run.load, run.start, run.end(), kv_fraction(run.load, 0), kv_fraction(run.load, grown));
  series.tokens(run);
}

void TimeseriesCsv::on_mixed_step(const MixedStep& step) {
  auto& series = impl_->series(step.where);
  const Ps end = step.start + step.duration;
  const double kv = kv_fraction(step.load, 0);
  series.load(step.load, step.start, end, kv, kv);
  auto& last = series.at(end - Ps(1));
  last.prompt_tokens += static_cast<double>(step.prefill_tokens);
  last.output_tokens += static_cast<double>(step.decode_seqs + step.extra_tokens);
  for (const auto& chunk : step.chunks) last.output_tokens += chunk.last ? 1 : 0;
}

void TimeseriesCsv::on_replica(const ReplicaChange& change) {
  auto& m = *impl_;
  bool& was = m.is_up[change.replica];
  const bool is = change.state == ReplicaState::up;
  m.count_up((is ? 1 : 0) - (was ? 1 : 0), change.time);
  was = is;
}

void TimeseriesCsv::on_end(Ps end) {
  impl_->write(end);
}

}  // namespace orrery
