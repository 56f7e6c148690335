#pragma once

#include <cstdint>
#include <string>

#include "base/registry.hpp"
#include "workload/request.hpp"

namespace orrery {

/// Registry kind of the formats a workload can be written in; registered beside their readers.
struct TraceWriters {
  static constexpr const char* kind = "output trace format";
  struct Factory {
    const char* header;  ///< first line, with its line end; "" = none
    /// Appends one request as a line. Formats keep what they can express: `loses` says what they drop.
    void (*append)(const Request& request, std::string& out);
    const char* loses;
  };
};

/// Reads a source to its end, answering at once those that wait, and hands the text over in pieces of about
/// 64 KiB. Returns the number of requests. Errors: ConfigError when the format does not exist.
template <class Sink>
std::int64_t write_trace(RequestSource& source, const std::string& format, Sink&& sink) {
  const auto& writer = Registry<TraceWriters>::find(format).make;
  std::string text = writer.header;
  Request request;
  std::int64_t count = 0;
  while (source.next(request)) {
    writer.append(request, text);
    ++count;
    source.completed(request, request.arrival);
    if (text.size() < 64 << 10) continue;
    sink(text);
    text.clear();
  }
  sink(text);
  return count;
}

}  // namespace orrery
