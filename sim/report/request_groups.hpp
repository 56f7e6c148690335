#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <vector>

#include "events/observer.hpp"
#include "report/distribution.hpp"
#include "report/fairness.hpp"

namespace orrery {

/// How one completed request was served. Latencies in ms.
struct Served {
  double ttft_ms = 0, e2el_ms = 0;
  double tpot_ms = std::numeric_limits<double>::quiet_NaN();  ///< of answers with more than one token
  double slowdown = 1;
  bool good = false;  ///< meets every threshold of the SLO
};

/// Counts and sums of a group of requests.
struct RequestCounts {
  std::int64_t completed = 0, failed = 0, good = 0;
  std::int64_t input_tokens = 0, output_tokens = 0;
  double slowdown = 0;  ///< summed

  void add(const RequestRecord& r, const Served& served) {
    ++completed;
    good += served.good ? 1 : 0;
    input_tokens += r.prompt_tokens, output_tokens += r.output_tokens;
    slowdown += served.slowdown;
  }
  /// Latencies are the caller's to fill.
  GroupStats stats(std::int32_t id, bool has_thresholds) const;
};

/// The requests of one priority, or all of them.
struct RequestClass {
  explicit RequestClass(std::size_t max_exact) : ttft(max_exact), tpot(max_exact) {}
  RequestCounts counts;
  Distribution ttft, tpot;

  void add(const RequestRecord& r, const Served& served) {
    counts.add(r, served);
    ttft.add(served.ttft_ms);
    if (r.output_tokens > 1) tpot.add(served.tpot_ms);
  }
};

/// All counted requests, and, from the first one of another priority on, those of each.
class RequestClasses {
 public:
  explicit RequestClasses(std::size_t max_exact) : all_(max_exact), max_exact_(max_exact) {}

  void completed(const RequestRecord& r, const Served& served) {
    if (RequestClass* own = of(r.priority)) own->add(r, served);
    all_.add(r, served);
  }
  void failed(const RequestRecord& r) {
    if (RequestClass* own = of(r.priority)) ++own->counts.failed;
    ++all_.counts.failed;
  }
  RequestClass& all() { return all_; }
  const RequestClass& all() const { return all_; }
  std::vector<GroupStats> stats(PercentileMethod method, bool has_thresholds);

 private:
  static constexpr std::size_t kMaxClasses = 64;  // further priorities are not told apart

  /// Null while all are of one priority.
  RequestClass* of(std::int32_t priority) {
    if (!first_) first_ = priority;
    return priority == *first_ && classes_.empty() ? nullptr : find(priority);
  }
  RequestClass* find(std::int32_t priority);

  RequestClass all_;
  std::size_t max_exact_;
  std::optional<std::int32_t> first_;
  std::map<std::int32_t, RequestClass> classes_;
};

/// What each client was given. Memory is bounded: so many clients are told apart, and of the first some the
/// distribution of latencies is kept.
class ClientTable {
 public:
  void arrived(std::int32_t client) {
    ++arrivals_;
    if (client >= 0 && row(client) == nullptr) ++uncounted_;
  }
  void completed(const RequestRecord& r, const Served& served);
  void failed(const RequestRecord& r) {
    if (Row* own = r.client < 0 ? nullptr : row(r.client)) ++own->counts.failed;
  }
  /// Fills what is said of clients, where there are two.
  void fill(Fairness& out, bool has_thresholds) const;

 private:
  static constexpr std::int32_t kMaxClients = 1 << 16;
  static constexpr std::int32_t kMaxHistograms = 1 << 10;
  static constexpr std::size_t kWorst = 5;
  using Histogram = LogHistogram<std::uint32_t, -4, 5>;  // from 1/16 ms, within 2%

  struct Row {
    RequestCounts counts;
    double ttft_ms = 0, tpot_ms = 0;  ///< summed
    std::int64_t tpots = 0;
    std::int64_t tokens_in_time = 0;  ///< of requests completed before the last arrival
    std::int64_t tokens_since = 0;    ///< of those completed when there had been `arrivals_then`
    std::int64_t arrivals_then = 0;
    bool seen = false;
  };
  struct Latencies {
    Histogram ttft, tpot;
  };

  Row* row(std::int32_t client);
  GroupStats stats(std::size_t client, bool has_thresholds) const;

  std::vector<Row> rows_;             ///< by client
  std::vector<Latencies> latencies_;  ///< by client, of the first
  std::int64_t arrivals_ = 0;
  std::int64_t uncounted_ = 0;
};

}  // namespace orrery
