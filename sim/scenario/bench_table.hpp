#pragma once

#include <optional>
#include <string>
#include <vector>

#include "scenario/scenario.hpp"

namespace orrery {

/// One row of a table of measured servers: its text by column, and what was measured.
struct BenchRow {
  long line = 0;                  ///< in the file, from 1
  std::vector<std::string> text;  ///< one per column
  std::optional<double> ttft_ms, tpot_ms;
  bool trust_ttft = true, trust_tpot = true;  ///< the `use` column
  Assignments assignments;                    ///< the scenario it describes
  std::string skipped;                        ///< why it cannot be simulated; "" = it can
};

/// A table of whole-server measurements (CSV with a header). Columns, by name, any order:
///
///   hardware model precision framework tp       what ran; `engine_version` optional
///   isl_max osl_max length_range_ratio          lengths uniform in [ratio N, N]; ratio blank = 1
///   concurrency                                 closed loop: this many users, ten prompts each, all at t = 0
///   rate_rps                                    open loop instead: Poisson arrivals at this rate
///   mean_ttft_ms mean_tpot_ms use               measured; `use` says which to trust (ttft, tpot, ttft+tpot)
///   max_num_seqs max_num_batched_tokens kv_cache_dtype gpu_memory_utilization enable_prefix_caching
///   async_scheduling max_cudagraph_capture_size ...   engine arguments; blank = that version's default
///   mode prefill_* decode_*   what is not modelled yet: such rows are skipped, with the
///   reason
struct BenchTable {
  std::string path;
  std::vector<std::string> columns;
  std::vector<BenchRow> rows;

  /// The text of a row's column; "" when the table has no such column.
  const std::string& at(const BenchRow& row, std::string_view column) const;
};

/// Errors: ConfigError with file, line and column for a table that cannot be read. A row that only cannot be
/// modelled is marked instead.
BenchTable read_bench_table(const std::string& path);

}  // namespace orrery
