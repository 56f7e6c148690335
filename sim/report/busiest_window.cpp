#include "report/busiest_window.hpp"

#include <algorithm>
#include <limits>

#include <fmt/format.h>

namespace orrery {

namespace {

constexpr std::int64_t kSecond = 1'000'000'000'000;  // ps
/// Replicas tell of their runs when these end: a second is settled this many seconds later.
constexpr std::int64_t kLag = 8;
constexpr std::size_t kMostSlices = 2000;  // of one second
constexpr std::size_t kMostRows = 32;

std::int32_t narrow(std::int64_t value) {
  return static_cast<std::int32_t>(std::min<std::int64_t>(value, std::numeric_limits<std::int32_t>::max()));
}

std::string row_name(const std::array<std::int32_t, 3>& row) {
  std::string out = fmt::format("replica {}", row[0]);
  if (row[1] > 0) out += fmt::format(", core {}", row[1]);
  if (row[2] > 0) out += fmt::format(", lane {}", row[2]);
  return out;
}

}  // namespace

void BusiestWindow::add(const DecodeRun& run) {
  Slice slice;
  slice.start = run.start, slice.duration = run.duration();
  slice.steps = narrow(run.steps), slice.decode_seqs = narrow(run.seqs);
  add(slice, run.where, run.load);
}

void BusiestWindow::add(const MixedStep& step) {
  Slice slice;
  slice.start = step.start, slice.duration = step.duration;
  slice.decode_seqs = narrow(step.decode_seqs), slice.prefill_tokens = narrow(step.prefill_tokens);
  add(slice, step.where, step.load);
}

void BusiestWindow::add(Slice slice, CoreId where, const CoreLoad& load) {
  const std::array<std::int32_t, 3> key{where.replica, where.core, where.lane};
  auto row = rows_.find(key);
  if (row == rows_.end()) {
    if (rows_.size() >= kMostRows) return;
    row = rows_.emplace(key, static_cast<std::int32_t>(rows_.size())).first;
  }
  slice.row = row->second;
  slice.running = narrow(load.running), slice.waiting = narrow(load.waiting);
  if (load.kv_blocks_total > 0) slice.kv_permille = narrow(1000 * load.kv_blocks_used / load.kv_blocks_total);
  const std::int64_t second = slice.start.value / kSecond;
  if (second <= settled_) return;  // told later than anything should be
  Bucket& bucket = buckets_[second];
  bucket.requests += static_cast<double>(load.running + load.waiting) * to_seconds(slice.duration).value;
  if (bucket.slices.size() < kMostSlices) {
    bucket.slices.push_back(slice);
  } else {
    bucket.cut = true;
  }
  if (second - settled_ > 2 * kLag) settle(second - kLag);
}

/// Seconds up to `now` are complete: the busiest of them is kept with its neighbours, and the last, which may
/// become one.
void BusiestWindow::settle(std::int64_t now) {
  for (const auto& [second, bucket] : buckets_) {
    if (second <= settled_ || second > now) continue;
    if (bucket.requests > most_requests_) most_requests_ = bucket.requests, busiest_ = second;
  }
  settled_ = now;
  std::erase_if(buckets_, [&](const auto& entry) {
    return entry.first < now && (entry.first < busiest_ - 1 || entry.first > busiest_ + 1);
  });
}

OrderedJson BusiestWindow::json() const {
  BusiestWindow all = *this;
  if (!all.buckets_.empty()) all.settle(all.buckets_.rbegin()->first);
  if (all.busiest_ < 0) return {};
  std::erase_if(all.buckets_, [&](const auto& entry) {
    return entry.first < all.busiest_ - 1 || entry.first > all.busiest_ + 1;
  });
  Ps start = kNever, end{0};
  bool cut = false;
  for (const auto& [second, bucket] : all.buckets_) {
    cut = cut || bucket.cut;
    for (const Slice& s : bucket.slices)
      start = std::min(start, s.start), end = std::max(end, s.start + s.duration);
  }
  OrderedJson json;
  json["start_s"] = to_seconds(start).value;
  json["end_s"] = to_seconds(end).value;
  json["focus_s"] = all.busiest_;
  json["cut"] = cut;
  json["rows"] = OrderedJson::array();
  for (const auto& [row, index] : all.rows_) json["rows"].push_back(row_name(row));
  all.put_slices(json, start);
  return json;
}

void BusiestWindow::put_slices(OrderedJson& json, Ps start) const {
  constexpr std::int64_t kMicrosecond = 1'000'000;
  std::vector<std::int64_t> place(
      rows_.size());  // rows are numbered as they first stepped, and shown in order
  for (std::int64_t next = 0; const auto& [row, index] : rows_)
    place[static_cast<std::size_t>(index)] = next++;
  std::array<std::vector<std::int64_t>, 9> columns;
  for (const auto& [second, bucket] : buckets_) {
    for (const Slice& s : bucket.slices) {
      const std::array<std::int64_t, 9> row{(s.start - start).value / kMicrosecond,
                                            s.duration.value / kMicrosecond,
                                            place[static_cast<std::size_t>(s.row)],
                                            s.steps,
                                            s.decode_seqs,
                                            s.prefill_tokens,
                                            s.running,
                                            s.waiting,
                                            s.kv_permille};
      for (std::size_t i = 0; i < row.size(); ++i) columns[i].push_back(row[i]);
    }
  }
  constexpr const char* names[] = {"start_us",       "duration_us", "row",     "steps",      "decode_seqs",
                                   "prefill_tokens", "running",     "waiting", "kv_permille"};
  for (std::size_t i = 0; i < columns.size(); ++i) json["slices"][names[i]] = columns[i];
}

}  // namespace orrery
