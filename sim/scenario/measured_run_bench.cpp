#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/format.h>

#include "base/json.hpp"
#include "scenario/measured_run.hpp"
#include "workload/trace_reader.hpp"

namespace orrery {

namespace {

constexpr double kMsPerSecond = 1000;

std::shared_ptr<const JsonDocument> load(const std::string& path) {
  try {
    return JsonDocument::load(path);
  } catch (const ConfigError& e) {
    // A whole document on the first line and another one below it.
    if (e.line() != 2 || e.column() > 2) throw;
    throw ConfigError("more than one result (JSON lines, as --append-result writes them)",
                      "give one of them: sed -n 1p " + path + " > result.json")
        .at(path, 2);
  }
}

class BenchResult {
 public:
  explicit BenchResult(const std::string& path) : doc_(load(path)), view_(doc_) {
    run_.path = path;
    run_.kind = "a result of vllm bench serve";
    for (const char* key : {"duration", "completed", "request_throughput"}) {
      if (!view_.has(key)) {
        throw ConfigError(fmt::format("not a result of vllm bench serve: it has no \"{}\"", key),
                          "give what --save-result wrote, or a CSV with a line per request")
            .at(path);
      }
    }
  }

  MeasuredRun read() {
    read_totals();
    read_load();
    read_latencies();
    std::vector<double> gaps_ms;
    if (view_.has("input_lens") && view_.has("output_lens") && view_.has("ttfts")) {
      read_requests(gaps_ms);
    } else {
      run_.notes.emplace_back(
          "aggregates only (saved without --save-detailed): no request can be compared by itself");
    }
    summarise(run_, gaps_ms);
    return std::move(run_);
  }

 private:
  std::optional<double> positive(const std::string& key) {
    const auto value = view_.number_if(key);
    if (value && *value < 0) view_.fail(key, fmt::format("expected at least 0, found {}", *value));
    return value;
  }

  void read_totals() {
    run_.model = view_.text_or("model_id", "");
    run_.duration_s = positive("duration").value();
    run_.completed = view_.integer("completed");
    run_.failed = view_.integer_or("failed", 0);
    run_.request_throughput = positive("request_throughput");
    run_.output_throughput = positive("output_throughput");
    const auto n = static_cast<double>(std::max<std::int64_t>(1, run_.completed));
    run_.load.mean_prompt_tokens = positive("total_input_tokens").value_or(0) / n;
    run_.load.mean_output_tokens = positive("total_output_tokens").value_or(0) / n;
    run_.load.prompts = view_.integer_or("num_prompts", run_.completed);
  }

  /// A number, "inf", or the bare Infinity of older scripts, which the JSON reader takes for null.
  void read_load() {
    auto& load = run_.load;
    load.burstiness = positive("burstiness");
    if (view_.has("max_concurrency")) load.clients = view_.integer("max_concurrency");
    const Json& root = doc_->root();
    const auto rate = root.find("request_rate");
    if (rate == root.end()) {
      run_.notes.emplace_back("the file names no request rate: all at once unless arrivals are recorded");
    } else if (rate->is_number()) {
      load.request_rate = positive("request_rate");
    } else if (rate->is_null() || *rate == "inf") {
      load.request_rate = std::numeric_limits<double>::infinity();
    } else {
      view_.fail("request_rate", "expected a number or \"inf\"");
    }
  }

  void read_latencies() {
    for (int m = 0; m < kMetricCount; ++m) {
      const auto metric = name(static_cast<Metric>(m));
      auto& stats = run_.latency[static_cast<std::size_t>(m)];
      stats.mean = positive(fmt::format("mean_{}_ms", metric));
      stats.median = positive(fmt::format("median_{}_ms", metric));
      stats.p99 = positive(fmt::format("p99_{}_ms", metric));
    }
  }

  const Json& array(const std::string& key, std::size_t size) {
    const Json& value = view_.raw(key);
    if (!value.is_array()) view_.fail(key, "expected a list with an entry per request");
    if (size != kAnySize && value.size() != size)
      view_.fail(key, fmt::format("expected {} entries as in \"input_lens\", found {}", size, value.size()));
    return value;
  }

  double element(const std::string& key, const Json& value, double most) {
    if (!value.is_number()) view_.fail(key, "expected a number per request, found " + value.dump());
    const double number = value.get<double>();
    if (!(number >= 0 && number <= most))
      view_.fail(key, fmt::format("expected numbers from 0 to {:g}, found {}", most, number));
    return number;
  }
  std::int32_t tokens(const std::string& key, const Json& value) {
    const double count = element(key, value, static_cast<double>(kMaxTokens));
    if (count != std::floor(count)) view_.fail(key, fmt::format("expected whole numbers, found {}", count));
    return static_cast<std::int32_t>(count);
  }

  void read_requests(std::vector<double>& gaps_ms) {
    const Json& inputs = array("input_lens", kAnySize);
    const std::size_t n = inputs.size();
    const Json& outputs = array("output_lens", n);
    const Json& ttfts = array("ttfts", n);
    const Json* itls = view_.has("itls") ? &array("itls", n) : nullptr;
    const Json* errors = view_.has("errors") ? &array("errors", n) : nullptr;
    // With a limit on concurrency a request is sent when an earlier one is answered: its time is the measured
    // server's doing, and the simulated one must set its own.
    const bool timed = view_.has("start_times") && !run_.load.clients;
    const Json* starts = timed ? &array("start_times", n) : nullptr;
    for (std::size_t i = 0; i < n; ++i) {
      MeasuredRequest r;
      r.prompt_tokens = tokens("input_lens", inputs[i]);
      r.output_tokens = tokens("output_lens", outputs[i]);
      const bool failed =
          errors && (*errors)[i].is_string() && !(*errors)[i].get_ref<const std::string&>().empty();
      if (failed || r.output_tokens == 0 || r.prompt_tokens == 0) continue;
      r.ttft_ms = element("ttfts", ttfts[i], kMaxSeconds) * kMsPerSecond;
      if (itls) add_gaps((*itls)[i], r, gaps_ms);
      if (starts) r.arrival_s = element("start_times", (*starts)[i], kMaxSeconds);
      run_.requests.push_back(r);
    }
    run_.load.arrivals_recorded = timed;
    if (timed) sort_by_arrival();
    run_.failed = std::max(run_.failed, static_cast<std::int64_t>(n - run_.requests.size()));
    run_.completed = run_.load.prompts = static_cast<std::int64_t>(run_.requests.size());
  }

  /// vLLM's TPOT: (latency - TTFT) / (output tokens - 1), its latency being TTFT and all gaps. A chunk of the
  /// stream may hold several tokens, so the gaps can be fewer than the tokens.
  void add_gaps(const Json& gaps, MeasuredRequest& r, std::vector<double>& gaps_ms) {
    if (!gaps.is_array()) view_.fail("itls", "expected a list of gaps per request, found " + gaps.dump());
    double sum = 0;
    for (const Json& gap : gaps) {
      const double ms = element("itls", gap, kMaxSeconds) * kMsPerSecond;
      gaps_ms.push_back(ms);
      sum += ms;
    }
    r.e2e_ms = *r.ttft_ms + sum;
    if (r.output_tokens > 1) r.tpot_ms = sum / (r.output_tokens - 1);
  }

  void sort_by_arrival() {
    auto& all = run_.requests;
    std::stable_sort(all.begin(), all.end(),
                     [](const auto& a, const auto& b) { return a.arrival_s < b.arrival_s; });
    const double first = all.empty() ? 0 : all.front().arrival_s;
    for (auto& r : all) r.arrival_s -= first;
  }

  static constexpr std::size_t kAnySize = static_cast<std::size_t>(-1);
  static constexpr double kMaxSeconds = 1e10;  // start_times may count from 1970

  std::shared_ptr<const JsonDocument> doc_;
  JsonView view_;
  MeasuredRun run_;
};

}  // namespace

MeasuredRun read_bench_result(const std::string& path) {
  return BenchResult(path).read();
}

}  // namespace orrery
