#include <cmath>

#include <fmt/format.h>

#include "workload/csv_reader.hpp"
#include "workload/trace_reader.hpp"

namespace orrery {
namespace {

/// BurstGPT (github.com/HPMLL/BurstGPT): seconds since midnight of the first day, request and response
/// tokens; newer files add Session ID and Elapsed time. A response of 0 tokens is a request that failed at
/// the source: left out.
class BurstGptReader : public TraceReader {
 public:
  BurstGptReader(ByteStreamPtr stream, const std::string& name)
      : csv_(std::move(stream), name),
        time_(csv_.column({"Timestamp"})),
        prompt_(csv_.column({"Request tokens"})),
        output_(csv_.column({"Response tokens"})) {}

  bool next(TraceRow& row) override {
    while (csv_.next()) {
      const double seconds = csv_.number(time_);
      if (std::abs(seconds) > 9e9) csv_.fail(time_, "seconds since the first day");
      row.time_ns = std::llround(seconds * 1e9);
      row.output_tokens = csv_.tokens(output_, 0);
      if (row.output_tokens == 0) {
        ++failed_;
        continue;
      }
      row.prompt_tokens = csv_.tokens(prompt_);
      return true;
    }
    return false;
  }
  long line() const override { return csv_.line(); }
  std::vector<std::string> notes() const override {
    if (failed_ == 0) return {};
    return {
        fmt::format("burstgpt: {} rows without response tokens (failed at the source) left out", failed_)};
  }

 private:
  CsvReader csv_;
  int time_, prompt_, output_;
  std::int64_t failed_ = 0;
};

bool recognises(std::string_view head) {
  return csv_header_has(head, "Request tokens");
}
TraceReaderPtr open(ByteStreamPtr stream, const std::string& name, const TraceOptions&) {
  return std::make_unique<BurstGptReader>(std::move(stream), name);
}

const Registration<TraceFormats> burstgpt{
    "burstgpt", "BurstGPT: CSV with Timestamp (s), Request tokens, Response tokens", {recognises, open}};

}  // namespace
}  // namespace orrery
