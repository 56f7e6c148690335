#include <cmath>
#include <iterator>

#include <fmt/format.h>

#include "workload/timed_csv.hpp"
#include "workload/trace_writer.hpp"

namespace orrery {
namespace {

/// Vidur's processed traces (github.com/microsoft/vidur): num_prefill_tokens, num_decode_tokens and, for
/// replay, arrived_at in seconds; files of lengths only have no times.
constexpr TimedCsvReader::Columns kColumns{"arrived_at", "num_prefill_tokens", "num_decode_tokens", true};

std::int64_t parse_time(const CsvReader& csv, int column) {
  const double seconds = csv.number(column);
  if (std::abs(seconds) > 9e9) csv.fail(column, "seconds since the start");
  return std::llround(seconds * 1e9);
}

bool recognises(std::string_view head) {
  return csv_header_has(head, "num_prefill_tokens");
}
TraceReaderPtr open(ByteStreamPtr stream, const std::string& name, const TraceOptions&) {
  return std::make_unique<TimedCsvReader>(std::move(stream), name, kColumns, parse_time);
}

const Registration<TraceFormats> vidur{
    "vidur",
    "Vidur: CSV with num_prefill_tokens, num_decode_tokens, and arrived_at (s) if timed",
    {recognises, open}};

void append(const Request& r, std::string& out) {
  fmt::format_to(std::back_inserter(out), "{:.9f},{},{}\n", to_seconds(r.arrival).value, r.prompt_tokens,
                 r.output_tokens);
}
const Registration<TraceWriters> vidur_writer{
    "vidur",
    "Vidur: CSV",
    {"arrived_at,num_prefill_tokens,num_decode_tokens\n", append, "prefixes, clients and priorities"}};

}  // namespace
}  // namespace orrery
