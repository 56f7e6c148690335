#include <charconv>

#include "workload/timed_csv.hpp"

namespace orrery {
namespace {

/// APEX's traces: start_offset_ns, context_tokens, generated_tokens.
constexpr TimedCsvReader::Columns kColumns{"start_offset_ns", "context_tokens", "generated_tokens"};

std::int64_t parse_time(const CsvReader& csv, int column) {
  const auto text = csv.field(column);
  std::int64_t ns = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), ns);
  if (error != std::errc{} || end != text.data() + text.size() || ns < 0) {
    csv.fail(column, "nanoseconds since the start");
  }
  return ns;
}

bool recognises(std::string_view head) {
  return csv_header_has(head, "start_offset_ns");
}
TraceReaderPtr open(ByteStreamPtr stream, const std::string& name, const TraceOptions&) {
  return std::make_unique<TimedCsvReader>(std::move(stream), name, kColumns, parse_time);
}

const Registration<TraceFormats> apex{
    "apex", "APEX: CSV with start_offset_ns, context_tokens, generated_tokens", {recognises, open}};

}  // namespace
}  // namespace orrery
