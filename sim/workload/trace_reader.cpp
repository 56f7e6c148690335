#include "workload/trace_reader.hpp"

#include <algorithm>

namespace orrery {

std::string_view first_line(std::string_view head) {
  if (head.substr(0, 3) == "\xef\xbb\xbf") head.remove_prefix(3);
  const auto start = head.find_first_not_of(" \t\r\n");
  if (start == std::string_view::npos) return {};
  head.remove_prefix(start);
  return head.substr(0, head.find_first_of("\r\n"));
}

bool csv_header_has(std::string_view head, std::string_view column) {
  const auto line = first_line(head);
  const bool json = !line.empty() && (line.front() == '{' || line.front() == '[');
  return !json && line.find(column) != std::string_view::npos;
}

std::string trace_format(const ByteSource& source, const TraceOptions& options) {
  if (options.format != "auto") return Registry<TraceFormats>::find(options.format).name;
  const std::string head = source.head(64 << 10);
  if (first_line(head).empty()) throw ConfigError("the trace is empty").at(source.name());
  for (const auto& format : Registry<TraceFormats>::entries()) {
    if (format.make.recognises(head)) return format.name;
  }
  std::string known;
  for (const auto& name : Registry<TraceFormats>::names()) known += " " + name;
  const std::string shown = printable(first_line(head).substr(0, 120));
  throw ConfigError("cannot tell the trace's format from its first line",
                    "name it with --format; known formats:" + known)
      .at(source.name(), 1, 1, shown);
}

TraceReaderPtr open_trace(const ByteSource& source, const TraceOptions& options) {
  const auto& format = Registry<TraceFormats>::find(trace_format(source, options));
  return format.make.open(source.open(), source.name(), options);
}

}  // namespace orrery
