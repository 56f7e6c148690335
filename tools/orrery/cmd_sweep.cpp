#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <thread>

#include <fmt/format.h>

#include "base/error.hpp"
#include "command.hpp"
#include "interrupt.hpp"
#include "options.hpp"
#include "report/output_file.hpp"
#include "report/text.hpp"
#include "scenario/processes.hpp"
#include "scenario/sweep.hpp"
#include "scenario_options.hpp"

namespace orrery {
namespace {

constexpr int kAttempts = 3;

/// A sweep on its way: results as they come, on disk as soon as they are there.
class Sweep {
 public:
  Sweep(SweepDesign design, const std::string& folder, bool progress)
      : design_(std::move(design)),
        points_(sweep_points(design_)),
        results_(points_.size()),
        path_(folder + "/points.jsonl"),
        progress_(progress) {
    std::error_code failed;
    std::filesystem::create_directories(folder, failed);
    const auto before = read_results(path_);
    for (const SweepPoint& point : points_) {
      const auto it = before.find(point.key());
      if (it != before.end() && it->second.status != "died") {
        results_[point.index] = it->second;
        ++resumed_;
      } else {
        open_.push_back(point.index);
      }
    }
    // Written anew, so that a line that was cut off does not swallow the next.
    std::string kept;
    for (const SweepPoint& point : points_) {
      if (!std::binary_search(open_.begin(), open_.end(), point.index))
        kept += to_line(point, results_[point.index]);
    }
    file_.open(path_, std::ios::binary | std::ios::trunc);
    append(kept);
  }

  void run(int workers, const std::atomic<bool>& stop) {
    for (int attempt = 1; attempt <= kAttempts && !open_.empty() && !stop; ++attempt) {
      const std::vector<std::size_t> now = std::move(open_);
      open_.clear();
      std::vector<bool> ended(now.size(), false);
      run_in_processes(
          now.size(), workers,
          [&](std::size_t i) { return to_line(points_[now[i]], run_point(points_[now[i]])); },
          [&](std::size_t i, const ProcessOutcome& outcome) {
            ended[i] = true;
            settle(now[i], outcome, attempt);
          },
          [&] { return stop.load(); });
      for (std::size_t i = 0; i < now.size(); ++i) {
        if (!ended[i]) open_.push_back(now[i]), unstarted_ = true;
      }
      std::sort(open_.begin(), open_.end());
    }
    if (progress_) std::fputs("\r\033[K", stderr);
  }

  const SweepDesign& design() const { return design_; }
  const std::vector<SweepPoint>& points() const { return points_; }
  const std::vector<SweepResult>& results() const { return results_; }
  std::size_t resumed() const { return resumed_; }
  bool complete() const { return !unstarted_; }
  std::size_t count(const std::string& status) const {
    return static_cast<std::size_t>(std::count_if(results_.begin(), results_.end(),
                                                  [&](const SweepResult& r) { return r.status == status; }));
  }

 private:
  void append(const std::string& text) {
    file_ << text;
    if (!file_.flush()) throw ConfigError("cannot write " + path_);
  }

  void settle(std::size_t index, const ProcessOutcome& outcome, int attempt) {
    SweepResult& r = results_[index];
    r.attempts = attempt;
    if (outcome.died.empty()) {
      const OrderedJson json = OrderedJson::parse(outcome.output);
      r.status = json["status"].get<std::string>();
      r.error = json.value("error", "");
      r.summary = json.value("summary", OrderedJson());
    } else {
      r.status = "died";
      r.error = outcome.died;
      if (attempt < kAttempts) return open_.push_back(index);
    }
    append(to_line(points_[index], r));
    ++done_;
    tell();
  }

  void tell() const {
    if (!progress_) return;
    const double elapsed = std::chrono::duration<double>(std::chrono::steady_clock::now() - started_).count();
    const std::size_t left = points_.size() - resumed_ - done_;
    std::fputs(fmt::format("\r\033[K{} of {} points, {} left", resumed_ + done_, points_.size(),
                           duration_text(elapsed / static_cast<double>(done_) * static_cast<double>(left)))
                   .c_str(),
               stderr);
  }

  SweepDesign design_;
  std::vector<SweepPoint> points_;
  std::vector<SweepResult> results_;
  std::vector<std::size_t> open_;  ///< points without a result, ascending
  std::string path_;
  std::ofstream file_;
  std::size_t resumed_ = 0, done_ = 0;
  bool progress_, unstarted_ = false;
  std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
};

int run(const std::vector<std::string>& args) {
  std::string file, out = "sweep";
  SweepDesign design;
  std::int32_t workers = static_cast<std::int32_t>(std::max(1U, std::thread::hardware_concurrency()));
  std::int64_t random = 0;
  Options options("sweep", "Runs a scenario at every point of a grid of settings, or at some drawn from it.");
  options.positional("SCENARIO", file, "a scenario file (JSON); flags win over it", false);
  options.group("sweep", "Sweep")
      .value(
          "vary", [&](const std::string& v) { design.axes.push_back(parse_axis(v)); }, "SETTING=A,B",
          "values of a setting; may be repeated: all combinations are run")
      .value("random", random, "N", "only N points of the grid, drawn at random")
      .value("out,o", out, "DIR",
             "sweep.csv and points.jsonl; what is there already is not run again (default sweep)")
      .value("workers", workers, "N",
             "points run at once, each in a process of its own (default: all cores)");
  ScenarioOptions scenario(options);
  options.example(
      "orrery sweep -m llama-3.1-8b -g h200 --trace builtin:conversation --vary tensor_parallel_size=1,2 "
      "--vary target_rps=5,10,20");
  if (!options.parse(args)) return 0;
  if (design.axes.empty())
    throw ConfigError("a sweep varies at least one setting", "--vary target_rps=5,10,20", ExitCode::usage);
  if (workers < 1) throw ConfigError("--workers must be at least 1", {}, ExitCode::usage);
  if (!file.empty()) design.base = read_scenario_file(file);
  const Assignments own = scenario.assignments(resolve(design.base).engine);
  design.base.insert(design.base.end(), own.begin(), own.end());
  design.random = static_cast<std::size_t>(random);
  design.seed = resolve(design.base).seed;

  const std::atomic<bool>& stop = catch_interrupt();
  Sweep sweep(std::move(design), out, options.output().progress());
  sweep.run(workers, stop);
  if (sweep.complete()) {
    OutputFile csv(out + "/sweep.csv");
    csv.write(sweep_csv(sweep.design(), sweep.points(), sweep.results()));
    csv.close();
  }
  const OrderedJson counts = {{"points", sweep.points().size()}, {"resumed", sweep.resumed()},
                              {"failed", sweep.count("failed")}, {"died", sweep.count("died")},
                              {"complete", sweep.complete()},    {"out", out}};
  if (options.output().json) {
    std::fputs((counts.dump(2) + "\n").c_str(), stdout);
  } else if (!sweep.complete()) {
    std::fputs(
        fmt::format("interrupted; the same command goes on where this stopped ({}/points.jsonl)\n", out)
            .c_str(),
        stdout);
  } else {
    std::fputs(fmt::format("{}/sweep.csv  {} points, {} from an earlier sweep, {} failed, {} died\n", out,
                           sweep.points().size(), sweep.resumed(), sweep.count("failed"), sweep.count("died"))
                   .c_str(),
               stdout);
  }
  if (!sweep.complete()) return kInterruptedExit;
  return static_cast<int>(sweep.count("died") > 0 ? ExitCode::internal : ExitCode::ok);
}

const Registration<Commands> registered{"sweep", "run a scenario at every point of a grid of settings", run};

}  // namespace
}  // namespace orrery
