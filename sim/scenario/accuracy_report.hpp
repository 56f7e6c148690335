#pragma once

#include <string>
#include <vector>

#include "scenario/validate_servers.hpp"

namespace orrery {

/// Errors of one metric over a group of rows: predicted / measured - 1.
struct ServerErrors {
  std::int64_t rows = 0;
  double median_abs = 0, p90_abs = 0;
  double bias = 0;  ///< median signed error
  /// Rows with an interval, and the share of them whose interval holds the measurement.
  std::int64_t with_interval = 0;
  double covered = 0;
};
ServerErrors errors_of(const std::vector<const ServerRow*>& rows, ServerMetric metric);

/// docs/accuracy.md: how far predictions are off, per set, server and load, fitted and held-out rows apart.
/// `why`: what is known about the misses, written by people, as Markdown; `more`: sections of other
/// comparisons. Links to the plots by name ("accuracy/tpot.svg").
std::string accuracy_page(const std::vector<ServerRow>& rows, const std::string& why = {},
                          const std::string& more = {});

/// Plots of one metric, as SVG documents: predicted against measured, and error against load. Servers whose
/// single measurements may not be shown are drawn as their mean over loads.
std::string scatter_plot(const std::vector<ServerRow>& rows, ServerMetric metric);
std::string load_plot(const std::vector<ServerRow>& rows, ServerMetric metric);

/// Writes folder/accuracy.md and folder/accuracy/*.svg, taking over folder/accuracy/why.md. Errors:
/// ConfigError when they cannot be written.
void write_accuracy_report(const std::vector<ServerRow>& rows, const std::string& folder,
                           const std::string& more = {});

/// One object per row.
OrderedJson to_json(const std::vector<ServerRow>& rows);

}  // namespace orrery
