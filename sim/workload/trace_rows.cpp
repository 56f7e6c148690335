#include <algorithm>

#include <fmt/format.h>

#include "workload/trace_source.hpp"

namespace orrery {

namespace {
constexpr std::int64_t kLatestNs = 4'000'000'000'000'000'000;  // sums of two times still fit in 64 bits
}

TraceRows::TraceRows(ByteSource source, TraceOptions options)
    : source_(std::move(source)), options_(std::move(options)), format_(trace_format(source_, options_)) {
  rewind();
}

void TraceRows::rewind() {
  if (options_.sort && reader_) {
    sorted_at_ = 0;
    return;
  }
  reader_ = Registry<TraceFormats>::find(format_).make.open(source_.open(), source_.name(), options_);
  rows_ = bad_ = 0;
  last_ns_ = kNoTime;
  if (options_.sort) load_sorted();
}

bool TraceRows::timed() {
  TraceRow row;
  if (!next(row)) {
    std::string why;
    for (const auto& note : reader_->notes()) why += (why.empty() ? "" : "; ") + note;
    if (bad_ > 0)
      why += (why.empty() ? "" : "; ") + fmt::format("{} bad rows skipped; the first: {}", bad_, first_bad_);
    throw ConfigError("the trace holds no requests", why).at(name());
  }
  const bool timed = row.time_ns != kNoTime;
  rewind();
  return timed;
}

bool TraceRows::next(TraceRow& row) {
  if (!options_.sort) return read(row);
  if (sorted_at_ == sorted_.size()) return false;
  row = sorted_[sorted_at_++];
  return true;
}

bool TraceRows::read(TraceRow& row) {
  for (;;) {
    try {
      if (!reader_->next(row)) return false;
      check_order(row);
      return true;
    } catch (const BadRow& e) {
      if (options_.on_bad_row == OnBadRow::fail) throw;
      if (bad_++ == 0) first_bad_ = fmt::format("{}:{}: {}", e.file(), e.line(), e.what());
    }
  }
}

void TraceRows::check_order(const TraceRow& row) {
  if (row.delay_ns != kNoTime) return;  // its time depends on an answer
  if (row.time_ns != kNoTime && (row.time_ns < 0 || row.time_ns > kLatestNs)) {
    bad("the time is before 1970 or after 2096", "");
  }
  const bool first = rows_++ == 0;
  if (first || row.time_ns >= last_ns_) {
    if (!first && last_ns_ == kNoTime && row.time_ns != kNoTime) {
      throw ConfigError("this row has a time, but those before it have none").at(name(), reader_->line());
    }
    last_ns_ = row.time_ns;
    return;
  }
  if (row.time_ns == kNoTime) {
    throw ConfigError("this row has no time, but those before it do").at(name(), reader_->line());
  }
  ++moved_;
  if (options_.sort) return;
  bad(fmt::format("the row is {:.6g} s earlier than the one before it",
                  1e-9 * double(last_ns_ - row.time_ns)),
      "read the whole trace and sort it with --sort, or skip such rows with --on-bad-row skip");
}

void TraceRows::bad(const std::string& message, const std::string& hint) const {
  BadRow error(message, hint);
  error.at(name(), reader_->line());
  throw error;
}

void TraceRows::load_sorted() {
  TraceRow row;
  moved_ = 0;
  while (read(row)) sorted_.push_back(row);
  std::stable_sort(sorted_.begin(), sorted_.end(),
                   [](const TraceRow& a, const TraceRow& b) { return a.time_ns < b.time_ns; });
}

std::vector<std::string> TraceRows::notes() const {
  std::vector<std::string> out = reader_->notes();
  if (options_.format == "auto")
    out.insert(out.begin(), "detected: " + format_ + " (override with --format)");
  if (bad_ > 0) out.push_back(fmt::format("{} bad rows skipped; the first: {}", bad_, first_bad_));
  if (options_.sort && moved_ > 0)
    out.push_back(fmt::format("sorted by time: {} rows were out of order", moved_));
  return out;
}

void TieSpreader::restart() {
  group_.clear();
  at_ = 0;
  ahead_.reset();
}

bool TieSpreader::next(TraceRows& rows, TraceRow& row) {
  if (at_ == group_.size() && !fill(rows)) return false;
  row = std::move(group_[at_++]);
  return true;
}

bool TieSpreader::fill(TraceRows& rows) {
  group_.clear();
  at_ = 0;
  TraceRow row;
  if (ahead_) {
    group_.push_back(std::move(*ahead_));
    ahead_.reset();
  } else if (rows.next(row)) {
    group_.push_back(row);
  } else {
    return false;
  }
  while (rows.next(row)) {
    if (row.time_ns != group_.front().time_ns) {
      ahead_ = row;
      const std::int64_t gap = row.time_ns - group_.front().time_ns;
      shortest_ns_ = shortest_ns_ == 0 ? gap : std::min(shortest_ns_, gap);
      break;
    }
    group_.push_back(row);
  }
  spread(shortest_ns_);
  return true;
}

void TieSpreader::spread(std::int64_t tick_ns) {
  const std::size_t n = group_.size();
  if (n < 2 || group_.front().time_ns == kNoTime) return;
  std::vector<double> at(n);
  for (std::size_t i = 0; i < n; ++i) {
    at[i] = how_ == SpreadTies::uniform ? static_cast<double>(i) / static_cast<double>(n) : rng_.uniform();
  }
  std::sort(at.begin(), at.end());
  for (std::size_t i = 0; i < n; ++i) {
    group_[i].time_ns += static_cast<std::int64_t>(at[i] * static_cast<double>(tick_ns));
  }
}

}  // namespace orrery
