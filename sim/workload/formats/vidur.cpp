#include <cmath>
#include <iterator>

#include <fmt/format.h>

#include "workload/csv_reader.hpp"
#include "workload/trace_reader.hpp"
#include "workload/trace_writer.hpp"

namespace orrery {
namespace {

/// Vidur's processed traces (github.com/microsoft/vidur): num_prefill_tokens, num_decode_tokens and, for
/// replay, arrived_at in seconds; files of lengths only have no times.
class VidurReader : public TraceReader {
 public:
  VidurReader(ByteStreamPtr stream, const std::string& name)
      : csv_(std::move(stream), name),
        time_(csv_.column_if({"arrived_at"})),
        prompt_(csv_.column({"num_prefill_tokens"})),
        output_(csv_.column({"num_decode_tokens"})) {}

  bool next(TraceRow& row) override {
    if (!csv_.next()) return false;
    row.time_ns = kNoTime;
    if (time_ >= 0) {
      const double seconds = csv_.number(time_);
      if (std::abs(seconds) > 9e9) csv_.fail(time_, "seconds since the start");
      row.time_ns = std::llround(seconds * 1e9);
    }
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
  return csv_header_has(head, "num_prefill_tokens");
}
TraceReaderPtr open(ByteStreamPtr stream, const std::string& name, const TraceOptions&) {
  return std::make_unique<VidurReader>(std::move(stream), name);
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
