#pragma once

#include <string>
#include <vector>

namespace orrery {

/// A setting and the values that are tried for it, as text.
struct Axis {
  std::string setting;
  std::vector<std::string> values;
};

/// Reads "max_num_seqs=64,256" (or with '-' for '_'). Errors: ConfigError for a setting that does not exist,
/// a value that it cannot have, or none.
Axis parse_axis(const std::string& text);

/// "a,b" as its words; empty ones are left out.
std::vector<std::string> comma_words(const std::string& text);

/// How many points the product of the axes has.
std::size_t grid_size(const std::vector<Axis>& axes);
/// The values of its i-th point, one for each axis; the last axis changes fastest.
std::vector<std::string> grid_point(const std::vector<Axis>& axes, std::size_t i);

}  // namespace orrery
