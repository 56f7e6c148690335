#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "cost/fit_file.hpp"
#include "cost/surface.hpp"

namespace orrery::calibrate {

/// An axis with those of `wanted` nodes that lie in the range, its ends included.
inline SurfaceAxis axis_in(std::string name, const std::vector<double>& wanted, const FitRange& range) {
  SurfaceAxis axis{std::move(name), {std::log2(range.low)}};
  for (const double node : wanted) {
    if (node > range.low * 1.2 && node * 1.2 < range.high) axis.log2_nodes.push_back(std::log2(node));
  }
  if (range.high > range.low) axis.log2_nodes.push_back(std::log2(range.high));
  return axis;
}

/// The range of get(row) over rows.
template <class Rows, class Get>
FitRange range_of(const Rows& rows, Get get) {
  FitRange r{get(rows.front()), get(rows.front())};
  for (const auto& row : rows) r.low = std::min(r.low, get(row)), r.high = std::max(r.high, get(row));
  return r;
}

/// At most `count` rows, evenly spaced.
template <class Row>
std::vector<Row> thinned(const std::vector<Row>& rows, std::size_t count) {
  if (rows.size() <= count) return rows;
  std::vector<Row> out;
  const double step = static_cast<double>(rows.size()) / static_cast<double>(count);
  for (double at = 0; at < static_cast<double>(rows.size()); at += step)
    out.push_back(rows[static_cast<std::size_t>(at)]);
  return out;
}

}  // namespace orrery::calibrate
