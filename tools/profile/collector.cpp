#include "collector.hpp"

#include <algorithm>
#include <csignal>

#include <fmt/format.h>

#include "base/error.hpp"

namespace orrery::profile {

namespace {

constexpr int kRowsBetweenFits = 8;

volatile std::sig_atomic_t stop_requested = 0;  // all that a signal handler may touch
void request_stop(int) {
  stop_requested = 1;
}

std::string identity(const Job& job) {
  return std::string(job.what.call.cls->name) + "|" + row_key(job);
}

}  // namespace

void stop_on_signals() {
  struct sigaction action {};
  action.sa_handler = request_stop;
  action.sa_flags = static_cast<int>(SA_RESETHAND);  // the second one ends the process
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
}

bool Collector::over() {
  outcome_.interrupted |= stop_requested != 0;
  return outcome_.interrupted || (budget_s_ && progress_.seconds() >= *budget_s_);
}

double Collector::run(const Job& job) {
  if (tables_.has(job)) return ++outcome_.present, 0.0;
  const std::string what = job.component + ": " + describe(job.what);
  const auto skip = [&](const std::string& why) {
    ++outcome_.skipped;
    failed_.push_back(identity(job));
    progress_.say(fmt::format("skipped {}: {}", what, why));
  };
  const double start = progress_.seconds();
  if (unsupported(job, device_)) return ++outcome_.skipped, 0.0;
  if (lost_.has(job)) return skip("the GPU was lost in it before (lost.txt)"), 0.0;
  watchdog_.start(job);
  try {
    const Measurement m = bench_.measure(job);
    tables_.append(job, m);
    ++outcome_.measured;
    if (m.dram_bytes) {
      counted_.push_back(
          {std::string(job.what.call.cls->name), job.what.call.work.hbm_bytes(), *m.dram_bytes});
    }
  } catch (const kernels::DeviceError& e) {
    if (e.lost) {
      lost_.add(job);
      throw ConfigError(fmt::format("the GPU was lost while measuring {} ({}); {} new rows are whole in {}",
                                    what, e.what(), outcome_.measured, tables_.folder()),
                        "the same command goes on without this case; reset the GPU if it stays away",
                        ExitCode::no_device);
    }
    skip(e.out_of_memory ? "out of device memory" : e.what());
  } catch (const MeterError& e) {
    skip(e.what());
  } catch (const InternalError& e) {
    skip(e.what());
  } catch (const WrongResult& e) {
    outcome_.wrong.push_back(what + ": " + e.what());
    progress_.say("WRONG " + outcome_.wrong.back());
  }
  watchdog_.stop();
  return progress_.seconds() - start;
}

void Collector::sweep(Plan plan) {
  std::size_t done = 0;
  while (!over()) {
    const auto job = plan.next();
    if (!job) return;
    progress_.show(job->component + ": " + describe(job->what), done, plan.left() + 1);
    const double seconds = run(*job);
    plan.spent(job->component, seconds);
    if (seconds > 0) ++done;
  }
}

std::vector<Job> Collector::most_uncertain(const CaseFinder& finder, std::size_t most) const {
  std::vector<std::pair<double, Job>> jobs;
  for (const auto& [cls, rows] : tables_.rows()) {
    std::size_t of_class = 0;
    for (const Candidate& gap : uncertain_gaps(rows)) {
      if (of_class == most) break;
      auto job = finder.at(*cls, gap.like, gap.dims);
      if (!job || tables_.has(*job)) continue;
      if (std::find(failed_.begin(), failed_.end(), identity(*job)) != failed_.end()) continue;
      ++of_class;
      jobs.emplace_back(gap.uncertainty, std::move(*job));
    }
  }
  std::stable_sort(jobs.begin(), jobs.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
  std::vector<Job> out;
  for (auto& [uncertainty, job] : jobs) {
    if (out.size() < most) out.push_back(std::move(job));
  }
  return out;
}

void Collector::sample_actively(const CaseFinder& finder, int most) {
  std::size_t done = 0;
  while (most > 0 && !over()) {
    const auto jobs = most_uncertain(finder, static_cast<std::size_t>(std::min(most, kRowsBetweenFits)));
    if (jobs.empty()) return;
    for (const Job& job : jobs) {
      if (over()) return;
      progress_.show("between rows, " + job.component + ": " + describe(job.what), done++, jobs.size());
      run(job);
      --most;
    }
  }
}

}  // namespace orrery::profile
