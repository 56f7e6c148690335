#include "compare.hpp"

#include <algorithm>
#include <filesystem>
#include <map>

#include <fmt/format.h>

#include "base/error.hpp"
#include "base/quantile.hpp"

namespace orrery::profile {

namespace fs = std::filesystem;

namespace {

constexpr std::size_t kRowsCompared = 12;
constexpr double kSlow = 1.08;

struct Repeatable {
  Job job;
  double time_s;
};

/// By class, what of the folder's tables can be measured again, shortest first.
std::map<std::string, std::vector<Repeatable>> repeatable_rows(const std::string& folder,
                                                               const CaseFinder& finder) {
  if (!fs::is_directory(folder))
    throw ConfigError("no measured tables in '" + folder + "'", "--compare hwprofiles/h200-sxm");
  std::map<std::string, std::vector<Repeatable>> by_class;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() != ".csv") continue;
    bool dry = false;
    for (const auto& [cls, row] : read_rows(entry.path().string(), &dry)) {
      if (auto job = finder.of_row(*cls, row); job && row.time_s > 0) {
        by_class[std::string(cls->name)].push_back({std::move(*job), row.time_s});
      }
    }
    if (dry) throw ConfigError("these rows come from a dry run").at(entry.path().string());
  }
  for (auto& [cls, rows] : by_class) {
    std::sort(rows.begin(), rows.end(), [](const Repeatable& a, const Repeatable& b) {
      return a.time_s < b.time_s || (a.time_s == b.time_s && row_key(a.job) < row_key(b.job));
    });
  }
  return by_class;
}

}  // namespace

std::vector<Job> representative_jobs(const std::string& folder, const CaseFinder& finder, std::size_t most,
                                     std::vector<double>& before_s) {
  const auto by_class = repeatable_rows(folder, finder);
  std::vector<Job> jobs;
  if (by_class.empty()) return jobs;
  const std::size_t each = std::max<std::size_t>(1, (most + by_class.size() - 1) / by_class.size());
  for (const auto& [cls, rows] : by_class) {
    const std::size_t n = std::min(each, rows.size());
    for (std::size_t i = 0; i < n; ++i) {
      const Repeatable& row = rows[n == 1 ? rows.size() / 2 : i * (rows.size() - 1) / (n - 1)];
      jobs.push_back(row.job);
      before_s.push_back(row.time_s);
    }
  }
  return jobs;
}

bool print_comparison(const std::vector<Remeasured>& rows) {
  std::map<std::string, std::vector<double>> ratios;
  for (const Remeasured& r : rows) {
    fmt::print("{:<80} {:10.2f} us, was {:10.2f} us  x{:.3f}\n", r.what, 1e6 * r.now_s, 1e6 * r.before_s,
               r.ratio());
    ratios[r.cls].push_back(r.ratio());
  }
  std::string slow;
  fmt::print("\n");
  for (auto& [cls, of_class] : ratios) {
    std::sort(of_class.begin(), of_class.end());
    const double median = quantile_sorted(of_class, 0.5);
    fmt::print("{:<24} x{:.3f}\n", cls, median);
    if (median > kSlow) slow += fmt::format("{}{} x{:.2f}", slow.empty() ? "" : ", ", cls, median);
  }
  if (!slow.empty()) fmt::print("\nthis GPU looks slow: {}\n", slow);
  return slow.empty();
}

int compare(const std::string& device_folder, const CaseFinder& finder, Bench& bench, Progress& progress) {
  const std::string inner = device_folder + "/measured";
  const std::string folder = fs::is_directory(inner) ? inner : device_folder;
  std::vector<double> before;
  const auto jobs = representative_jobs(folder, finder, kRowsCompared, before);
  std::vector<Remeasured> rows;
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    const std::string what = describe(jobs[i].what);
    progress.show(what, i, jobs.size() - i);
    rows.push_back(
        {std::string(jobs[i].what.call.cls->name), what, before[i], bench.measure(jobs[i]).time_s});
  }
  if (rows.empty()) {
    throw ConfigError("no row of '" + folder + "' can be measured again here",
                      "its components or shapes are not those of this build or device");
  }
  return static_cast<int>(print_comparison(rows) ? ExitCode::ok : ExitCode::slo_missed);
}

}  // namespace orrery::profile
