#include <fmt/format.h>

#include "workload/jsonl_reader.hpp"
#include "workload/trace_reader.hpp"

namespace orrery {
namespace {

/// vLLM's `--dataset-name custom`: one {"prompt": "...", "output_tokens": 128} per line, the latter optional.
/// No times.
class VllmCustomReader : public TraceReader {
 public:
  VllmCustomReader(ByteStreamPtr stream, const std::string& name, const TraceOptions& options)
      : json_(std::move(stream), name), options_(options) {}

  bool next(TraceRow& row) override {
    if (!json_.next()) return false;
    json_.parse();
    row.time_ns = kNoTime;
    row.prompt_tokens = estimate_tokens(json_.text("prompt"), options_.chars_per_token);
    row.output_tokens =
        json_.has("output_tokens") ? json_.tokens("output_tokens") : options_.default_output_len;
    return true;
  }
  long line() const override { return json_.line(); }
  std::vector<std::string> notes() const override {
    return {fmt::format(
        "vllm-custom: prompt tokens estimated as characters / {}; answers without output_tokens have {}",
        options_.chars_per_token, options_.default_output_len)};
  }

 private:
  JsonLines json_;
  TraceOptions options_;
};

bool recognises(std::string_view head) {
  return first_object_has(head, {"prompt"}) &&
         !first_object_has(head, {"hash_ids", "input_length", "input_toks"});
}
TraceReaderPtr open(ByteStreamPtr stream, const std::string& name, const TraceOptions& options) {
  return std::make_unique<VllmCustomReader>(std::move(stream), name, options);
}

const Registration<TraceFormats> vllm_custom{
    "vllm-custom", "vLLM custom data set: JSONL with prompt, and output_tokens if known", {recognises, open}};

}  // namespace
}  // namespace orrery
