#pragma once

#include <array>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "report/summary.hpp"
#include "scenario/bench_table.hpp"

namespace orrery {

/// What the simulator says of one row.
struct BenchPrediction {
  double ttft_ms = 0, tpot_ms = 0;
  std::optional<Interval> ttft_interval, tpot_interval;
};

/// Errors of one metric over a group of rows: predicted / measured - 1.
struct ErrorStats {
  std::int64_t rows = 0;
  double median_abs = 0, p90_abs = 0, bias = 0;  ///< bias: mean signed error
};

struct BenchGroup {
  std::string hardware, model, precision, framework;
  std::int64_t rows = 0, skipped = 0;
  ErrorStats ttft, tpot;  ///< over rows whose `use` trusts the metric
};

struct BenchReport {
  BenchTable table;                                         ///< rows that failed to run are marked as skipped
  std::vector<std::optional<BenchPrediction>> predictions;  ///< one per row
  std::vector<BenchGroup> groups;                           ///< per hardware x model, in order of appearance
};

struct BenchOptions {
  int threads = 2;
  Assignments overrides;                                            ///< applied over each row
  std::vector<std::pair<std::string, std::string>> where;           ///< (column, value) a row must have
  std::function<void(std::size_t done, std::size_t all)> progress;  ///< called from any thread, one at a time
};

/// Simulates each row of a table of measured servers. Rows of the same servers share them; the result does
/// not depend on the number of threads. Errors: ConfigError for a table that cannot be read.
BenchReport validate_bench(const std::string& path, const BenchOptions& options = {});

/// {"rows": [...], "summary": [...]}; docs/reference of `orrery validate bench`.
OrderedJson to_json(const BenchReport& report);

}  // namespace orrery
