#include <charconv>
#include <cmath>
#include <iterator>
#include <unordered_map>

#include <fmt/format.h>

#include "workload/jsonl_reader.hpp"
#include "workload/trace_reader.hpp"
#include "workload/trace_writer.hpp"

namespace orrery {
namespace {

/// Fields of a row of the usual shape; hash_ids go to a vector that is kept from row to row.
struct PlainRow {
  std::int64_t timestamp_ms = -1, input_length = -1, output_length = -1;
  std::vector<std::uint64_t> hash_ids;
  bool has_ids = false;
};

/// Reads {"timestamp": 1, "input_length": 2, "output_length": 3, "hash_ids": [4, 5]}, its keys in any order,
/// once each, all whole and not negative. Anything else is left to the general parser, which also finds the
/// words for errors.
class PlainParser {
 public:
  static bool parse(std::string_view text, PlainRow& row) {
    PlainParser p(text);
    row.timestamp_ms = row.input_length = row.output_length = -1;
    row.has_ids = false;
    if (!p.take('{')) return false;
    do {
      if (!p.member(row)) return false;
    } while (p.take(','));
    return p.take('}') && p.at_end() && row.timestamp_ms >= 0 && row.input_length >= 0 &&
           row.output_length >= 0;
  }

 private:
  explicit PlainParser(std::string_view text) : p_(text.data()), end_(text.data() + text.size()) {}

  void blanks() {
    while (p_ != end_ && (*p_ == ' ' || *p_ == '\t')) ++p_;
  }
  bool at_end() {
    blanks();
    return p_ == end_;
  }
  bool take(char c) {
    blanks();
    if (p_ == end_ || *p_ != c) return false;
    ++p_;
    return true;
  }
  template <class Integer>
  bool whole(Integer& value) {
    blanks();
    if (p_ == end_ || *p_ < '0' || *p_ > '9') return false;
    const char* const first = p_;
    const auto [after, error] = std::from_chars(p_, end_, value);
    p_ = after;
    return error == std::errc{} && (*first != '0' || after == first + 1);  // JSON has no leading zeros
  }
  bool once(std::int64_t& value) { return value < 0 && whole(value); }
  bool ids(PlainRow& row) {
    if (row.has_ids || !take('[')) return false;
    row.has_ids = true;
    row.hash_ids.clear();
    if (take(']')) return true;
    do {
      if (!whole(row.hash_ids.emplace_back())) return false;
    } while (take(','));
    return take(']');
  }
  bool member(PlainRow& row) {
    if (!take('"')) return false;
    const char* const start = p_;
    while (p_ != end_ && *p_ != '"') ++p_;
    const std::string_view key(start, static_cast<std::size_t>(p_ - start));
    if (!take('"') || !take(':')) return false;
    if (key == "hash_ids") return ids(row);
    if (key == "timestamp") return once(row.timestamp_ms);
    if (key == "input_length") return once(row.input_length);
    if (key == "output_length") return once(row.output_length);
    return false;
  }

  const char* p_;
  const char* end_;
};

/// Mooncake traces (github.com/kvcache-ai/Mooncake): timestamp in ms, lengths in tokens, hash_ids naming the
/// prompt's 512-token blocks together with all before them; the last one may be partial. Also aiperf's
/// dialect: text_input for input_length, delay for timestamp, session_id, priority, and most keys optional;
/// and user_id, where users are not sessions.
class MooncakeReader : public TraceReader {
 public:
  MooncakeReader(ByteStreamPtr stream, const std::string& name, const TraceOptions& options)
      : json_(std::move(stream), name), options_(options) {}

  bool next(TraceRow& row) override {
    if (!json_.next()) return false;
    row.client = row.session = -1;
    row.priority = 0;
    row.delay_ns = kNoTime;
    if (PlainParser::parse(json_.text(), plain_) && plausible(plain_)) {
      row.time_ns = plain_.timestamp_ms * 1'000'000;
      row.prompt_tokens = static_cast<std::int32_t>(plain_.input_length);
      row.output_tokens = static_cast<std::int32_t>(plain_.output_length);
    } else {
      general(row);
    }
    set_prefix(row);
    return true;
  }
  long line() const override { return json_.line(); }
  std::vector<std::string> notes() const override {
    std::vector<std::string> out;
    if (estimated_ > 0) {
      out.push_back(fmt::format("mooncake: {} prompts given as text; tokens estimated as characters / {}",
                                estimated_, options_.chars_per_token));
    }
    if (no_output_ > 0) {
      out.push_back(fmt::format("mooncake: {} rows without output_length; {} tokens assumed", no_output_,
                                options_.default_output_len));
    }
    return out;
  }

 private:
  static bool plausible(const PlainRow& r) {
    return r.timestamp_ms <= kLatestMs && r.input_length >= 1 && r.input_length <= kMaxTokens &&
           r.output_length >= 1 && r.output_length <= kMaxTokens;
  }

  void general(TraceRow& row) {
    json_.parse();
    read_ids();
    row.time_ns = milliseconds("timestamp", kLatestMs);
    row.delay_ns = milliseconds("delay", kLongestDelayMs);
    if (json_.has("input_length")) {
      row.prompt_tokens = json_.tokens("input_length");
    } else if (json_.has("text_input")) {
      if (plain_.has_ids) json_.fail_row("hash_ids needs input_length");
      row.prompt_tokens = estimate_tokens(json_.text("text_input"), options_.chars_per_token);
      ++estimated_;
    } else {
      json_.fail_row("missing key 'input_length' (or 'text_input')");
    }
    if (json_.has("output_length")) {
      row.output_tokens = json_.tokens("output_length");
    } else {
      row.output_tokens = options_.default_output_len;
      ++no_output_;
    }
    if (json_.has("priority")) row.priority = priority();
    if (json_.has("session_id")) row.client = row.session = number_of("session_id", sessions_);
    if (json_.has("user_id")) row.client = number_of("user_id", users_);
  }

  std::int64_t milliseconds(const char* key, std::int64_t most) const {
    if (!json_.has(key)) return kNoTime;
    const double ms = json_.number(key);
    if (ms < 0 || ms > static_cast<double>(most)) json_.fail(key, "milliseconds from 0 on");
    return std::llround(ms * 1e6);
  }

  void read_ids() {
    plain_.has_ids = json_.has("hash_ids");
    plain_.hash_ids.clear();
    if (!plain_.has_ids) return;
    const Json& ids = json_.value().at("hash_ids");
    if (!ids.is_array()) json_.fail("hash_ids", "an array of integers");
    for (const auto& id : ids) {
      if (!id.is_number_integer()) json_.fail("hash_ids", "integers");
      plain_.hash_ids.push_back(id.get<std::uint64_t>());
    }
  }

  std::int32_t priority() const {
    const std::int64_t v = json_.integer("priority");
    if (v < INT32_MIN || v > INT32_MAX) json_.fail("priority", "an integer of 32 bits");
    return static_cast<std::int32_t>(v);
  }

  using Names = std::unordered_map<std::string, std::int32_t>;

  /// Names are numbered in the order in which they come.
  std::int32_t number_of(const char* key, Names& names) {
    const Json& id = json_.value().at(key);
    const auto next = static_cast<std::int32_t>(names.size());
    if (!id.is_string() && !id.is_number()) json_.fail(key, "a string");
    return names.try_emplace(id.is_string() ? id.get<std::string>() : id.dump(), next).first->second;
  }

  void set_prefix(TraceRow& row) const {
    row.prefix.reset();
    if (!plain_.has_ids || plain_.hash_ids.empty()) return;
    const std::int64_t block = options_.hash_block_tokens;
    const std::int64_t blocks = (row.prompt_tokens + block - 1) / block;
    if (static_cast<std::int64_t>(plain_.hash_ids.size()) > blocks) {
      json_.fail_row(fmt::format("hash_ids: {} ids for a prompt of {} tokens, which has {} blocks of {}",
                                 plain_.hash_ids.size(), row.prompt_tokens, blocks, block));
    }
    row.prefix = std::make_shared<const PrefixKeys>(PrefixKeys{plain_.hash_ids, options_.hash_block_tokens});
  }

  static constexpr std::int64_t kLatestMs = 9'000'000'000'000;  // 285 years: in nanoseconds it still fits

  static constexpr std::int64_t kLongestDelayMs = 1'000'000'000;  // 11 days

  JsonLines json_;
  TraceOptions options_;
  PlainRow plain_;
  Names sessions_, users_;
  std::int64_t estimated_ = 0, no_output_ = 0;
};

bool recognises(std::string_view head) {
  return first_object_has(head, {"hash_ids", "input_length", "text_input"});
}
TraceReaderPtr open(ByteStreamPtr stream, const std::string& name, const TraceOptions& options) {
  if (options.hash_block_tokens < 1) throw ConfigError("tokens per hash id must be at least 1");
  return std::make_unique<MooncakeReader>(std::move(stream), name, options);
}

const Registration<TraceFormats> mooncake{
    "mooncake",
    "Mooncake and aiperf: JSONL with timestamp (ms), input_length, output_length, hash_ids",
    {recognises, open}};

/// Milliseconds, whole where they are, else to the nanosecond.
void append_ms(Ps t, std::string& out) {
  const std::int64_t ns = t.value / 1000;
  fmt::format_to(std::back_inserter(out), "{}", ns / 1'000'000);
  if (ns % 1'000'000 != 0) fmt::format_to(std::back_inserter(out), ".{:06}", ns % 1'000'000);
}

void append(const Request& r, std::string& out) {
  out += "{\"timestamp\": ";
  append_ms(r.arrival, out);
  fmt::format_to(std::back_inserter(out), ", \"input_length\": {}, \"output_length\": {}", r.prompt_tokens,
                 r.output_tokens);
  if (r.prefix)
    fmt::format_to(std::back_inserter(out), ", \"hash_ids\": [{}]", fmt::join(r.prefix->ids, ", "));
  if (r.priority != 0) fmt::format_to(std::back_inserter(out), ", \"priority\": {}", r.priority);
  const std::int32_t session = r.session >= 0 ? r.session : r.client;
  if (session >= 0) fmt::format_to(std::back_inserter(out), ", \"session_id\": \"{}\"", session);
  if (r.client >= 0 && r.client != session)
    fmt::format_to(std::back_inserter(out), ", \"user_id\": \"{}\"", r.client);
  out += "}\n";
}
const Registration<TraceWriters> mooncake_writer{
    "mooncake",
    "Mooncake and aiperf: JSONL",
    {"", append, "the number of tokens per hash id (512 is understood)"}};

}  // namespace
}  // namespace orrery
