#pragma once

#include <string>

#include "report/summary.hpp"

namespace orrery {

/// What a run directory says, as one document (docs/schema/report.schema.json): summary.json, manifest.json
/// and details.json as they are, timeseries.csv as columns. Files that are absent or cannot be read are
/// listed under "missing": a run that was cut short, or is still going on.
/// Errors: ConfigError when `folder` holds none of them.
OrderedJson read_run_directory(const std::string& folder);

/// report.html: one page that needs nothing else, with `data` in it.
std::string report_page(const OrderedJson& data);

/// Writes the page; `path` is complete or as it was. Errors: ConfigError.
void write_report(const OrderedJson& data, const std::string& path);

}  // namespace orrery
