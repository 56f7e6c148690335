#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "report/summary.hpp"
#include "scenario/scenario.hpp"

namespace orrery {

/// What is compared on a measured server. Times in ms, means unless named otherwise; throughput in output
/// tokens per second.
enum class ServerMetric : std::uint8_t { tpot, ttft, ttft_p90, ttft_p99, e2e, e2e_p99, throughput };
inline constexpr int kServerMetricCount = 7;
std::string_view name(ServerMetric m);   ///< "tpot", for JSON
std::string_view label(ServerMetric m);  ///< "TPOT", for people

/// A published measurement of one server under one load, and what the simulator says of it.
struct ServerRow {
  std::string set;  ///< of server_sets()
  /// Rows that share a run (a server in one series of tests) are fitted or held out together.
  std::string run;
  std::string hardware, model, precision, engine;  ///< engine as "vllm@0.15.1"
  int tp = 1;
  int isl = 0, osl = 0;
  std::string load;       ///< "64 users", "8 req/s", "all at once"
  double load_value = 0;  ///< users or req/s; 0 = all at once
  bool fitted = false;    ///< the engine's overheads were fitted on this run
  Assignments scenario;
  std::string skipped;  ///< why there is no prediction; "" = there is one
  std::string doubt;    ///< why the measurement is not what it seems; "" = none

  struct Compared {
    std::optional<double> measured, predicted;
    std::optional<Interval> interval;
  };
  std::array<Compared, kServerMetricCount> metrics;
  Compared& operator[](ServerMetric m) { return metrics[static_cast<std::size_t>(m)]; }
  const Compared& operator[](ServerMetric m) const { return metrics[static_cast<std::size_t>(m)]; }
  /// predicted / measured - 1, where both are there.
  std::optional<double> error(ServerMetric m) const;
};

/// One published table.
struct ServerSet {
  std::string name;   ///< "blis-training"
  std::string file;   ///< below ORRERY_REFERENCE_DATA
  std::string title;  ///< for people
  /// Whether single measurements may be printed; otherwise aggregates of errors only (no licence stated).
  bool rows_may_be_shown = true;
  std::vector<ServerRow> (*read)(const ServerSet& set, const std::string& path) = nullptr;
};
const std::vector<ServerSet>& server_sets();

struct ServerOptions {
  int threads = 2;
  std::string set;        ///< only this one; "" = all
  std::size_t every = 1;  ///< simulate each n-th row only: a quick look
  Assignments override;   ///< applied over each row
  std::function<void(std::size_t done, std::size_t all)> progress;  ///< from any thread, one at a time
};

/// Reads the sets in `folder` and simulates each row; the result does not depend on the number of threads.
/// Rows that cannot be modelled carry the reason. Errors: ConfigError for a table that cannot be read.
std::vector<ServerRow> validate_servers(const std::string& folder, const ServerOptions& options = {});

// Readers of the tables, in validate_servers_{blis,tables,v0}.cpp.
std::vector<ServerRow> read_blis(const ServerSet& set, const std::string& path);
std::vector<ServerRow> read_closed_loop(const ServerSet& set, const std::string& path);
std::vector<ServerRow> read_max_throughput(const ServerSet& set, const std::string& path);
std::vector<ServerRow> read_apex(const ServerSet& set, const std::string& path);
std::vector<ServerRow> read_splitwise(const ServerSet& set, const std::string& path);

}  // namespace orrery
