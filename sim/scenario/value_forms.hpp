#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace orrery {

// How people write values, on the command line, in scenario files and in pasted engine commands. Each throws
// ConfigError with one sentence ("expected a duration such as 30s, found '5 parsecs'") that the caller
// prefixes with the option's name or the place in the file.

/// A count in vLLM's forms: 8192, 8k = 8000, 8K = 8192, 25.6k = 25600 (suffixes k m g t are powers of 1000
/// and may follow a fraction; K M G T are powers of 1024 and follow whole numbers only).
std::int64_t parse_count(std::string_view text);

/// A whole number within [low, high].
std::int64_t parse_integer(std::string_view text, std::int64_t low, std::int64_t high);

/// A finite number.
double parse_number(std::string_view text);

/// A rate per second: a number of at least 0, or "inf".
double parse_rate(std::string_view text);

/// Seconds: 90, 90s, 500ms, 20m, 1.5h, 2d, 100us; sums such as 1h30m; at most 106 days.
double parse_duration_s(std::string_view text);

/// true|false, yes|no, on|off, 1|0, in any case.
bool parse_boolean(std::string_view text);

}  // namespace orrery
