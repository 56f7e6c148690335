#include <cmath>
#include <iterator>

#include <fmt/format.h>

#include "workload/jsonl_reader.hpp"
#include "workload/trace_reader.hpp"
#include "workload/trace_writer.hpp"

namespace orrery {
namespace {

/// LLMServingSim (github.com/casys-kaist/LLMServingSim): input_toks, output_toks, arrival_time_ns. Its
/// recorded runs have arrival_time in (epoch) seconds instead. Agentic lines with sub_requests are refused by
/// name.
class LlmServingSimReader : public TraceReader {
 public:
  LlmServingSimReader(ByteStreamPtr stream, const std::string& name) : json_(std::move(stream), name) {}

  bool next(TraceRow& row) override {
    if (!json_.next()) return false;
    json_.parse();
    if (json_.has("sub_requests")) json_.fail_row("agentic lines (sub_requests) are not modelled");
    row.time_ns = time_ns();
    row.prompt_tokens = json_.tokens("input_toks");
    row.output_tokens = json_.tokens("output_toks");
    return true;
  }
  long line() const override { return json_.line(); }

 private:
  std::int64_t time_ns() const {
    if (json_.has("arrival_time_ns")) {
      const std::int64_t ns = json_.integer("arrival_time_ns");
      if (ns < 0) json_.fail("arrival_time_ns", "nanoseconds from 0 on");
      return ns;
    }
    if (!json_.has("arrival_time")) return kNoTime;
    const double seconds = json_.number("arrival_time");
    if (seconds < 0 || seconds > 9e9) json_.fail("arrival_time", "seconds from 0 on");
    return std::llround(seconds * 1e9);
  }

  JsonLines json_;
};

bool recognises(std::string_view head) {
  return first_object_has(head, {"input_toks", "sub_requests"});
}
TraceReaderPtr open(ByteStreamPtr stream, const std::string& name, const TraceOptions&) {
  return std::make_unique<LlmServingSimReader>(std::move(stream), name);
}

const Registration<TraceFormats> llmservingsim{
    "llmservingsim",
    "LLMServingSim: JSONL with input_toks, output_toks, arrival_time_ns",
    {recognises, open}};

void append(const Request& r, std::string& out) {
  fmt::format_to(std::back_inserter(out),
                 "{{\"input_toks\": {}, \"output_toks\": {}, \"arrival_time_ns\": {}}}\n", r.prompt_tokens,
                 r.output_tokens, r.arrival.value / 1000);
}
const Registration<TraceWriters> llmservingsim_writer{
    "llmservingsim", "LLMServingSim: JSONL", {"", append, "prefixes, clients and priorities"}};

}  // namespace
}  // namespace orrery
