#include <iterator>

#include <fmt/format.h>

#include "workload/csv_reader.hpp"
#include "workload/timestamp.hpp"
#include "workload/trace_reader.hpp"
#include "workload/trace_writer.hpp"

namespace orrery {
namespace {

/// Azure LLM inference traces of 2023, 2024 and 2025 (github.com/Azure/AzurePublicDataset): TIMESTAMP,
/// ContextTokens, GeneratedTokens, and NumImages in 2025, which is read past: image tokens are already in
/// ContextTokens.
class AzureReader : public TraceReader {
 public:
  AzureReader(ByteStreamPtr stream, const std::string& name)
      : csv_(std::move(stream), name),
        time_(csv_.column({"TIMESTAMP"})),
        prompt_(csv_.column({"ContextTokens"})),
        output_(csv_.column({"GeneratedTokens"})) {}

  bool next(TraceRow& row) override {
    if (!csv_.next()) return false;
    const auto time = parse_timestamp_ns(csv_.field(time_));
    if (!time) csv_.fail(time_, "a date and time like 2023-11-16 18:15:46.68");
    row.time_ns = *time;
    row.prompt_tokens = csv_.tokens(prompt_);
    row.output_tokens = csv_.tokens(output_);
    return true;
  }
  long line() const override { return csv_.line(); }

 private:
  CsvReader csv_;
  int time_, prompt_, output_;
};

bool recognises(std::string_view head) {
  return csv_header_has(head, "ContextTokens");
}
TraceReaderPtr open(ByteStreamPtr stream, const std::string& name, const TraceOptions&) {
  return std::make_unique<AzureReader>(std::move(stream), name);
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
