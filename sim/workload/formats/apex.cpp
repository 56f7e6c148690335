#include <charconv>

#include "workload/csv_reader.hpp"
#include "workload/trace_reader.hpp"

namespace orrery {
namespace {

/// APEX's traces: start_offset_ns, context_tokens, generated_tokens.
class ApexReader : public TraceReader {
 public:
  ApexReader(ByteStreamPtr stream, const std::string& name)
      : csv_(std::move(stream), name),
        time_(csv_.column({"start_offset_ns"})),
        prompt_(csv_.column({"context_tokens"})),
        output_(csv_.column({"generated_tokens"})) {}

  bool next(TraceRow& row) override {
    if (!csv_.next()) return false;
    const auto text = csv_.field(time_);
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), row.time_ns);
    if (error != std::errc{} || end != text.data() + text.size() || row.time_ns < 0) {
      csv_.fail(time_, "nanoseconds since the start");
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
  return csv_header_has(head, "start_offset_ns");
}
TraceReaderPtr open(ByteStreamPtr stream, const std::string& name, const TraceOptions&) {
  return std::make_unique<ApexReader>(std::move(stream), name);
}

const Registration<TraceFormats> apex{
    "apex", "APEX: CSV with start_offset_ns, context_tokens, generated_tokens", {recognises, open}};

}  // namespace
}  // namespace orrery
