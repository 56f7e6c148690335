#include <fmt/format.h>

#include "base/json.hpp"
#include "workload/json_array_reader.hpp"
#include "workload/jsonl_reader.hpp"
#include "workload/trace_reader.hpp"

namespace orrery {
namespace {

/// ShareGPT: a JSON array of {"conversations": [{"from", "value"}, ...]}. As in vLLM's benchmark the first
/// turn is the prompt and the second the answer; shorter conversations are left out. No times, and no token
/// counts: estimated.
class ShareGptReader : public TraceReader {
 public:
  ShareGptReader(ByteStreamPtr stream, const std::string& name, const TraceOptions& options)
      : objects_(std::move(stream), name), options_(options) {}

  bool next(TraceRow& row) override {
    while (objects_.next(text_)) {
      const Json value = Json::parse(text_, nullptr, false);
      if (value.is_discarded()) bad("the conversation is not valid JSON");
      const auto turns = value.find("conversations");
      if (turns == value.end() || !turns->is_array()) bad("missing key 'conversations'");
      if (turns->size() < 2) {
        ++short_;
        continue;
      }
      row.time_ns = kNoTime;
      row.prompt_tokens = tokens((*turns)[0]);
      row.output_tokens = tokens((*turns)[1]);
      return true;
    }
    return false;
  }
  long line() const override { return objects_.line(); }
  std::vector<std::string> notes() const override {
    std::vector<std::string> out{
        fmt::format("sharegpt: token counts estimated as characters / {}", options_.chars_per_token)};
    if (short_ > 0)
      out.push_back(fmt::format("sharegpt: {} conversations of fewer than two turns left out", short_));
    return out;
  }

 private:
  std::int32_t tokens(const Json& turn) const {
    const auto value = turn.is_object() ? turn.find("value") : turn.end();
    if (!turn.is_object() || value == turn.end() || !value->is_string())
      bad("a turn has no text under 'value'");
    return estimate_tokens(value->get_ref<const std::string&>(), options_.chars_per_token);
  }
  [[noreturn]] void bad(const std::string& message) const {
    BadRow error(message, "leave out rows that cannot be read with --on-bad-row skip");
    error.at(objects_.name(), objects_.line(), 1,
             printable(text_.substr(0, text_.find('\n')).substr(0, 160)));
    throw error;
  }

  JsonArrayReader objects_;
  TraceOptions options_;
  std::string text_;
  std::int64_t short_ = 0;
};

bool recognises(std::string_view head) {
  const auto line = first_line(head);
  return !line.empty() && line.front() == '[' && head.find("\"conversations\"") != std::string_view::npos;
}
TraceReaderPtr open(ByteStreamPtr stream, const std::string& name, const TraceOptions& options) {
  return std::make_unique<ShareGptReader>(std::move(stream), name, options);
}

const Registration<TraceFormats> sharegpt{
    "sharegpt", "ShareGPT: JSON array of conversations; tokens estimated from the text", {recognises, open}};

}  // namespace
}  // namespace orrery
