#include <iterator>

#include <fmt/format.h>

#include "workload/timed_csv.hpp"
#include "workload/timestamp.hpp"
#include "workload/trace_writer.hpp"

namespace orrery {
namespace {

/// Azure LLM inference traces of 2023, 2024 and 2025 (github.com/Azure/AzurePublicDataset): TIMESTAMP,
/// ContextTokens, GeneratedTokens, and NumImages in 2025, whose tokens are already in ContextTokens.
constexpr TimedCsvReader::Columns kColumns{"TIMESTAMP", "ContextTokens", "GeneratedTokens", false,
                                           "NumImages"};

std::int64_t parse_time(const CsvReader& csv, int column) {
  const auto time = parse_timestamp_ns(csv.field(column));
  if (!time) csv.fail(column, "a date and time like 2023-11-16 18:15:46.68");
  return *time;
}

bool recognises(std::string_view head) {
  return csv_header_has(head, "ContextTokens");
}
TraceReaderPtr open(ByteStreamPtr stream, const std::string& name, const TraceOptions&) {
  return std::make_unique<TimedCsvReader>(std::move(stream), name, kColumns, parse_time);
}

const Registration<TraceFormats> azure{
    "azure",
    "Azure LLM inference 2023, 2024, 2025: CSV with TIMESTAMP, ContextTokens, GeneratedTokens",
    {recognises, open}};

/// Times are written from this moment on, in the 100 ns of the format.
constexpr std::int64_t kFirstDay = 946'684'800'000'000'000;  // 2000-01-01 UTC

void append(const Request& r, std::string& out) {
  fmt::format_to(std::back_inserter(out), "{},{},{}\n", format_timestamp(kFirstDay + r.arrival.value / 1000),
                 r.prompt_tokens, r.output_tokens);
}
const Registration<TraceWriters> azure_writer{
    "azure",
    "Azure 2023: CSV",
    {"TIMESTAMP,ContextTokens,GeneratedTokens\n", append, "prefixes, clients and priorities"}};

}  // namespace
}  // namespace orrery
