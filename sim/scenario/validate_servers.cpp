#include "scenario/validate_servers.hpp"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <thread>

#include <fnmatch.h>

#include "base/error.hpp"
#include "scenario/run_scenario.hpp"

namespace orrery {

std::string_view name(ServerMetric m) {
  constexpr std::string_view names[] = {"tpot", "ttft",    "ttft_p90",  "ttft_p99",
                                        "e2e",  "e2e_p99", "throughput"};
  return names[static_cast<int>(m)];
}

std::string_view label(ServerMetric m) {
  constexpr std::string_view labels[] = {"TPOT", "TTFT",    "TTFT p90",  "TTFT p99",
                                         "E2E",  "E2E p99", "throughput"};
  return labels[static_cast<int>(m)];
}

std::optional<double> ServerRow::error(ServerMetric m) const {
  const auto& c = (*this)[m];
  if (!c.measured || !c.predicted || *c.measured <= 0) return std::nullopt;
  return *c.predicted / *c.measured - 1;
}

const std::vector<ServerSet>& server_sets() {
  static const std::vector<ServerSet> sets = {
      {"blis-training", "blis_training_vllm_h100.csv",
       "vLLM 0.15.1, open loop with shared prefixes (inference-sim/training@ed5c1d2)", false, read_blis},
      {"blis-simtoreal", "blis_simtoreal_vllm_h100_a100_l40s.csv",
       "vLLM 0.15.1, open loop with shared prefixes (inference-sim/sim-to-real-accuracy-validation@dcec3fd)",
       false, read_blis},
      {"closed-loop", "closed_loop.csv",
       "closed loop: InferenceX, and NVIDIA's comparison of engines (ai-dynamo/aiconfigurator@095f58a)", true,
       read_closed_loop},
      {"trtllm-throughput", "trtllm_official_throughput.csv",
       "TensorRT-LLM, everything queued at once (NVIDIA/TensorRT-LLM, performance overview)", true,
       read_max_throughput},
      {"apex", "apex_vllm_h100.csv", "vLLM 0.5.4, traces at a low rate (microsoft/apex_plus@8769096)", true,
       read_apex},
      {"splitwise", "splitwise_sim_a100_h100.csv",
       "vLLM of 2023, static batches (Mutinifni/splitwise-sim@8f99e7d)", true, read_splitwise},
  };
  return sets;
}

namespace {

void put(ServerRow& row, ServerMetric m, double predicted, const std::optional<Interval>& interval = {}) {
  row[m].predicted = predicted;
  row[m].interval = interval;
}

bool fitted_on(const EngineProfile& engine, const ServerRow& row) {
  const std::string id = row.set + "/" + row.run;
  return std::any_of(engine.fitted_on.begin(), engine.fitted_on.end(), [&](const std::string& pattern) {
    return fnmatch(pattern.c_str(), id.c_str(), 0) == 0;
  });
}

void predict(ServerRow& row, const Assignments& override) {
  Assignments all = row.scenario;
  all.insert(all.end(), override.begin(), override.end());
  const Scenario scenario = resolve(all);
  const Deployment d = deploy(scenario);
  row.engine = d.engine.id();
  row.fitted = fitted_on(d.engine, row);
  RunOptions options;
  options.percentiles = {90, 99};
  const Summary s = run_deployed(d, scenario, options).summary;
  if (s.completed == 0) throw ConfigError("no request completed");
  const auto& ttft = s[Metric::ttft];
  const auto& e2e = s[Metric::e2el];
  put(row, ServerMetric::tpot, s[Metric::tpot].mean, s[Metric::tpot].mean_interval);
  put(row, ServerMetric::ttft, ttft.mean, ttft.mean_interval);
  put(row, ServerMetric::ttft_p90, ttft.at(90));
  put(row, ServerMetric::ttft_p99, ttft.at(99), ttft.p99_interval);
  put(row, ServerMetric::e2e, e2e.mean, e2e.mean_interval);
  put(row, ServerMetric::e2e_p99, e2e.at(99), e2e.p99_interval);
  put(row, ServerMetric::throughput, s.output_throughput, s.output_throughput_interval);
}

std::vector<ServerRow> read_sets(const std::string& folder, const ServerOptions& options) {
  std::vector<std::string> names;
  for (const auto& set : server_sets()) names.push_back(set.name);
  if (!options.set.empty() && std::find(names.begin(), names.end(), options.set) == names.end()) {
    throw ConfigError("unknown set '" + options.set + "'", suggestion(options.set, names), ExitCode::usage);
  }
  std::vector<ServerRow> rows;
  std::size_t n = 0;
  for (const auto& set : server_sets()) {
    if (!options.set.empty() && options.set != set.name) continue;
    for (auto& row : set.read(set, folder + "/" + set.file)) {
      if (n++ % options.every == 0) rows.push_back(std::move(row));
    }
  }
  return rows;
}

}  // namespace

std::vector<ServerRow> validate_servers(const std::string& folder, const ServerOptions& options) {
  std::vector<ServerRow> rows = read_sets(folder, options);
  std::atomic<std::size_t> next{0};
  std::mutex mutex;
  std::size_t done = 0;
  std::exception_ptr bug;
  const auto work = [&] {
    for (std::size_t i = next++; i < rows.size(); i = next++) {
      try {
        if (rows[i].skipped.empty()) predict(rows[i], options.override);
      } catch (const ConfigError& e) {
        rows[i].skipped = e.what();
      } catch (...) {
        const std::lock_guard lock(mutex);
        bug = std::current_exception();
      }
      const std::lock_guard lock(mutex);
      ++done;
      if (options.progress) options.progress(done, rows.size());
    }
  };
  std::vector<std::jthread> threads;
  for (int t = 1; t < options.threads; ++t) threads.emplace_back(work);
  work();
  threads.clear();
  if (bug) std::rethrow_exception(bug);
  return rows;
}

}  // namespace orrery
