#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/registry.hpp"
#include "workload/byte_stream.hpp"
#include "workload/line_reader.hpp"
#include "workload/request.hpp"
#include "workload/source.hpp"

namespace orrery {

inline constexpr std::int64_t kNoTime = std::numeric_limits<std::int64_t>::min();
/// Longest prompt or answer that is believed; two of them still add up in 32 bits.
inline constexpr std::int64_t kMaxTokens = 1'000'000'000;

/// One row of a trace, as written: times are absolute or relative nanoseconds, in the trace's own clock.
struct TraceRow {
  std::int64_t time_ns = kNoTime;   ///< kNoTime: the row has none
  std::int64_t delay_ns = kNoTime;  ///< after the answer to the session's previous row, instead of a time
  std::int32_t prompt_tokens = 0;
  std::int32_t output_tokens = 0;
  std::int32_t images = 0;  ///< their tokens are among prompt_tokens
  std::int32_t client = -1;
  std::int32_t priority = 0;
  std::int32_t session = -1;
  std::shared_ptr<const PrefixKeys> prefix;
};

/// Reads one file once, row by row.
class TraceReader {
 public:
  virtual ~TraceReader() = default;
  /// False at the end. Errors: BadRow, after which the next call gives the row behind it; ConfigError ends
  /// the reading.
  virtual bool next(TraceRow& row) = 0;
  /// The line of the row last given, for messages about it.
  virtual long line() const = 0;
  /// What was dropped, estimated or assumed so far.
  virtual std::vector<std::string> notes() const { return {}; }
};
using TraceReaderPtr = std::unique_ptr<TraceReader>;

/// Registry kind of the file formats.
struct TraceFormats {
  static constexpr const char* kind = "trace format";
  struct Factory {
    /// Whether a file that starts like this (up to 64 KiB) is of the format; at most one format says so.
    bool (*recognises)(std::string_view head);
    TraceReaderPtr (*open)(ByteStreamPtr stream, const std::string& name, const TraceOptions& options);
  };
};

/// The format's name, from the first lines when options.format is "auto".
/// Errors: ConfigError when the file is empty, of no known format, or the named format does not exist.
std::string trace_format(const ByteSource& source, const TraceOptions& options);

/// Opens with that format.
TraceReaderPtr open_trace(const ByteSource& source, const TraceOptions& options);

/// The first line of a text, for recognising formats.
std::string_view first_line(std::string_view head);

/// Whether the first line is no JSON and names this column.
bool csv_header_has(std::string_view head, std::string_view column);

}  // namespace orrery
