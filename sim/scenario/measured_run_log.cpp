#include <algorithm>

#include <fmt/format.h>

#include "report/text.hpp"
#include "scenario/measured_run.hpp"
#include "workload/csv_reader.hpp"
#include "workload/trace_reader.hpp"

namespace orrery {

namespace {

constexpr double kMsPerSecond = 1000;

class RequestLog {
 public:
  explicit RequestLog(const std::string& path)
      : csv_(ByteSource::file(path).open(), path),
        arrival_(csv_.column({"arrival_s"})),
        prompt_(csv_.column({"input_tokens", "prompt_tokens"})),
        output_(csv_.column({"output_tokens"})),
        id_(csv_.column_if({"id"})),
        ttft_(csv_.column_if({"ttft_ms"})),
        tpot_(csv_.column_if({"tpot_ms"})),
        e2e_(csv_.column_if({"latency_ms", "e2e_ms", "e2el_ms"})),
        done_(csv_.column_if({"done_s"})),
        cached_(csv_.column_if({"cached_tokens"})),
        failure_(csv_.column_if({"failure"})) {
    run_.path = path;
    run_.kind = "a log of requests";
    if (ttft_ < 0 && tpot_ < 0 && e2e_ < 0 && done_ < 0) {
      throw ConfigError("no column of latencies: nothing to compare with",
                        "expected at least one of ttft_ms, tpot_ms, latency_ms, done_s")
          .at(path, csv_.line());
    }
  }

  MeasuredRun read() {
    read_comment();
    while (csv_.next()) read_row();
    put_in_order();
    run_.completed = run_.load.prompts = static_cast<std::int64_t>(run_.requests.size());
    run_.load.arrivals_recorded = true;
    if (cached_tokens_ > 0) {
      run_.notes.push_back(fmt::format(
          "{} prompt tokens came from the prefix cache; which prompts shared them is not recorded, so "
          "that the replay computes them",
          grouped(cached_tokens_)));
    }
    summarise(run_, {});
    return std::move(run_);
  }

 private:
  struct Row {
    double arrival_s = 0, id = 0;
    MeasuredRequest request;
  };

  void read_comment() {
    const std::string head = ByteSource::file(run_.path).head(64 << 10);
    const auto line = first_line(head);
    if (line.empty() || line.front() != '#') return;
    const auto text = line.find_first_not_of("# \t");
    if (text != std::string_view::npos)
      run_.notes.push_back("the file says: " + printable(line.substr(text)));
  }

  std::optional<double> value(int column, double least = 0) const {
    if (column < 0 || csv_.field(column).empty()) return std::nullopt;
    const double v = csv_.number(column);
    if (v < least) csv_.fail(column, fmt::format("at least {:g}", least));
    return v;
  }

  void read_row() {
    Row row;
    row.request.prompt_tokens = csv_.tokens(prompt_);
    row.request.output_tokens = csv_.tokens(output_, 0);
    if (row.request.output_tokens == 0 || (failure_ >= 0 && !csv_.field(failure_).empty())) {
      ++run_.failed;
      return;
    }
    row.arrival_s = csv_.number(arrival_);
    row.id = id_ >= 0 ? value(id_).value_or(0) : 0;
    if (cached_ >= 0) cached_tokens_ += csv_.tokens(cached_, 0);
    read_latencies(row);
    rows_.push_back(row);
  }

  /// What is not written follows from E2E = TTFT + TPOT * (output tokens - 1).
  void read_latencies(Row& row) {
    auto& r = row.request;
    r.ttft_ms = value(ttft_);
    r.tpot_ms = value(tpot_);
    r.e2e_ms = value(e2e_);
    if (!r.e2e_ms) {
      if (const auto done = value(done_, row.arrival_s)) r.e2e_ms = (*done - row.arrival_s) * kMsPerSecond;
    }
    const double gaps = r.output_tokens - 1;
    if (gaps == 0) r.tpot_ms.reset();
    if (!r.e2e_ms && r.ttft_ms && (r.tpot_ms || gaps == 0))
      r.e2e_ms = *r.ttft_ms + r.tpot_ms.value_or(0) * gaps;
    if (!r.tpot_ms && r.ttft_ms && r.e2e_ms && gaps > 0) r.tpot_ms = (*r.e2e_ms - *r.ttft_ms) / gaps;
  }

  /// In the order in which they were sent, the first at 0: logs are often written as requests finish.
  void put_in_order() {
    if (rows_.empty()) return;
    std::stable_sort(rows_.begin(), rows_.end(), [](const Row& a, const Row& b) {
      return a.arrival_s != b.arrival_s ? a.arrival_s < b.arrival_s : a.id < b.id;
    });
    const double first = rows_.front().arrival_s;
    for (auto& row : rows_) {
      row.request.arrival_s = row.arrival_s - first;
      const double end = row.request.arrival_s + row.request.e2e_ms.value_or(0) / kMsPerSecond;
      if (row.request.e2e_ms) run_.duration_s = std::max(run_.duration_s, end);
      run_.requests.push_back(row.request);
    }
  }

  CsvReader csv_;
  int arrival_, prompt_, output_, id_, ttft_, tpot_, e2e_, done_, cached_, failure_;
  std::vector<Row> rows_;
  std::int64_t cached_tokens_ = 0;
  MeasuredRun run_;
};

}  // namespace

MeasuredRun read_request_log(const std::string& path) {
  return RequestLog(path).read();
}

}  // namespace orrery
