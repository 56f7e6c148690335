#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/rng.hpp"
#include "workload/arrival_process.hpp"
#include "workload/trace_reader.hpp"

namespace orrery {

/// The rows of one pass over a trace, with bad rows left out or refused, in order of time.
class TraceRows {
 public:
  /// Errors: ConfigError when the format is not known.
  TraceRows(ByteSource source, TraceOptions options);

  /// Errors: BadRow for a bad row or a step back in time under OnBadRow::fail; ConfigError when a row with a
  /// time follows one without or the other way round.
  bool next(TraceRow& row);
  void rewind();  ///< to the first row
  /// Whether its rows have times; rewinds. Errors: ConfigError when there is no row at all.
  bool timed();

  const std::string& format() const { return format_; }
  const std::string& name() const { return source_.name(); }
  long line() const { return reader_->line(); }  ///< of the row last read
  std::vector<std::string> notes() const;

 private:
  bool read(TraceRow& row);
  void check_order(const TraceRow& row);
  [[noreturn]] void bad(const std::string& message, const std::string& hint) const;
  void load_sorted();

  ByteSource source_;
  TraceOptions options_;
  std::string format_;
  TraceReaderPtr reader_;
  std::int64_t last_ns_ = kNoTime, rows_ = 0;
  std::int64_t bad_ = 0;
  std::string first_bad_;
  std::vector<TraceRow> sorted_;  ///< all rows, under options.sort
  std::size_t sorted_at_ = 0;
  std::int64_t moved_ = 0;  ///< rows that were out of order before sorting
};

/// Gives the requests of one timestamp times of their own within the tick that follows it. The tick is the
/// distance to the next timestamp, but not more than the shortest distance met so far: an idle minute is not
/// a tick.
class TieSpreader {
 public:
  TieSpreader(SpreadTies how, std::uint64_t seed) : how_(how), rng_(seed, "trace.ties") {}

  /// Takes the next row from `rows`.
  bool next(TraceRows& rows, TraceRow& row);
  void restart();

 private:
  bool fill(TraceRows& rows);
  void spread(std::int64_t tick_ns);

  SpreadTies how_;
  Rng rng_;
  std::vector<TraceRow> group_;
  std::size_t at_ = 0;
  std::optional<TraceRow> ahead_;  ///< the first row of the next group
  std::int64_t shortest_ns_ = 0;
};

/// Times of a trace as they pass by: how many rows, how many distinct times, how far they reach.
struct TraceClock {
  std::int64_t rows = 0, distinct = 0, first_ns = 0, last_ns = 0;

  void see(std::int64_t ns) {
    if (rows++ == 0) first_ns = ns, last_ns = ns - 1;
    if (ns != last_ns) ++distinct;
    last_ns = ns;
  }
  double span_s() const { return rows < 2 ? 0 : static_cast<double>(last_ns - first_ns) * 1e-9; }
  /// Mean rate: gaps over span, so that a trace played twice in a row keeps it. 0 when there is no span.
  double rate() const { return span_s() > 0 ? static_cast<double>(rows - 1) / span_s() : 0; }
  /// Mean distance of distinct times when most requests share theirs with another (at least 100 rows), else
  /// 0.
  double tick_s() const {
    return rows >= 100 && rows > 2 * distinct && distinct > 1 ? span_s() / double(distinct - 1) : 0;
  }
};

/// Requests of a trace whose sessions wait for answers (rows with a delay instead of a time): read whole; a
/// row with a delay is sent that long after the answer to its session's previous row. Errors: ConfigError
/// when the spec asks for a target rate or a loop, which need times.
RequestSourcePtr make_session_source(const WorkloadSpec& spec, ByteSource source, std::uint64_t seed);

/// Requests of a trace file: replayed by its own times, rescaled, cut and looped as the spec says. A trace
/// without times takes them from the spec's arrival process.
RequestSourcePtr make_trace_source(const WorkloadSpec& spec, ByteSource source, std::uint64_t seed);

}  // namespace orrery
